"""PostgreSQL is restarted, and killed, while workers work."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from world import World, check_invariants


@pytest.mark.timeout(150)
@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=pytest.mark.slow)])
def test_the_database_is_restarted_and_killed(
    world: World, database: Any, start: Callable[..., Any], wait_until: Callable[..., None], pool: str
) -> None:
    world = replace(world, engine=database.engine)
    world.add(80, delay=0.3)
    worker = start("bulk", "--concurrency=4", f"--pool={pool}", database_url=database.url)
    world.request()

    for done, how in ((10, signal.SIGINT), (40, signal.SIGKILL)):
        wait_until(lambda done=done: world.done() >= done, timeout=40)
        database.stop(how)
        asked = len(world.origin.requests)
        # What was in flight finishes into the void.
        wait_until(lambda: "The database is away" in worker.log)
        assert len(world.origin.requests) <= asked + 8
        database.start()

    world.settle(90)
    check_invariants(world)
    assert worker.log.count("The database does not answer, trying again") <= 2, "once a minute, for all chores"
    assert "does not work, trying again: (psycopg" not in worker.log


@pytest.mark.timeout(120)
def test_a_database_that_only_reads_is_away(
    world: World, database: Any, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    """As during a failover, when the server is a standby."""
    world = replace(world, engine=database.engine)
    world.add(40, delay=0.2)
    worker = start("bulk", "--concurrency=4", database_url=database.url)
    world.request()
    wait_until(lambda: world.done() >= 5, timeout=40)
    database.read_only(True)
    wait_until(lambda: "The database is away" in worker.log, timeout=20)
    time.sleep(3)
    database.read_only(False)
    world.settle(60)
    assert "Traceback" not in worker.log
    check_invariants(world)
