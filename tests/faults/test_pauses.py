"""An operator pauses real workers: no new fetch begins, nothing is lost, and everything goes on once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from ckanext.archiver.queue import pauses
from ckanext.archiver.queue.sql import transaction
from world import World, check_invariants

SOON = 2
"""Seconds within which no new fetch begins."""


def pause(queue: str = "", host: str = "") -> None:
    with transaction():
        assert pauses.pause(queue, [host], "alice on web1")


def resume(queue: str = "", host: str = "") -> None:
    with transaction():
        assert pauses.resume(queue, [host])


def stands_still(world: World) -> int:
    """How many fetches there were, after it was seen that no other begins."""
    time.sleep(SOON)
    count = len(world.origin.requests)
    time.sleep(3)
    assert len(world.origin.requests) == count
    return count


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=pytest.mark.slow)])
def test_a_round_is_paused_in_the_middle_and_goes_on(
    world: World, start: Callable[..., Any], wait_until: Callable[..., None], pool: str
) -> None:
    world.add(200, delay=0.1, broken_every=1000)
    for _ in range(2):
        start("bulk", "--concurrency=3", f"--pool={pool}")
    world.request()
    wait_until(lambda: len(world.origin.requests) > 20, timeout=30)

    pause()
    count = stands_still(world)

    assert 20 < count < 180
    rows = world.rows("SELECT lease_token, sent_until, attempts, deaths, holds FROM archiver_request")
    assert len(rows) == 200 - count, "what was in flight has ended, and nothing else"
    assert {(row["lease_token"], row["attempts"], row["deaths"], row["holds"]) for row in rows} == {(None, 0, 0, 0)}
    # A worker that starts during the pause does not fetch either; an edit only waits.
    start("all", ready=False).await_messages()
    (edited,) = world.add_urls([world.file("/edited.csv")])
    world.request("priority", [edited])
    assert stands_still(world) == count

    resume()
    began = time.monotonic()
    wait_until(lambda: len(world.origin.requests) > count, timeout=5)
    assert time.monotonic() - began < SOON, "it goes on at once"
    world.settle(60)
    check_invariants(world)


@pytest.mark.timeout(120)
def test_a_host_is_paused_and_the_others_go_on(world: World, start: Callable[..., Any]) -> None:
    ids = world.add(60, broken_every=1000)
    start("bulk")
    # The same server by another name.
    world.run("UPDATE resource SET url = replace(url, '127.0.0.1', 'localhost') WHERE id = ANY(:ids)", ids=ids[:30])
    pause(host="localhost")
    world.request()
    world.run("UPDATE archiver_request SET host = 'localhost' WHERE resource_id = ANY(:ids)", ids=ids[:30])
    world.run("INSERT INTO archiver_host (host, bulk_at) VALUES ('localhost', now()) ON CONFLICT DO NOTHING")

    deadline = time.monotonic() + 30
    while world.done() < 30 and time.monotonic() < deadline:
        time.sleep(0.1)
    stands_still(world)

    done = {row["resource_id"] for row in world.rows("SELECT resource_id FROM archival")}
    assert done == set(ids[30:])
    resume(host="localhost")
    world.settle(60)
    assert world.done() == 60
    assert world.rows("SELECT 1 FROM archival_check GROUP BY resource_id HAVING count(*) <> 1") == []


@pytest.mark.timeout(120)
def test_edits_alone_are_paused(world: World, start: Callable[..., Any], wait_until: Callable[..., None]) -> None:
    ids = world.add(40, broken_every=1000)
    start("all", ready=False).await_messages()
    pause("priority")
    world.request("priority", ids[:10])
    world.request("bulk")

    wait_until(lambda: world.done() >= 30, timeout=30)
    stands_still(world)

    assert world.scalar("SELECT count(*) FROM archiver_request WHERE queue = 'priority'") == 10
    assert world.done() == 30
    resume("priority")
    world.settle(60)
    check_invariants(world)


@pytest.mark.timeout(120)
def test_it_needs_no_broker(
    world: World, broker: Any, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    world.add(100, delay=0.2, broken_every=1000)
    start("bulk", "--concurrency=3")
    broker.kill()
    world.request()
    wait_until(lambda: len(world.origin.requests) > 6, timeout=40)

    pause()
    count = stands_still(world)

    assert count < 100
    resume()
    world.settle(90)
    check_invariants(world)
