"""Real workers, real servers of the test's own where they are to be killed, and a portal on them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
import sqlalchemy as sa
from ckan import model
from sqlalchemy.pool import NullPool

import listeners
from _stack import postgres
from _stack.layout import Stack
from _stack.process import running, stop, wait_until
from origin_server import Origin
from world import World

SETTINGS = {
    "ckan.plugins": "archiver archiver_hears archiver_hurries",
    "ckanext-archiver.host_interval": "0",
    "ckanext-archiver.host_concurrency": "0",
    "ckanext-archiver.min_free_bytes": "0",
    "ckanext-archiver.recheck": "off",
    "ckanext-archiver.retry_delays": "1 1",
    "ckanext-archiver.worker_dead_seconds": "3",
    "ckanext-archiver.hold_seconds": "2",
    "ckanext-archiver.total_timeout": "60",
    "ckanext-archiver.lease_seconds": "120",
    # Here workers die of other things than what they archive.
    "ckanext-archiver.poison_deaths": "100",
}


@pytest.fixture(autouse=True)
def plugins_for_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the processes of this test find the plugins of ``listeners``; returns the file of what they hear.

    A folder with entry points on the path is all that CKAN needs to find a plugin.
    """
    folder = tmp_path / "plugins" / "archiver_listeners-1.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: archiver-listeners\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(
        "[ckan.plugins]\n"
        "archiver_hears = listeners:Hears\n"
        "archiver_raises = listeners:Raises\n"
        "archiver_breaks_the_session = listeners:BreaksTheSession\n"
        "archiver_has_no_clock = listeners:HasNoClock\n"
        "archiver_hurries = listeners:Hurries\n"
        "archiver_gives_way = listeners:GivesWay\n"
        "archiver_names = listeners:NamesOneServer\n"
    )
    heard = tmp_path / "heard.jsonl"
    monkeypatch.setenv("PYTHONPATH", f"{folder.parent}:{Path(listeners.__file__).parent}")
    monkeypatch.setenv(listeners.FILE, str(heard))
    return heard


@pytest.fixture
def world(clean_site: None, archive_dir: Path, plugins_for_workers: Path, origin: Origin) -> World:
    """A portal on the stack's servers, empty."""
    model.Session.remove()
    return World(model.meta.engine, archive_dir, plugins_for_workers, tk.config["solr_url"].rstrip("/"), origin)


@pytest.fixture
def start(worker: Callable[..., Any]) -> Callable[..., Any]:
    """``start("bulk", "--concurrency=4", lease_seconds=90)``: a worker with the settings of these tests."""

    def run(
        queue: str = "bulk",
        *options: str,
        plugins: str = "",
        database_url: str = "",
        ready: bool = True,
        **changed: object,
    ) -> Any:
        settings = {**SETTINGS, **{f"ckanext-archiver.{name}": str(value) for name, value in changed.items()}}
        if plugins:
            settings["ckan.plugins"] = plugins
        if database_url:
            settings["sqlalchemy.url"] = database_url
        return worker(queue, *options, settings=settings, ready=ready)

    return run


class Murderer:
    """Kills workers at random and starts others in their place, like a bad day with a supervisor."""

    def __init__(self, begin: Callable[..., Any], count: int, every: tuple[float, float]) -> None:
        self._begin = begin
        self._every = every
        self._random = random.Random(20260101)  # noqa: S311 - not a secret
        self.workers = [begin(ready=False) for _ in range(count)]
        for worker in self.workers:
            worker.await_messages()
        self.killed = 0
        self._next = time.monotonic() + self._random.uniform(*every)

    def strike(self) -> None:
        """Kill one worker, if it is time, and start another."""
        if time.monotonic() < self._next:
            return
        victim = self.workers.pop(self._random.randrange(len(self.workers)))
        victim.kill()
        self.killed += 1
        self.workers.append(self._begin())
        self._next = time.monotonic() + self._random.uniform(*self._every)


@pytest.fixture
def murderer() -> type[Murderer]:
    return Murderer


@pytest.fixture
def paused() -> Iterator[Callable[[Any], None]]:
    """``paused(process)``: stop it in its tracks (SIGSTOP); it goes on at the end of the test at the latest."""
    pids: list[int] = []

    def pause(process: Any) -> None:
        pids.append(process.pid)
        os.kill(process.pid, signal.SIGSTOP)

    yield pause
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


class Database:
    """A PostgreSQL server of the test's own, with the tests' database in it, to be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._stack = Stack.at("2.12", folder)
        self._stack.make()
        # The programs are those of the stack that runs the tests.
        self._stack.venv.symlink_to(sys.prefix)
        postgres._up(self._stack)
        self.url = postgres.url(self._stack, "test")
        postgres.make_database(self._stack, self.url)
        dump = self._tool("pg_dump", "--no-owner", tk.config["sqlalchemy.url"])
        self._tool("psql", "--quiet", "-v", "ON_ERROR_STOP=1", self.url, input=dump)
        self.engine = sa.create_engine(self.url, poolclass=NullPool)

    def _tool(self, name: str, *arguments: str, input: bytes | None = None) -> bytes:
        command = [postgres._tool(self._stack, name), *arguments]
        return subprocess.run(command, input=input, check=True, stdout=subprocess.PIPE).stdout

    def stop(self, how: signal.Signals) -> None:
        """``SIGINT`` is what a restart does, ``SIGKILL`` what the kernel does when memory is short."""
        pid = running(self._stack, postgres.NAME)
        assert pid is not None
        os.kill(pid, how)
        assert wait_until(lambda: running(self._stack, postgres.NAME) is None, 20)

    def start(self) -> None:
        postgres._up(self._stack)
        assert postgres.url(self._stack, "test") == self.url, "another process has taken the port"

    def read_only(self, is_so: bool) -> None:
        """Let it only read, as a standby does, or write again."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("SET default_transaction_read_only = off"))
            connection.execute(sa.text(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if is_so else 'off'}"))
            connection.execute(sa.text("SELECT pg_reload_conf()"))

    def close(self) -> None:
        self.engine.dispose()
        stop(self._stack, postgres.NAME, signal.SIGKILL)


@pytest.fixture
def database(clean_site: None, tmp_path: Path) -> Iterator[Database]:
    server = Database(tmp_path / "postgres")
    yield server
    server.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long variants run when they are asked for: ``bin/test tests/faults -m slow``."""
    if config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("slow") and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="long; run it with -m slow"))


@pytest.fixture
def ckan_command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``ckan_command(ini, "archiver", "update")``: run a command of ``ckan``, a minute at most."""

    def run(ini: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("ckan")), "-c", str(ini), *arguments]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CKAN_")}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run
