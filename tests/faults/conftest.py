"""Real workers, real servers of the test's own where they are to be killed, and a portal on them."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from faults import listeners
from faults.world import World

from origin_server import Origin

SETTINGS = {
    "ckan.plugins": "archiver archiver_hears",
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
    )
    heard = tmp_path / "heard.jsonl"
    monkeypatch.setenv("PYTHONPATH", f"{folder.parent}:{Path(__file__).parent}")
    monkeypatch.setenv(listeners.FILE, str(heard))
    return heard


@pytest.fixture
def world(clean_site: None, archive_dir: Path, plugins_for_workers: Path, origin: Origin) -> World:
    """A portal on the stack's servers, empty."""
    model.Session.remove()
    return World(
        model.meta.engine, archive_dir, plugins_for_workers, tk.config["solr_url"].rstrip("/"), origin
    )


@pytest.fixture
def start(worker: Callable[..., Any]) -> Callable[..., Any]:
    """``start("bulk", "--concurrency=4", lease_seconds=90)``: a worker with the settings of these tests."""

    def run(queue: str = "bulk", *options: str, plugins: str = "", **changed: object) -> Any:
        settings = {**SETTINGS, **{f"ckanext-archiver.{name}": str(value) for name, value in changed.items()}}
        if plugins:
            settings["ckan.plugins"] = plugins
        return worker(queue, *options, settings=settings)

    return run


class Murderer:
    """Kills workers at random and starts others in their place, like a bad day with a supervisor."""

    def __init__(self, begin: Callable[[], Any], count: int, every: tuple[float, float]) -> None:
        self._begin = begin
        self._every = every
        self._random = random.Random(20260101)  # noqa: S311 - not a secret
        self.workers = [begin() for _ in range(count)]
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
    import os

    pids: list[int] = []

    def pause(process: Any) -> None:
        pids.append(process.pid)
        os.kill(process.pid, signal.SIGSTOP)

    yield pause
    for pid in pids:
        with __import__("contextlib").suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
