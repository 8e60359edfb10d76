"""What an operator has paused is neither sent nor claimed, and nothing is lost."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

import pytest
from ckan import model

from ckanext.archiver import archiving
from ckanext.archiver.queue import claims, dispatch, pauses
from ckanext.archiver.queue.sql import transaction
from rows import put, run

pytestmark = pytest.mark.usefixtures("clean_site")

BY = "alice on web1"


def pause(queue: str = "", *hosts: str) -> None:
    with transaction():
        assert pauses.pause(queue, hosts or [""], BY, "A test")


def resume(queue: str = "", *hosts: str) -> None:
    with transaction():
        assert pauses.resume(queue, hosts or [""])


def claim(resource_id: str, queue: str, **how: Any) -> bool:
    with transaction():
        (found,) = claims.claim([claims.Message(resource_id, queue)], "test", **how)
    return isinstance(found, claims.Claim)


def sent() -> set[str]:
    return {row[0] for row in run("SELECT resource_id FROM archiver_request WHERE sent_until > now()")}


@pytest.mark.parametrize(
    ("queue", "host", "stopped"),
    [
        ("", "", {"bulk a", "bulk b", "priority a", "priority b"}),
        ("priority", "", {"priority a", "priority b"}),
        ("bulk", "", {"bulk a", "bulk b"}),
        ("", "a", {"bulk a", "priority a"}),
        ("bulk", "a", {"bulk a"}),
    ],
)
def test_a_pause_stops_what_it_names_and_nothing_else(queue: str, host: str, stopped: set[str]) -> None:
    old = "now() - interval '1 minute'"
    ids = {f"{q} {h}": put(h, 1, q, requested_at=old)[0] for q in ("bulk", "priority") for h in ("a", "b")}
    pause(queue, host)

    dispatch.tick()

    went = {name for name, resource_id in ids.items() if resource_id in sent()}
    assert not went & stopped
    claimed = {name for name, resource_id in ids.items() if claim(resource_id, name.split()[0])}
    assert claimed == set(ids) - stopped


def test_edits_of_a_paused_queue_do_not_hold_up_the_round() -> None:
    put("a", 1, "priority", requested_at="now() - interval '1 minute'")
    (of_round,) = put("a", 1, "bulk")
    pause("priority")

    dispatch.tick()

    assert sent() == {of_round}


def test_a_direct_call_is_stopped_too() -> None:
    (resource_id,) = put("a")
    pause()

    assert not claim(resource_id, "", at_once=True)


def test_a_message_that_a_worker_has_received_goes_back_to_the_table() -> None:
    (resource_id,) = put("a", sent_until="now() + interval '10 minutes'")
    pause("", "a")

    assert archiving.archive_resource(resource_id, "bulk", worker_id="test") is None

    assert sent() == set()
    assert run("SELECT attempts, deaths, holds, held FROM archiver_request") == [(0, 0, 0, None)]
    dispatch.tick()
    assert sent() == set()
    resume("", "a")
    dispatch.tick()
    assert sent() == {resource_id}


def test_a_message_of_a_request_that_another_worker_has_is_not_sent_again() -> None:
    (resource_id,) = put("a", sent_until="now() + interval '10 minutes'")
    assert claim(resource_id, "bulk")
    run("UPDATE archiver_request SET sent_until = now() + interval '10 minutes'")

    assert archiving.archive_resource(resource_id, "bulk", worker_id="test") is None

    assert sent() == {resource_id}


def test_a_host_that_had_a_message_goes_on_as_soon_as_the_pause_ends() -> None:
    (resource_id,) = put("a")
    dispatch.tick()
    assert sent() == {resource_id}
    pause()
    archiving.archive_resource(resource_id, "bulk", worker_id="test")
    resume()

    dispatch.tick()

    assert sent() == {resource_id}


def test_a_pause_is_kept_as_it_is_when_it_is_paused_again() -> None:
    pause("bulk")
    with transaction():
        assert not pauses.pause("bulk", [""], "bob on web2")

    (found,) = pauses.current()

    assert (found.queue, found.host, found.paused_by, found.reason) == ("bulk", "", BY, "A test")
    assert abs(found.paused_at.timestamp() - time.time()) < 60
    expected = f"The queue bulk is paused by {BY} since {found.paused_at:%Y-%m-%d %H:%M} UTC: A test"
    assert found.sentence() == expected


def test_the_widest_pause_of_a_resource_is_said() -> None:
    (resource_id,) = put("a")
    assert pauses.of_resource(resource_id) is None
    pause("priority")
    pause("", "b")
    assert pauses.of_resource(resource_id) is None
    pause("bulk", "a")
    pause("", "a")

    found = pauses.of_resource(resource_id)

    assert found is not None
    assert found.what == "the host a"
    assert found.options == " --host a"
    assert pauses.of_queue("bulk") is None
    assert pauses.of_queue("priority") is not None


def test_all_pauses_end_at_once() -> None:
    pause("bulk")
    pause("", "a", "b")

    with transaction():
        ended = pauses.resume_all()

    assert [pause.what for pause in ended] == ["the queue bulk", "the host a", "the host b"]
    assert pauses.current() == []
    with transaction():
        assert not pauses.resume("bulk", [""])


def test_the_user_is_the_one_of_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setenv("USER", "another-user")
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert pauses.this_user() == f"user 54321 on {socket.gethostname()}"

    monkeypatch.setenv("SUDO_USER", "alice")
    assert pauses.this_user() == f"alice on {socket.gethostname()}"


def test_what_is_in_flight_is_counted() -> None:
    for host, queue in (("a", "bulk"), ("b", "priority")):
        (resource_id,) = put(host, 1, queue)
        assert claim(resource_id, queue)
    put("a")

    assert [pauses.in_flight(*of) for of in (("", [""]), ("bulk", [""]), ("", ["b"]), ("bulk", ["b"]))] == [2, 1, 1, 0]
    model.Session.rollback()
