"""Workers are killed, paused, stopped and started twice."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from _stack.process import birth
from origin_server import Answer, Request
from world import BROKEN, World, check_invariants


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=pytest.mark.slow)])
@pytest.mark.timeout(180)
def test_workers_are_killed_at_random(
    world: World, start: Callable[..., Any], murderer: Callable[..., Any], pool: str
) -> None:
    world.add(200, delay=0.4)
    options = ("--concurrency=4", f"--pool={pool}")
    bad_day = murderer(lambda **how: start("bulk", *options, **how), 2, (0.2, 0.8))
    world.request()

    world.settle(150, between=lambda: bad_day.strike() if world.left().get("requests", 0) > 20 else None)

    assert bad_day.killed >= 2
    check_invariants(world)


@pytest.mark.timeout(120)
def test_a_resource_that_kills_its_worker_is_set_aside(world: World, start: Callable[..., Any]) -> None:
    workers: list[Any] = []

    def kill(request: Request) -> Answer:
        os.kill(workers[-1].pid, signal.SIGKILL)
        return Answer(b"too late")

    world.add(5, delay=0.5, broken_every=100)
    (poison,) = world.add_urls([world.origin.answer("/poison.csv", kill)])
    world.verdicts[poison] = "not-sure"
    world.request()

    def keep_one_running() -> None:
        if not workers or not workers[-1].runs:
            workers.append(start("bulk", "--concurrency=6", poison_deaths=2, worker_dead_seconds=2))

    keep_one_running()
    world.settle(90, between=keep_one_running)

    assert world.origin.asked("/poison.csv") == 2
    assert len(workers) == 3
    assert world.scalar("SELECT detail FROM archival WHERE resource_id = :id", id=poison) == "poison"
    # What ran beside it was interrupted, and is not blamed.
    check_invariants(world)


@pytest.mark.timeout(120)
def test_a_worker_that_was_paused_writes_nothing_when_it_goes_on(
    world: World, start: Callable[..., Any], paused: Callable[[Any], None], wait_until: Callable[..., None]
) -> None:
    gate = threading.Event()
    answers = iter([Answer(b"what the first worker gets", gate=gate), Answer(b"what the second worker gets")])
    url = world.origin.answer("/a.csv", lambda request: next(answers))
    world.bodies[url] = b"what the second worker gets"
    world.add_urls([url])
    world.request()
    first = start("bulk")
    wait_until(lambda: world.origin.asked("/a.csv") == 1)
    paused(first)

    start("bulk")
    world.settle(60)
    gate.set()
    os.kill(first.pid, signal.SIGCONT)

    wait_until(lambda: "Nothing is written about resource" in first.log)
    wait_until(lambda: not list((world.archive_dir / ".tmp").rglob("fetch-*")))
    assert world.origin.asked("/a.csv") == 2
    check_invariants(world)


@pytest.mark.timeout(120)
def test_workers_that_are_told_to_stop_return_what_they_do(
    world: World, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    gate = threading.Event()
    urls = [world.file(f"/{number}.csv", gate=gate) for number in range(8)]
    ids = world.add_urls(urls)
    workers = [
        start("all", "--concurrency=2", ready=False),
        start("bulk", "--pool=prefork", "--concurrency=2", ready=False),
    ]
    for worker in workers:
        worker.await_messages()
    world.request("priority", ids[:2])
    wait_until(lambda: len(world.origin.requests) == 2)
    world.request("bulk")
    wait_until(lambda: len(world.origin.requests) == 6, timeout=20)

    began = time.monotonic()
    with ThreadPoolExecutor() as both:
        codes = list(both.map(lambda worker: worker.stop(), workers))

    assert time.monotonic() - began < 30
    assert codes == [0, 0]
    rows = world.rows("SELECT * FROM archiver_request")
    assert len(rows) == 8
    assert [row for row in rows if row["lease_token"] or row["attempts"] or row["deaths"]] == []
    assert world.scalar("SELECT count(*) FROM archiver_worker") == 0
    gate.set()
    start("all")
    world.settle(30)
    check_invariants(world)


@pytest.mark.timeout(120)
def test_nobody_is_left_when_the_heads_are_killed(
    world: World, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    head = start("all", "--pool=prefork", "--concurrency=2")
    workers = children(head.pid)
    pool = [pid for worker in workers for pid in children(worker)]
    assert (len(workers), len(pool)) == (2, 4)
    wait_until(lambda: world.scalar("SELECT count(*) FROM archiver_worker") == 6)

    # The head of all, and the parent of a pool.
    os.kill(head.pid, signal.SIGKILL)
    os.kill(workers[0], signal.SIGKILL)

    wait_until(lambda: [pid for pid in [*workers, *pool] if birth(pid)] == [], timeout=30)


@pytest.mark.timeout(120)
def test_a_worker_dies_between_the_copy_and_the_row(
    world: World, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    known, new = world.add_urls([world.file("/known.csv", b"first"), world.origin.url("/new.csv")])
    worker = start("bulk")
    world.request("bulk", [known])
    world.settle(30)
    world.file("/known.csv", b"second")
    world.file("/new.csv", b"new")
    with world.engine.connect() as connection, connection.begin():
        connection.execute(sa.text("LOCK TABLE archival IN SHARE MODE"))
        world.request("bulk")
        wait_until(lambda: {file.read_bytes() for file in copies(world)} == {b"second", b"new"}, timeout=20)
        worker.kill()
    for path in ("/known.csv", "/new.csv"):
        world.origin.serve(path, status=404)

    start("bulk")
    world.settle(40)

    # The copy that is there is whole, and the row tells of it; the one that no row ever told of is gone.
    (copy,) = copies(world)
    rows = world.rows("SELECT resource_id, verdict, cache_filepath, sha256, size FROM archival ORDER BY cache_filepath")
    digest = hashlib.sha256(b"second").hexdigest()
    assert rows == [
        # A link that worked is checked once more before a 404 counts.
        {"resource_id": known, "verdict": "failing", "cache_filepath": str(copy), "sha256": digest, "size": 6},
        {"resource_id": new, "verdict": BROKEN, "cache_filepath": None, "sha256": None, "size": None},
    ]


def copies(world: World) -> list[Path]:
    return [path for path in world.archive_dir.rglob("*.csv") if path.is_file()]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("queue", ["bulk", "all"])
def test_one_stop_is_enough_and_a_second_changes_nothing(
    world: World, start: Callable[..., Any], wait_until: Callable[..., None], queue: str
) -> None:
    gate = threading.Event()
    world.add_urls([world.file("/held.csv", gate=gate)])
    worker = start(queue, "--concurrency=2")
    world.request("bulk")
    wait_until(lambda: world.origin.asked("/held.csv") == 1, timeout=20)
    for _ in range(50):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGTERM)
        time.sleep(0.002)
    assert worker.stop(40) == 0
    assert [row for row in world.rows("SELECT * FROM archiver_request") if row["lease_token"]] == []
