"""People edit while workers work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ckan.plugins.toolkit as tk
from ckan import model

from world import OK, World, check_invariants


def _edit(resource_id: str, url: str) -> None:
    resource = model.Resource.get(resource_id)
    resource.url = url
    resource.url_changed = True  # as CKAN's actions do
    model.Session.add(resource)


def test_fifty_edits_in_a_second_are_two_fetches(world: World, start: Callable[..., Any]) -> None:
    urls = [world.file(f"/v{number}.csv", b"version %d" % number) for number in range(50)]
    never = world.file("/never.csv")
    edited, rolled_back = world.add_urls([urls[0], world.file("/other.csv")])
    start("priority", host_interval=10)

    for url in reversed(urls):
        _edit(edited, url)
        model.Session.commit()
    _edit(rolled_back, never)
    model.Session.flush()
    model.Session.rollback()
    world.settle(30, between=lambda: _pass_the_interval(world))

    # Each check is one request, for any URL.
    assert 1 <= len(world.origin.requests) <= 2
    assert world.origin.asked("/never.csv") == 0
    assert world.rows("SELECT resource_id, source_url, verdict FROM archival") == [
        {"resource_id": edited, "source_url": urls[0], "verdict": OK}
    ]
    world.request("priority", [rolled_back])
    world.settle(30, between=lambda: _pass_the_interval(world))
    check_invariants(world, runs=None)


def _pass_the_interval(world: World) -> None:
    """Let the host's interval be over, without waiting for it."""
    world.run("UPDATE archiver_host SET next_at = now()")
    world.run("UPDATE archiver_request SET not_before = now() WHERE lease_token IS NULL AND not_before > now()")


def test_a_resource_is_deleted_while_it_is_fetched(
    world: World, start: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    gate = threading.Event()
    kept, gone = world.add_urls([world.file("/kept.csv"), world.file("/gone.csv", b"x" * 100_000, gate=gate)])
    (package_id,) = world.datasets
    start("priority")
    world.request("priority")
    wait_until(lambda: world.origin.asked("/gone.csv") and world.done() == 1)

    tk.get_action("resource_delete")({"ignore_auth": True, "user": ""}, {"id": gone})
    gate.set()

    wait_until(lambda: not list((world.archive_dir / ".tmp").rglob("fetch-*")))
    world.settle(30)
    del world.verdicts[gone]
    world.datasets[package_id].remove(gone)
    check_invariants(world)
