"""The broker delivers at least once; the table makes one effect of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from ckanext.archiver.queue import broker
from world import World, check_invariants


def test_messages_come_five_times_to_two_workers_with_a_dispatcher_each(
    world: World, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    gate = threading.Event()
    (held,) = world.add_urls([world.file("/held.csv", gate=gate)])
    others = world.add(60, delay=0.05)
    for worker in [start("bulk", ready=False) for _ in range(2)]:
        worker.await_messages()
    world.request()
    connection = broker.connect(timeout=5)
    for _ in range(5):
        broker.send(connection, [held, *others], "bulk")
    wait_until(lambda: world.left().get("requests") == 1 and not broker.queue_length(connection, "bulk"), timeout=40)
    broker.send(connection, [held] * 5, "bulk")
    wait_until(lambda: not broker.queue_length(connection, "bulk"))
    connection.release()
    gate.set()

    world.settle()

    asked = Counter(request.path for request in world.origin.requests)
    assert set(asked.values()) == {1}
    assert len(asked) == 61
    heard = Counter(event["resource_id"] for event in world.heard() if event["operation"] == "archived")
    assert set(heard.values()) == {1}
    check_invariants(world)
