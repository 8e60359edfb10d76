"""Workers are killed, paused, stopped and started twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from faults.world import World, check_invariants


@pytest.mark.parametrize("pool", ["threads", "prefork"])
@pytest.mark.timeout(180)
def test_workers_are_killed_at_random(
    world: World, start: Callable[..., Any], murderer: Callable[..., Any], pool: str
) -> None:
    world.add(200 if pool == "threads" else 80, delay=0.4)
    options = ("--concurrency=4", f"--pool={pool}")
    bad_day = murderer(lambda: start("bulk", *options), 2, (0.2, 0.8))
    world.request()

    world.settle(150, meanwhile=lambda: bad_day.strike() if world.left().get("requests", 0) > 20 else None)

    assert bad_day.killed >= 2
    check_invariants(world)
