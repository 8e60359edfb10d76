"""The whole pipeline compared with a bare download loop: small files on hosts that answer at once."""

from __future__ import annotations

import hashlib
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from many_hosts import origin, url_sql
from portal import Site, cpu_seconds, parser, report, wait

THREADS = 16


def bare_loop(urls: list[str], directory: Path) -> float:
    """Files per second of ``requests`` in threads: download, hash, save. The bound."""
    directory.mkdir(parents=True, exist_ok=True)
    local = threading.local()

    def get(url: str) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        body = local.session.get(url, timeout=10).content
        hashlib.sha256(body).hexdigest()
        (directory / url.rsplit("/", 1)[1]).write_bytes(body)

    started = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(get, urls):
            pass
    shutil.rmtree(directory)
    return len(urls) / (time.monotonic() - started)


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--files", type=int, default=10_000)
    arguments.add_argument("--hosts", type=int, default=200)
    options = arguments.parse_args()
    site = Site({"ckanext-archiver.host_interval": "0", "ckanext-archiver.host_concurrency": "0"})
    with origin(options.hosts, 10_000):
        site.wipe()
        site.fill(options.files, url_sql(options.hosts))
        urls = [row[0] for row in site.sql("SELECT url FROM resource")]
        bound = bare_loop(urls, site.ini.parent / "bench-bare")
        with site.worker("bulk", THREADS) as worker:
            command = site.ckan("archiver", "update")
            # Starting a command takes seconds of the machine that are no part of the pipeline.
            wait(lambda: site.value("SELECT EXISTS (SELECT 1 FROM archiver_request)"), 60)
            cpu, started = cpu_seconds(worker.pid), time.monotonic()
            command.wait()
            wait(lambda: not site.value("SELECT count(*) FROM archiver_request"), 900)
            seconds, cpu = time.monotonic() - started, cpu_seconds(worker.pid) - cpu
        good = site.value("SELECT count(*) FROM archival WHERE verdict = 'ok'")
    rate = good / seconds
    rows = [
        ("bare requests loop", bound, "files/s", "", None),
        ("the whole pipeline, one worker process", rate, "files/s", f">= {0.4 * bound:.0f} (40 %)", None),
        ("share of the bare loop", rate / bound, "", ">= 0.40", rate >= 0.4 * bound),
        ("CPU of the worker per resource", cpu / good * 1000, "ms", "<= 4", cpu / good <= 0.004),
        ("resources archived", good, "", f"= {options.files}", good == options.files),
    ]
    return report(f"{options.files} files of 10 KB on {options.hosts} hosts, {THREADS} threads", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
