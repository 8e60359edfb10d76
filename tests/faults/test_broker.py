"""The broker forgets everything, is full, or is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from ckan import model

from world import World, check_invariants


@pytest.mark.timeout(150)
@pytest.mark.parametrize("seconds", [6, pytest.param(30, marks=pytest.mark.slow)])
def test_the_broker_is_flushed_then_full_then_away(
    world: World, broker: Any, start: Callable[..., Any], wait_until: Callable[..., None], seconds: float
) -> None:
    ids = world.add(60 + 4 * int(seconds), delay=0.4, broken_every=1000)
    start("all", "--concurrency=4", dispatch_window=20)
    world.request("bulk")
    client = redis.Redis(port=broker.port)

    wait_until(lambda: world.done() >= 10, timeout=30)
    client.flushall()
    wait_until(lambda: world.done() >= 25, timeout=40)
    client.config_set("maxmemory", "1")
    edits = [_edit(world, ids[-1], "/full.csv")]
    client.config_set("maxmemory", "0")
    broker.kill()
    until = time.monotonic() + seconds
    edits += [_edit(world, id, f"/away-{number}.csv") for number, id in enumerate(ids[-5:-1])]
    assert max(edits) < 1
    time.sleep(max(0, until - time.monotonic()))  # the outage itself
    broker.start()

    world.settle(90)
    check_invariants(world, runs=None)


def _edit(world: World, resource_id: str, path: str) -> float:
    """Give a resource another URL; returns how long the person waited."""
    url = world.file(path)
    began = time.monotonic()
    resource = model.Resource.get(resource_id)
    resource.url = url
    resource.url_changed = True  # as CKAN's actions do
    model.Session.add(resource)
    model.Session.commit()
    return time.monotonic() - began
