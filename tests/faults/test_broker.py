"""The broker forgets everything, is full, or is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from ckan import model

from ckanext.archiver.queue import broker as queue_broker
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


@pytest.mark.timeout(60)
def test_a_broker_that_hangs_costs_an_edit_half_a_second_once(world: World, broker: Any) -> None:
    ids = world.add(4)
    broker.pause()
    try:
        edits = [_edit(world, id_, f"/hangs-{number}.csv") for number, id_ in enumerate(ids)]
    finally:
        broker.resume()
    assert sum(edits) < 1.5, edits
    assert sum(seconds >= queue_broker.TIMEOUT for seconds in edits) <= 1, edits
    assert len(world.rows("SELECT 1 FROM archiver_request WHERE queue = 'priority'")) == 4


@pytest.mark.timeout(90)
def test_a_command_says_that_it_is_the_broker_that_hangs(
    world: World, broker: Any, make_ini: Callable[..., Any], ckan_command: Callable[..., Any]
) -> None:
    world.add(3)
    broker.pause()
    began = time.monotonic()
    try:
        done = ckan_command(make_ini(), "archiver", "update")
    finally:
        broker.resume()
    assert done.returncode == 0, done.stderr
    assert "The broker does not answer" in done.stderr
    assert "database does not answer" not in done.stderr
    assert time.monotonic() - began < 30, "it starts in some seconds, and asks for some more"
    assert len(world.rows("SELECT 1 FROM archiver_request")) == 3


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "item", [b"this is no JSON", b"\xff\xfe", b"5", b"{}", b'{"body": 1, "properties": null}', b"[]", b"null"]
)
def test_an_item_of_the_queue_that_is_no_message_is_dropped(
    world: World, broker: Any, start: Callable[..., Any], wait_until: Callable[..., None], item: bytes
) -> None:
    worker = start("bulk", "--concurrency=2")
    client = redis.Redis(port=broker.port)
    client.lpush("bulk", item)
    wait_until(lambda: client.llen("bulk") == 0)
    world.add(2, broken_every=1000)
    world.request("bulk")
    world.settle(20)
    assert worker.runs
    check_invariants(world)


@pytest.mark.parametrize(
    "query", ["socket_timeout=5", "db=0", "health_check_interval=10&retry_on_timeout=1&protocol=2"]
)
def test_the_options_of_redis_urls_are_understood(
    world: World,
    broker: Any,
    ckan_config: dict[str, Any],
    start: Callable[..., Any],
    query: str,
) -> None:
    ckan_config["ckanext-archiver.broker_url"] = f"{broker.url}?{query}"
    start("all", "--concurrency=2")
    (id_,) = world.add(1)
    _edit(world, id_, "/a.csv")
    world.settle(30)
    check_invariants(world, runs=None)


def test_whatever_sending_raises_the_edit_is_saved(
    world: World, ckan_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("a defect of a library")

    monkeypatch.setattr("ckanext.archiver.queue.broker.send", fail)
    monkeypatch.setattr("ckanext.archiver.queue.broker._down_until", 0.0)
    (id_,) = world.add(1)
    _edit(world, id_, "/a.csv")
    assert "a defect of a library" in caplog.text
    assert len(world.rows("SELECT 1 FROM archiver_request WHERE queue = 'priority'")) == 1
