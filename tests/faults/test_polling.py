"""A broker that is away for long: workers take what is due from the table by themselves."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
import redis
from ckan.tests import factories

from ckanext.archiver.worker import polling
from world import World, check_invariants


def polls(world: World) -> int:
    """How many workers take requests from the table."""
    return int(world.scalar("SELECT count(*) FROM archiver_worker WHERE polls_since IS NOT NULL"))


def status(make_ini: Callable[..., Path]) -> tuple[dict[str, Any], str]:
    """What ``ckan archiver status`` says, as data and for people."""
    command = [str(Path(sys.executable).with_name("ckan")), "-c", str(make_ini()), "archiver", "status"]
    data = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout
    text = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(data), text.stdout + text.stderr


@pytest.mark.timeout(180)
def test_a_broker_that_is_killed_for_good_stops_nobody(
    world: World,
    broker: Any,
    start: Callable[..., Any],
    wait_until: Callable[..., None],
    make_ini: Callable[..., Path],
) -> None:
    world.add(8, delay=0.3)
    workers = [
        start("all", "--concurrency=4", host_interval=0.5, host_concurrency=1, ready=False),
        start("bulk", "--pool=prefork", "--concurrency=2", host_interval=0.5, host_concurrency=1, ready=False),
    ]
    for worker in workers:
        worker.await_messages()
    broker.kill()
    world.request("bulk")
    wait_until(lambda: polls(world) >= 3, timeout=polling.AWAY_SECONDS + 20, what="workers poll")

    dataset = factories.Dataset(resources=[{"url": world.file("/edited.csv"), "format": "CSV"}])
    edited = dataset["resources"][0]["id"]
    world.verdicts[edited], world.datasets[dataset["id"]] = "ok", [edited]
    world.settle(60)
    check_invariants(world)
    # One host: one request at a time and half a second apart, over all workers.
    began = sorted(request.at for request in world.origin.requests)
    assert min(after - before for before, after in itertools.pairwise(began)) > 0.45

    data, text = status(make_ini)
    assert data["broker"]["answers"] is False
    assert data["broker"]["workers_polling"] >= 3
    assert "take requests from the table" in text

    broker.start()
    wait_until(lambda: polls(world) == 0, timeout=60, what="the broker is back")
    tk.get_action("resource_patch")(
        {"ignore_auth": True, "user": factories.Sysadmin()["name"]}, {"id": edited, "url": world.file("/again.csv")}
    )
    world.settle(30)
    check_invariants(world, runs=None)
    for worker in workers:
        # Celery 5.6 logs a lost connection with its own traceback; none may come from this extension.
        ours = [line for line in worker.log.splitlines() if line.startswith("  File") and "ckanext/archiver/" in line]
        assert ours == []


@pytest.mark.timeout(120)
def test_a_worker_that_starts_without_a_broker_works(
    world: World, broker: Any, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    broker.kill()
    world.add(20)
    world.request("bulk")
    worker = start("bulk", "--concurrency=4", ready=False)
    world.settle(60)
    check_invariants(world)
    assert worker.stop() == 0
    assert world.scalar("SELECT count(*) FROM archiver_worker") == 0, "it has deregistered"


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_broker_that_answers_and_takes_no_messages_is_away_too(
    world: World, broker: Any, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    start("bulk", "--concurrency=4")
    client = redis.Redis(port=broker.port)
    client.config_set("maxmemory", "1")
    world.add(20)
    world.request("bulk")
    wait_until(lambda: polls(world), timeout=polling.AWAY_SECONDS + 20, what="the worker polls")
    world.settle(60)
    check_invariants(world)
    client.config_set("maxmemory", "0")
    wait_until(lambda: not polls(world), timeout=polling.RETRY_SENDING + 20, what="the broker is used again")
