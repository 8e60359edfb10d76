"""Another transaction has request rows locked for long: a dataset saved while the search index hangs, a harvest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from world import World, check_invariants


@pytest.mark.timeout(150)
def test_a_long_transaction_stops_no_worker(
    world: World, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    """The requests of one dataset stay locked; everything else is judged, and no living worker counts as dead."""
    locked = world.add_urls([world.file(f"/locked-{number}.csv") for number in range(40)], per_dataset=40)
    world.add(120, delay=0.05)
    worker = start("bulk", "--concurrency=4")
    with world.engine.connect() as connection, connection.begin():
        world.request("bulk")
        connection.execute(
            sa.text("SELECT 1 FROM archiver_request WHERE resource_id = ANY(:ids) FOR UPDATE"), {"ids": locked}
        )
        began = time.monotonic()
        wait_until(lambda: world.done() == 120, timeout=45)
        # Longer than a worker without a heartbeat counts as alive.
        time.sleep(max(0, 8 - (time.monotonic() - began)))
        assert world.done() == 120
        assert world.scalar("SELECT count(*) FROM archiver_worker WHERE seen_at > now() - interval '3 seconds'") == 1
        assert world.scalar("SELECT count(*) FROM archiver_request WHERE deaths > 0") == 0
    world.settle(30)
    assert "does not work" not in worker.log
    assert "QueuePool" not in worker.log
    check_invariants(world)


@pytest.mark.timeout(150)
def test_results_of_requests_that_are_locked_during_a_run_are_written_later(
    world: World, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    """Locked after they were claimed: the threads go on with other links, and nothing is fetched twice."""
    slow = world.add_urls([world.file(f"/slow-{number}.csv", delay=2) for number in range(4)])
    start("bulk", "--concurrency=4")
    world.request("bulk", slow)
    wait_until(lambda: len(world.origin.requests) == 4, timeout=20)
    others = world.add(40, delay=0.05)
    with world.engine.connect() as connection, connection.begin():
        connection.execute(
            sa.text("SELECT 1 FROM archiver_request WHERE resource_id = ANY(:ids) FOR UPDATE"), {"ids": slow}
        )
        world.request("bulk", others)
        wait_until(lambda: world.done() == 40, timeout=30)
    world.settle(20)
    assert {world.origin.asked(f"/slow-{number}.csv") for number in range(4)} == {1}
    check_invariants(world)


def test_a_worker_stops_while_results_wait_for_a_lock(
    world: World, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    slow = world.add_urls([world.file("/slow.csv", delay=1)])
    worker = start("bulk", "--concurrency=2")
    world.request("bulk")
    wait_until(lambda: len(world.origin.requests) == 1, timeout=20)
    with world.engine.connect() as connection, connection.begin():
        connection.execute(
            sa.text("SELECT 1 FROM archiver_request WHERE resource_id = ANY(:ids) FOR UPDATE"), {"ids": slow}
        )
        wait_until(lambda: "not locked any more" in worker.log, timeout=20)
        assert worker.stop() == 0
    start("bulk", "--concurrency=2")
    world.settle(40)
    check_invariants(world)
