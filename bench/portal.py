"""The measured portal: made by SQL in a stack of its own; the cost of its processes is read from /proc."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bin"))

from _stack.ckan_site import with_settings  # noqa: E402 - the path is set above

BIN = Path(sys.executable).parent
TABLES = (
    "archiver_request, archiver_host, archiver_notice, archiver_dataset, archiver_worker, archiver_state, "
    "archival, archival_check, archiver_link_count, archiver_snooze, archiver_action_link, archiver_action, "
    "resource, package"
)


class Site:
    """A CKAN of the bench stack with settings of its own."""

    def __init__(self, settings: dict[str, str]) -> None:
        ini = Path(os.environ["CKAN_INI"])
        self.ini = ini.with_name("bench.ini")
        self.archives = ini.parent / "bench-archives"
        self.archive = self.archives / str(time.time_ns())
        self.archive.mkdir(parents=True)
        defaults = {
            "ckan.plugins": "archiver",
            "ckanext-archiver.allowed_addresses": "127.0.0.0/8",
            "ckanext-archiver.archive_dir": str(self.archive),
            "ckanext-archiver.min_free_bytes": "0",
            "ckanext-archiver.recheck": "off",
        }
        self.ini.write_text(with_settings(ini.read_text(), {**defaults, **settings}))
        self.engine = sa.create_engine(os.environ["CKAN_SQLALCHEMY_URL"], isolation_level="AUTOCOMMIT")

    def sql(self, statement: str, **params: Any) -> Any:
        """Run a statement; rows as a list, or None."""
        with self.engine.connect() as connection:
            result = connection.execute(sa.text(statement), params)
            return result.all() if result.returns_rows else None

    def value(self, statement: str, **params: Any) -> Any:
        """The single value that a statement returns."""
        return self.sql(statement, **params)[0][0]

    def wipe(self) -> None:
        """Empty the tables and the broker. The archive is a new one.

        Archives of earlier runs are removed after ten minutes: just after removing many files, ext4 creates one much
        more slowly than otherwise.
        """
        for old in self.archives.iterdir():
            if old != self.archive and time.time() - old.stat().st_mtime > 600:
                shutil.rmtree(old)
        self.sql(f"TRUNCATE {TABLES} CASCADE")
        broker().flushall()

    def fill(self, count: int, url: str, *, per_dataset: int = 5) -> None:
        """Make resources by SQL.

        :param url: an SQL expression over ``n``, the number of a resource, from 0
        """
        datasets = -(-count // per_dataset)
        self.sql(
            """
            INSERT INTO package (id, name, title, type, state, private, metadata_created, metadata_modified)
            SELECT 'p' || n, 'dataset-' || n, 'Dataset ' || n, 'dataset', 'active', false, now(), now()
            FROM generate_series(0, :last) n""",
            last=datasets - 1,
        )
        self.sql(
            f"""
            INSERT INTO resource (id, package_id, url, format, state, position, metadata_modified, created)
            SELECT CAST(CAST(md5('r' || n) AS uuid) AS text), 'p' || n / :per, {url}, '', 'active', n % :per,
                   now(), now()
            FROM generate_series(0, :last) n""",
            last=count - 1,
            per=per_dataset,
        )  # noqa: S608 - our own expression
        self.sql("ANALYZE package")
        self.sql("ANALYZE resource")

    def ckan(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a ckan command; its output goes to a log."""
        log = open(self.ini.with_suffix(".log"), "ab")  # noqa: SIM115 - the process keeps it
        environment = {**os.environ, "CKAN_INI": str(self.ini)}
        return subprocess.Popen(
            [str(BIN / "ckan"), "-c", str(self.ini), *words], stdout=log, stderr=log, env=environment
        )

    @contextmanager
    def worker(self, queue: str, concurrency: int) -> Iterator[subprocess.Popen[bytes]]:
        """A worker that is ready; stopped at the end."""
        process = self.ckan("archiver", "worker", "--queue", queue, "--concurrency", str(concurrency))
        try:
            wait(lambda: self.value("SELECT count(*) FROM archiver_worker"), 60)
            yield process
        finally:
            process.terminate()
            process.wait(60)


def broker() -> Any:
    """The broker of the stack."""
    import redis

    return redis.from_url(os.environ["CKAN_REDIS_URL"])


def wait(condition: Any, timeout: float) -> None:
    """Poll until a condition is true."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"This took more than {timeout} s; see the log beside bench.ini.")
        time.sleep(0.1)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Resident memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def parser(text: str) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    made = argparse.ArgumentParser(description=text)
    made.add_argument("--json", type=Path, help="write the figures to this file as well")
    return made


Row = tuple[str, Any, str, Any, bool | None]


def report(title: str, rows: list[Row], path: Path | None) -> int:
    """Print a table: what, measured, unit, the bound, whether it holds.

    :returns: exit code
    """
    print(title)
    for what, value, unit, bound, good in rows:
        mark = {True: "ok", False: "MISSED", None: ""}[good]
        print(f"  {what:52} {value:>12,.3f} {unit:10} {bound!s:28} {mark}")
    if path:
        keys = ("what", "value", "unit", "bound", "holds")
        path.write_text(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
    return 0 if all(row[4] is not False for row in rows) else 1
