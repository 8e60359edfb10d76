"""Workers on several machines, behind PgBouncer and with RabbitMQ, while everything that they share breaks."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import engines
from world import World, check_invariants

WORKERS = 3


@pytest.fixture
def rabbitmq(tmp_path: Path) -> Iterator[engines.RabbitMq]:
    engines.program("pgbouncer")  # before the slower one starts
    server = engines.RabbitMq(tmp_path)
    with engines.running(server):
        yield server


@pytest.mark.parametrize(
    ("resources", "cut_seconds", "bound"),
    [
        pytest.param(600, 15, None, marks=pytest.mark.timeout(400)),
        pytest.param(20_000, 60, 1.5, marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
    ],
)
def test_three_machines_through_pgbouncer_and_rabbitmq(
    world: World,
    database: Any,
    rabbitmq: engines.RabbitMq,
    start: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: Callable[..., None],
    resources: int,
    cut_seconds: float,
    bound: float | None,
) -> None:
    """One worker is killed, one is cut off from the broker, PostgreSQL is restarted: every verdict once.

    :param bound: of the time, in undisturbed rounds; a small round is shorter than what disturbs it
    """
    world = replace(world, engine=database.engine)
    bouncer, path = engines.PgBouncer(tmp_path, database.url, sessions=20), engines.Proxy(rabbitmq.port)
    world.add(resources, delay=0.02 if bound else 0.2, per_dataset=20)

    def worker(number: int, port: int) -> Any:
        # As on a machine of its own.
        monkeypatch.setenv("TMPDIR", str(_made(tmp_path / f"tmp-{number}")))
        url = rabbitmq.url.replace(str(rabbitmq.port), str(port))
        return start("bulk", "--concurrency=8", database_url=bouncer.url, broker_url=url, ready=False)

    with engines.running(bouncer):
        workers = [worker(number, path.port if number == 0 else rabbitmq.port) for number in range(WORKERS)]
        for one in workers:
            one.await_messages()
        undisturbed = 0.0
        if bound:
            world.request()
            undisturbed = world.settle(1500)
            check_invariants(world)
            _forget(world)

        world.request()
        began = time.monotonic()
        wait_until(lambda: world.done() > resources / 10, timeout=300)
        path.cut()
        cut_until = time.monotonic() + cut_seconds
        workers[1].kill()
        workers.append(worker(3, rabbitmq.port))
        wait_until(lambda: world.done() > resources / 5, timeout=300)
        database.stop(signal.SIGINT)
        database.start()
        time.sleep(max(0.0, cut_until - time.monotonic()))  # the outage itself
        path.mend()
        world.settle(1500)
        seconds = time.monotonic() - began
        # A run that lost its lease when PostgreSQL was restarted may still be ending.
        wait_until(lambda: not _temporary(world), timeout=30, what=f"no temporary files: {_temporary(world)}")
        check_invariants(world)
        print(f"{resources} resources: {undisturbed:.0f} s undisturbed, {seconds:.0f} s disturbed")  # noqa: T201
    path.close()
    if bound:
        assert seconds <= bound * undisturbed


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _temporary(world: World) -> list[Path]:
    return [path for path in (world.archive_dir / ".tmp").rglob("*") if path.is_file()]


def _forget(world: World) -> None:
    """Forget the first round: the second one is to do the same work."""
    world.run("TRUNCATE archival, archival_check, archiver_dataset, archiver_host")
    for folder in world.archive_dir.iterdir():
        if folder.is_dir() and not folder.name.startswith("."):
            shutil.rmtree(folder)
    world.heard_file.unlink(missing_ok=True)
