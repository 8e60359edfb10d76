"""How many slow answers one process waits for in parallel."""

from __future__ import annotations

import sys
import time

from many_hosts import origin, url_sql
from portal import Site, cpu_seconds, memory, parser, report, wait

THREADS = 100
DELAY = 0.3


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--files", type=int, default=3_000)
    arguments.add_argument("--hosts", type=int, default=300)
    options = arguments.parse_args()
    site = Site({"ckanext-archiver.host_interval": "0", "ckanext-archiver.host_concurrency": "0"})
    with origin(options.hosts, 10_000, DELAY):
        site.wipe()
        site.fill(options.files, url_sql(options.hosts))
        with site.worker("bulk", THREADS) as worker:
            idle, cpu = memory(worker.pid), cpu_seconds(worker.pid)
            site.ckan("archiver", "update").wait()
            wait(lambda: site.value("SELECT count(*) FROM archival") > 0, 60)
            begun, started, most = site.value("SELECT count(*) FROM archival"), time.monotonic(), 0
            while site.value("SELECT count(*) FROM archiver_request"):
                most = max(most, memory(worker.pid))
                time.sleep(0.05)
            seconds, cpu = time.monotonic() - started, cpu_seconds(worker.pid) - cpu
        good = site.value("SELECT count(*) FROM archival WHERE verdict = 'ok'")
    rate, bound = (good - begun) / seconds, THREADS / DELAY
    rows = [
        ("bound: threads / delay", bound, "files/s", "", None),
        ("one worker process", rate, "files/s", f">= {0.85 * bound:.0f} (85 %)", rate >= 0.85 * bound),
        ("memory over idle", (most - idle) / 1e6, "MB", "<= 60", most - idle <= 60_000_000),
        ("CPU of the worker per resource", cpu / good * 1000, "ms", "", None),
        ("resources archived", good, "", f"= {options.files}", good == options.files),
    ]
    title = f"{options.files} files on {options.hosts} hosts that answer after {DELAY} s, {THREADS} threads"
    return report(title, rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
