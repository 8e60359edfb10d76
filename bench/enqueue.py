"""1,000,000 requests over 5,000 hosts: the cost of putting, dispatching and keeping them."""

from __future__ import annotations

import os
import statistics
import sys
import time
from typing import Any

from portal import Site, broker, memory, parser, report


def boot(site: Site) -> None:
    """Load CKAN into this process."""
    from ckan.cli import load_config
    from ckan.config.middleware import make_app

    os.environ["CKAN_INI"] = str(site.ini)
    make_app(load_config(str(site.ini)))


def timed(work: Any, *args: Any) -> float:
    """Seconds that a call takes."""
    started = time.monotonic()
    work(*args)
    return time.monotonic() - started


def enqueue(site: Site) -> tuple[float, int]:
    """Seconds of ``ckan archiver update``, and how much its memory grew in bytes."""
    started, idle, most = time.monotonic(), 0, 0
    process = site.ckan("archiver", "update")
    while process.poll() is None:
        try:
            now = memory(process.pid)
        except (OSError, IndexError):
            break
        # The memory used when the first requests appear is CKAN's own.
        if not idle and site.value("SELECT EXISTS (SELECT 1 FROM archiver_request)"):
            idle = now
        most = max(most, now)
        time.sleep(0.05)
    process.wait()
    return time.monotonic() - started, max(most - idle, 0) if idle else 0


def ticks(site: Site, count: int) -> tuple[list[float], list[float]]:
    """Seconds of single ticks, and of bare updates of as many rows; each tick's messages are removed after it."""
    from ckan import model

    from ckanext.archiver.queue import dispatch

    seconds, bare = [], []
    for _ in range(count):
        seconds.append(timed(dispatch.tick_bulk))
        model.Session.remove()
        sent = [row[0] for row in site.sql("SELECT resource_id FROM archiver_request WHERE sent_until > now()")]
        update = "UPDATE archiver_request SET attempts = attempts WHERE resource_id = ANY(:ids)"
        bare.append(timed(lambda update=update, sent=sent: site.sql(update, ids=sent)))
        site.sql("DELETE FROM archiver_request WHERE resource_id = ANY(:ids)", ids=sent)
        site.sql("UPDATE archiver_host SET bulk_at = now() WHERE bulk_at > now()")
        broker().delete("bulk")
    return seconds, bare


def size(site: Site) -> float:
    """Megabytes of the table of requests with its indexes."""
    return float(site.value("SELECT pg_total_relation_size('archiver_request')")) / 1e6


def p99(seconds: list[float]) -> float:
    """The 99th percentile, in milliseconds."""
    return statistics.quantiles(seconds, n=100)[98] * 1000


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--resources", type=int, default=1_000_000)
    arguments.add_argument("--hosts", type=int, default=5_000)
    arguments.add_argument("--ticks", type=int, default=300)
    options = arguments.parse_args()
    site = Site({})
    site.wipe()
    site.fill(options.resources, f"'http://host-' || n % {options.hosts} || '.example/' || n || '.csv'")
    site.sql("CREATE UNLOGGED TABLE IF NOT EXISTS bench_bare (id text PRIMARY KEY, package_id text, url text)")
    bound = timed(site.sql, "INSERT INTO bench_bare SELECT id, package_id, url FROM resource")
    site.sql("DROP TABLE bench_bare")
    put, grown = enqueue(site)
    count = site.value("SELECT count(*) FROM archiver_request")
    full = size(site)
    boot(site)
    from ckanext.archiver.queue import dispatch

    broker().flushall()
    site.sql("UPDATE archiver_request SET sent_until = NULL WHERE sent_until IS NOT NULL")
    empty = int(broker().info("memory")["used_memory"])
    dispatch.tick(fill=True)
    held, filled = int(broker().llen("bulk")), int(broker().info("memory")["used_memory"])
    broker().flushall()
    site.sql("UPDATE archiver_request SET sent_until = NULL WHERE sent_until IS NOT NULL")
    seconds, bare = ticks(site, options.ticks)
    site.sql("DELETE FROM archiver_request")
    vacuum = timed(site.sql, "VACUUM ANALYZE archiver_request")
    rows = [
        ("bare INSERT … SELECT of as many rows", bound, "s", "", None),
        ("ckan archiver update, start-up included", put, "s", "<= 60", put <= 60),
        ("requests put", count, "", f"= {options.resources}", count == options.resources),
        ("memory of the command over idle", grown / 1e6, "MB", "", None),
        ("bare UPDATE of as many rows as a tick sends, p99", p99(bare), "ms", "", None),
        ("tick with its messages, median", statistics.median(seconds) * 1000, "ms", "", None),
        ("tick with its messages, p99", p99(seconds), "ms", "<= 200", p99(seconds) <= 200),
        ("messages in the broker at most", held, "", "<= 1000", held <= 1000),
        (
            "memory of the broker for them",
            (filled - empty) / 1e6,
            "MB",
            "<= 20",
            filled - empty <= 20_000_000,
        ),
        ("table of requests with indexes, full", full, "MB", "", None),
        ("the same, drained and vacuumed", size(site), "MB", f"< {full:.0f}", size(site) < full),
        ("vacuum", vacuum, "s", "", None),
    ]
    return report(f"{options.resources} requests over {options.hosts} hosts", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
