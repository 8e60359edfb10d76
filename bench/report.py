"""The Broken Links report over 1,000,000 archivals: what its pages and exports cost, beside a scan of the table."""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from portal import Site, memory, parser, report

CAUSES = "ARRAY['gone', 'gone', 'gone', 'server-error', 'unreachable', 'tls', 'redirect']"


def fill(site: Site, resources: int, hosts: int, organizations: int) -> None:
    """A portal made by SQL: 5 % of the links broken, 2 % failing, 2 % not verifiable, 0.5 % moved for good."""
    site.wipe()
    site.sql("DELETE FROM member WHERE id LIKE 'bench-%'")
    site.sql("""DELETE FROM "group" WHERE id LIKE 'bench-%'""")
    site.sql("TRUNCATE archiver_link_count, archiver_snooze, archiver_action, archiver_action_link")
    site.sql(
        """
        INSERT INTO "group" (id, name, title, type, state, is_organization, approval_status, created)
        SELECT 'bench-' || n, 'organization-' || n, 'Organization ' || n || ' Council', 'organization', 'active', true,
               'approved', now()
        FROM generate_series(0, :last) n""",
        last=organizations - 1,
    )
    # Twenty at the top, nineteen below each of them, the rest below those.
    site.sql(
        """
        INSERT INTO member (id, group_id, table_id, table_name, capacity, state)
        SELECT 'bench-' || n, 'bench-' || n,
               'bench-' || CASE WHEN n < 400 THEN n % 20 ELSE 20 + n % 380 END, 'group', 'parent', 'active'
        FROM generate_series(20, :last) n""",
        last=organizations - 1,
    )
    site.fill(resources, f"'http://host-' || (n / 7) % {hosts} || '.example/files/' || n || '.csv'")
    site.sql(f"UPDATE package SET owner_org = 'bench-' || CAST(substr(id, 2) AS int) % {organizations}")
    site.sql("UPDATE resource SET name = 'File ' || position, format = 'CSV'")
    _archivals(site)
    for table in ("package", "resource", "archival", '"group"', "member"):
        site.sql(f"VACUUM ANALYZE {table}")


def _archivals(site: Site) -> None:
    site.sql(
        f"""
        INSERT INTO archival (id, package_id, resource_id, source_url, verdict, is_broken, cause, detail, facts, reason,
            status_id, failure_count, broken_since, failing_since, first_failure, last_success, checked_at, updated,
            created, repaired_at, permanent_url, permanent_seen)
        SELECT id, package_id, id, url, verdict, CASE verdict WHEN 'broken' THEN true WHEN 'ok' THEN false END,
            cause, 'http-gone', '{{"status": 404, "phrase": "Not Found"}}', 'The server says the file is gone.',
            CASE verdict WHEN 'broken' THEN 12 ELSE 0 END, CASE verdict WHEN 'broken' THEN 5 ELSE 0 END,
            CASE verdict WHEN 'broken' THEN since END, CASE WHEN verdict IN ('broken', 'failing') THEN since END,
            CASE WHEN verdict IN ('broken', 'failing') THEN since END, since - interval '1 day', now(), now(),
            now() - interval '400 days', CASE WHEN verdict = 'ok' AND n % 100 = 50 THEN since END,
            CASE WHEN n % 200 = 77 THEN replace(url, 'http://', 'https://') END, CASE WHEN n % 200 = 77 THEN 4 END
        FROM (
            SELECT r.*, CASE WHEN n % 20 = 3 THEN 'broken' WHEN n % 50 = 4 THEN 'failing'
                             WHEN n % 50 = 5 THEN 'not-sure' ELSE 'ok' END AS verdict,
                CASE WHEN n % 20 = 3 THEN ({CAUSES})[1 + (n / 140) % 7] WHEN n % 50 = 4 THEN 'unreachable'
                     WHEN n % 50 = 5 THEN 'blocked' ELSE 'ok' END AS cause,
                timezone('utc', now()) - (1 + (n * 7919::bigint) % 400) * interval '1 day' AS since
            FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM resource) r
        ) r"""
    )


def client() -> Any:
    """CKAN in this process, with a browser of its own."""
    from ckan.cli import load_config
    from ckan.config.middleware import make_app

    return make_app(load_config(os.environ["CKAN_INI"])).test_client()


class Watch:
    """Counts SQL statements, and looks at the memory of this process."""

    def __init__(self) -> None:
        import sqlalchemy as sa
        from ckan import model

        self.statements = 0
        sa.event.listen(model.meta.engine, "before_cursor_execute", self._count)

    def _count(self, *details: Any) -> None:
        self.statements += 1

    @contextmanager
    def memory(self) -> Iterator[list[int]]:
        """``[bytes]``: how much the memory grew at most, there when it is over."""
        grown = [0]
        before, done = memory(os.getpid()), threading.Event()

        def look() -> None:
            while not done.wait(0.02):
                grown[0] = max(grown[0], memory(os.getpid()) - before)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield grown
        finally:
            grown[0] = max(grown[0], memory(os.getpid()) - before)
            done.set()
            thread.join()


def timed(work: Callable[[], Any]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def page(browser: Any, watch: Watch, path: str) -> tuple[float, int, int, int]:
    """(seconds, statements, bytes of growth, bytes of the page): the best of three, as what else runs disturbs it."""
    best, statements, size = float("inf"), 0, 0
    with watch.memory() as grown:
        for _ in range(3):
            watch.statements, started = 0, time.monotonic()
            answer = browser.get(path)
            best = min(best, time.monotonic() - started)
            if answer.status_code != 200:
                sys.exit(f"{path}: {answer.status_code} {answer.get_data(as_text=True)[:500]}")
            statements, size = watch.statements, len(answer.data)
    return best, statements, grown[0], size


def export(browser: Any, watch: Watch, path: str, chunks: int) -> tuple[float, float, int, int]:
    """(seconds to the first row, seconds, bytes of growth, bytes) of an export, of which some is read."""
    with watch.memory() as grown:
        started = time.monotonic()
        answer = browser.get(path, buffered=False)
        pieces = iter(answer.response)
        # The first is the line of titles, which needs no database.
        size = len(next(pieces)) + len(next(pieces))
        first = time.monotonic() - started
        size += sum(len(piece) for piece in itertools.islice(pieces, chunks))
        seconds = time.monotonic() - started
        answer.close()
    return first, seconds, grown[0], size


def shown_dataset(site: Site) -> tuple[float, int]:
    """(seconds that the extension adds to package_show of 20 resources, SQL statements that it adds)."""
    import ckan.plugins as p
    import ckan.plugins.toolkit as tk
    from ckan import model

    # Five resources a dataset: those of three others move to the first.
    for table in ("resource", "archival"):
        site.sql(f"UPDATE {table} SET package_id = 'p2000' WHERE package_id IN ('p2001', 'p2002', 'p2003')")
    seconds: dict[bool, list[float]] = {True: [], False: []}
    statements: dict[bool, int] = {}

    def show() -> float:
        model.Session.remove()
        context = {"ignore_auth": True, "user": "", "use_cache": False}
        started = time.perf_counter()
        shown = tk.get_action("package_show")(context, {"id": "p2000"})
        spent = time.perf_counter() - started
        if len(shown["resources"]) != 20:
            sys.exit(f"package_show has {len(shown['resources'])} resources, not 20")
        return spent

    # In turns, since the machine's pace changes.
    for with_it in (True, False) * 10:
        if p.plugin_loaded("archiver") != with_it:
            (p.load if with_it else p.unload)("archiver")
        show()
        watch = Watch()
        show()
        statements[with_it] = watch.statements
        seconds[with_it].append(statistics.median(show() for _ in range(20)))
    p.load("archiver")
    return statistics.median(seconds[True]) - statistics.median(seconds[False]), statements[True] - statements[False]


PAGES = {
    "overview": "/report/broken-links",
    "list, the whole portal": "/archiver/links",
    "list, newest first": "/archiver/links?sort=newest",
    "list, by dataset": "/archiver/links?sort=dataset",
    "list, by host": "/archiver/links?sort=host",
    "list, one host": "/archiver/links?host=host-17.example",
    "list, one cause": "/archiver/links?cause=tls",
    "list, text": "/archiver/links?q=dataset+1999",
    "list, text that is nowhere": "/archiver/links?q=zebra+crossing",
    "list, moved for good": "/archiver/links?moved=1",
    "list, failing": "/archiver/links?verdict=failing",
    "list, all links": "/archiver/links?verdict=any",
    "list, an organization": "/report/broken-links/organization-1999",
    "list, an organization and all below": "/report/broken-links/organization-3?include_sub_organizations=1",
}


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--resources", type=int, default=1_000_000)
    arguments.add_argument("--hosts", type=int, default=3_000)
    arguments.add_argument("--organizations", type=int, default=2_000)
    arguments.add_argument("--no-fill", action="store_true", help="measure the portal that is there already")
    options = arguments.parse_args()
    site = Site({})
    os.environ["CKAN_INI"] = str(site.ini)
    if not options.no_fill:
        fill(site, options.resources, options.hosts, options.organizations)
    bound = "SET enable_indexscan = off; SET enable_indexonlyscan = off; SELECT verdict, cause, count(*) FROM archival"
    scan = min(timed(lambda: site.sql(f"{bound} GROUP BY 1, 2")) for _ in range(3))
    browser = client()
    from ckanext.archiver import rollup

    watch = Watch()
    site.sql("DELETE FROM archiver_state WHERE key LIKE '%link-counts%'")
    with browser.application.app_context():
        counting = timed(rollup.refresh)
    for path in ("/about", "/report/broken-links", "/archiver/links"):
        browser.get(path)  # What is loaded once is no part of a page.
    rows: list[Any] = [
        ("bound: sequential scan of archival, grouped", scan, "s", "", None),
        ("counting in the worker, every five minutes", counting, "s", "", None),
    ]
    for name, path in PAGES.items():
        seconds, statements, grown, size = page(browser, watch, path)
        rows += [
            (name, seconds, "s", "<= 1", seconds <= 1),
            (f"{name}: statements", statements, "", "< 10", statements < 10),
            (f"{name}: memory over idle", grown / 1e6, "MB", "<= 60", grown <= 60_000_000),
            (f"{name}: size", size / 1e3, "kB", "", None),
        ]
    with browser.application.test_request_context():
        added, statements = shown_dataset(site)
    rows += [
        ("package_show of 20 resources, more than without", added * 1e3, "ms", "<= 1", added <= 0.001),
        ("package_show: statements more than without", statements, "", "<= 1", statements <= 1),
    ]
    for kind in ("csv", "json", "xlsx"):
        first, seconds, grown, size = export(browser, watch, f"/archiver/links?verdict=any&format={kind}", 300)
        rows += [
            (f"{kind} of all links: first row", first, "s", "<= 1", first <= 1),
            (f"{kind} of all links: memory over idle", grown / 1e6, "MB", "<= 60", grown <= 60_000_000),
            (f"{kind} of all links: rate", size / 1e6 / seconds, "MB/s", "", None),
        ]
    title = f"{options.resources} archivals, {options.hosts} hosts, {options.organizations} organizations"
    return report(title, rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
