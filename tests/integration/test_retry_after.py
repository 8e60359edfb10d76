"""A server that asks us to wait (Retry-After): the round waits, an edit goes once in ten minutes, people are told."""

from __future__ import annotations

from typing import Any

import pytest
from ckan import model
from ckan.cli.cli import ckan
from ckan.tests import factories

from ckanext.archiver import archiving
from ckanext.archiver.model import Archival
from ckanext.archiver.queue import leases, waits
from origin_server import Answer, Origin, Request
from rows import requested, run

pytestmark = [
    pytest.mark.usefixtures("clean_site"),
    pytest.mark.ckan_config("ckanext-archiver.host_interval", 0),
]


def busy(request: Request) -> Answer:
    return Answer(b"", 429, {"Retry-After": "3600"})


def resource(url: str) -> str:
    return factories.Dataset(resources=[{"url": url}])["resources"][0]["id"]


def archive(resource_id: str, queue: str = "priority") -> Any:
    """As a worker does, which observes the intervals of hosts."""
    result = archiving.archive_resource(resource_id, queue, worker_id=leases.worker_id())
    model.Session.rollback()
    return result


def due_in(resource_id: str) -> float:
    ((seconds,),) = run(
        "SELECT extract(epoch FROM not_before - now()) FROM archiver_request WHERE resource_id = :id", id=resource_id
    )
    return float(seconds)


@pytest.fixture
def asked_to_wait(origin: Origin) -> Origin:
    assert archive(resource(origin.answer("/busy", busy))) is not None
    assert requested() == set()
    return origin


def test_the_host_says_until_when(asked_to_wait: Origin) -> None:
    ((seconds,),) = run("SELECT extract(epoch FROM wait_until - now()) FROM archiver_host WHERE host = '127.0.0.1'")
    assert 3500 < seconds <= 3600


def test_an_edit_waits_ten_minutes_and_the_round_the_whole_hour(asked_to_wait: Origin) -> None:
    edited = resource(asked_to_wait.serve("/edited.csv", b"a,b\n"))
    assert archive(edited) is None
    assert 500 < due_in(edited) <= 600
    run("UPDATE archiver_request SET queue = 'bulk', not_before = now()")
    assert archive(edited, "bulk") is None
    assert 3500 < due_in(edited) <= 3600


def test_after_ten_minutes_one_edit_goes_and_the_next_waits(asked_to_wait: Origin) -> None:
    first, second = (resource(asked_to_wait.answer(f"/{n}", busy)) for n in (1, 2))
    run("UPDATE archiver_host SET last_checked_at = now() - interval '601 seconds'")
    assert archive(first) is not None
    assert asked_to_wait.asked("/1") == 1
    assert archive(second) is None
    assert 500 < due_in(second) <= 600
    ((seconds,),) = run("SELECT extract(epoch FROM next_at - now()) FROM archiver_host WHERE host = '127.0.0.1'")
    assert seconds > 3500, "the round still waits"


def test_an_edit_that_goes_does_not_end_the_wait_of_the_round(asked_to_wait: Origin) -> None:
    edited = resource(asked_to_wait.serve("/edited.csv", b"a,b\n"))
    run("UPDATE archiver_host SET last_checked_at = now() - interval '601 seconds'")
    assert archive(edited) is not None
    assert Archival.get_for_resource(edited).verdict == "ok"
    ((seconds,),) = run("SELECT extract(epoch FROM next_at - now()) FROM archiver_host WHERE host = '127.0.0.1'")
    assert seconds > 3500


def test_the_command_says_what_requests_wait_for(asked_to_wait: Origin, cli: Any) -> None:
    edited = resource(asked_to_wait.serve("/edited.csv", b"a,b\n"))
    assert archive(edited) is None
    (wait,) = waits.of("r.id = :id", {"id": edited})
    assert (wait.why, wait.host, wait.requests) == ("asked", "127.0.0.1", 1)
    result = cli.invoke(ckan, ["archiver", "update", edited])
    assert "the server 127.0.0.1 asked us to wait until" in result.output


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ("sent_until = NULL", "waiting for a worker"),
        ("not_before = now() + interval '5 minutes'", "due later: waits until"),
        ("held = 'disk-full', not_before = now() + interval '5 minutes'", "no space"),
        ("held = 'outage', not_before = now() + interval '5 minutes'", "outage of our own network"),
        ("lease_token = 't', leased_until = now() + interval '5 minutes'", "being checked now"),
    ],
)
def test_the_other_things_that_requests_wait_for(changes: str, sentence: str) -> None:
    waiting = resource("http://data.example/x")
    run(f"UPDATE archiver_request SET {changes}")
    (wait,) = waits.of("r.id = :id", {"id": waiting})
    assert sentence in wait.sentence()


def test_a_host_that_is_down_is_named() -> None:
    waiting = resource("http://data.example/x")
    run("INSERT INTO archiver_host (host, open_until) VALUES ('data.example', now() + interval '1 hour')")
    (wait,) = waits.of("r.id = :id", {"id": waiting})
    assert "data.example does not respond" in wait.sentence()
