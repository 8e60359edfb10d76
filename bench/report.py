"""The report's pages and files over many archivals: time, memory, statements."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from typing import Any

from portal import BIN, Site, memory, parser, report, wait

PAGE_SECONDS, PAGE_BYTES = 1.0, 60_000_000

PAGES = {
    "overview": "/report/broken-links",
    "list: broken": "/report/broken-links?verdict=broken",
    "list: any problem, newest": "/report/broken-links?verdict=any&sort=newest",
    "list: a host": "/report/broken-links?verdict=broken&host=h17.example.org",
    "list: a text": "/report/broken-links?verdict=broken&q=dataset-77",
    "list: by dataset": "/report/broken-links?verdict=broken&sort=dataset",
    "list: a small organization": "/report/broken-links/organization-1999",
    "list: a large organization and below": "/report/broken-links/organization-0?below=1",
}


def fill(site: Site, count: int, hosts: int, organizations: int) -> None:
    """Archivals: 5 % broken, 2 % failing, 3 % not sure; organizations three levels deep, the first with a fifth."""
    site.wipe()
    site.sql('TRUNCATE "group", member CASCADE')
    site.fill(count, f"'http://h' || n % {hosts} || '.example.org/' || n || '.csv'")
    site.sql(
        """
        INSERT INTO "group" (id, name, title, type, is_organization, state, created, approval_status)
        SELECT 'o' || n, 'organization-' || n, 'Organization ' || n, 'organization', true, 'active', now(), 'approved'
        FROM generate_series(0, :last) n""",
        last=organizations - 1,
    )
    site.sql(
        """
        INSERT INTO member (id, table_id, table_name, capacity, group_id, state)
        SELECT 'm' || n, 'o' || n / 20, 'group', 'parent', 'o' || n, 'active' FROM generate_series(1, :last) n""",
        last=organizations - 1,
    )
    site.sql(
        """
        UPDATE package SET owner_org = CASE WHEN CAST(substr(id, 2) AS int) % 5 = 0 THEN 'o0'
            ELSE 'o' || CAST(substr(id, 2) AS int) % :organizations END""",
        organizations=organizations,
    )
    site.sql("""
        INSERT INTO archival (id, package_id, resource_id, source_url, verdict, is_broken, cause, detail, facts, reason,
            status_id, failure_count, checked_at, broken_since, failing_since)
        SELECT id, package_id, id, url, verdict, CASE verdict WHEN 'broken' THEN true WHEN 'ok' THEN false END,
            CASE WHEN verdict = 'ok' THEN 'ok' WHEN n % 3 = 0 THEN 'unreachable' ELSE 'gone' END,
            CASE WHEN verdict = 'ok' THEN 'ok' ELSE 'http-gone' END, '{"status": 404, "phrase": "Not Found"}',
            'The server says the file is gone (404 Not Found).', 0, 3, now(),
            CASE WHEN verdict = 'broken' THEN now() - n % 300 * interval '1 day' END,
            CASE WHEN verdict = 'failing' THEN now() - interval '1 hour' END
        FROM (SELECT r.*, row_number() OVER () AS n,
                CASE WHEN h < 5 THEN 'broken' WHEN h < 7 THEN 'failing' WHEN h < 10 THEN 'not-sure' ELSE 'ok' END
                    AS verdict
              FROM (SELECT *, ('x' || substr(md5(id), 1, 7))::bit(28)::int % 100 AS h FROM resource) r) s""")
    for table in ("archival", "package", "member", '"group"'):
        site.sql(f"ANALYZE {table}")


@contextmanager
def web(site: Site) -> Any:
    """CKAN's web server with one process; yields (process, its URL)."""
    url = os.environ["CKAN_SITE_URL"]
    port = url.rpartition(":")[2].rstrip("/")
    process = subprocess.Popen(
        [str(BIN / "ckan"), "-c", str(site.ini), "run", "--disable-reloader", "--host", "127.0.0.1", "--port", port],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait(lambda: answers(f"{url}/api/3/action/status_show"), 120)
        yield process, url
    finally:
        process.terminate()
        process.wait(60)


def answers(url: str) -> bool:
    """Whether a URL answers at all."""
    try:
        with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 - our own server
            return bool(response.status == 200)
    except OSError:
        return False


def get(url: str) -> tuple[float, float, int]:
    """(seconds to the first byte, seconds to the last, bytes) of a page."""
    began = time.monotonic()
    with urllib.request.urlopen(url, timeout=600) as response:  # noqa: S310 - our own server
        size = len(response.read(1))
        first = time.monotonic() - began
        while chunk := response.read(1 << 20):
            size += len(chunk)
    return first, time.monotonic() - began, size


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--archivals", type=int, default=1_000_000)
    arguments.add_argument("--hosts", type=int, default=3_000)
    arguments.add_argument("--organizations", type=int, default=2_000)
    options = arguments.parse_args()
    site = Site({})
    fill(site, options.archivals, options.hosts, options.organizations)
    began = time.monotonic()
    site.sql("SELECT count(*) FROM archival WHERE is_broken IS NULL OR is_broken OR NOT is_broken")
    rows: list[Any] = [("bound: a sequential scan of archival", time.monotonic() - began, "s", "", None)]
    with site.worker("bulk", 2):
        wait(lambda: site.value("SELECT count(*) FROM archiver_summary"), 300)
    counted = site.value("SELECT CAST(value->>'seconds' AS float) FROM archiver_state WHERE key = 'summary'")
    rows.append(("counting by a worker", counted, "s", "", None))
    with web(site) as (process, url):
        for path in PAGES.values():
            get(url + path)  # templates are compiled, plans are made
        idle = memory(process.pid)
        for name, path in PAGES.items():
            seconds = sorted(get(url + path)[1] for _ in range(3))[1]
            rows.append((name, seconds, "s", f"<= {PAGE_SECONDS:g}", seconds <= PAGE_SECONDS))
        over = memory(process.pid) - idle
        rows.append(("memory over idle", over / 1e6, "MB", "<= 60", over <= PAGE_BYTES))
        first, seconds, size = get(f"{url}/report/broken-links?verdict=ok&as=csv")
        rows.append(("export: first byte", first, "s", "<= 1", first <= 1))
        rows.append(("export: all", seconds, "s", f"{size / 1e6:.0f} MB", None))
        over = memory(process.pid) - idle
        rows.append(("memory over idle after the export", over / 1e6, "MB", "<= 60", over <= PAGE_BYTES))
    title = f"{options.archivals:,} archivals, {options.hosts:,} hosts, {options.organizations:,} organizations"
    return report(title, rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
