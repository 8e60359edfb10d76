"""Requests: coalescing, promotion, leases, giving back."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from ckan import model
from ckan.tests import factories

from ckanext.archiver.queue import claims, enqueue
from rows import run

pytestmark = pytest.mark.usefixtures("clean_site")


def row() -> Any:
    (found,) = run("SELECT * FROM archiver_request")
    return found._mapping


@pytest.fixture
def resource_id() -> str:
    id_ = factories.Resource(url="http://h.example/data.csv")["id"]
    run("DELETE FROM archiver_request")
    return str(id_)


def claim(resource_id: str, queue: str = "") -> claims.Claim | None:
    (found,) = claims.claim([claims.Message(resource_id, queue)], "w")
    model.Session.commit()
    return found


def test_a_second_request_changes_nothing_but_the_urgency(resource_id: str) -> None:
    enqueue.put_resource(resource_id, "bulk", "round")
    model.Session.commit()
    before = row()
    enqueue.put_resource(resource_id, "bulk", "command")
    model.Session.commit()
    assert row() == before
    enqueue.put_resource(resource_id, "priority", "changed")
    model.Session.commit()
    assert (row()["queue"], row()["reason"]) == ("priority", "changed")
    enqueue.put_resource(resource_id, "bulk", "round")
    model.Session.commit()
    assert row()["queue"] == "priority", "never less urgent"


def test_the_message_of_its_former_queue_does_nothing(resource_id: str) -> None:
    enqueue.put_resource(resource_id, "bulk", "round")
    model.Session.commit()
    enqueue.put_resource(resource_id, "priority", "changed")
    model.Session.commit()
    assert claim(resource_id, "bulk") is None
    assert claim(resource_id, "priority") is not None


def test_the_same_message_five_times_takes_one(resource_id: str) -> None:
    enqueue.put_resource(resource_id, "priority", "changed")
    model.Session.commit()
    taken: list[Any] = []
    barrier = threading.Barrier(5)

    def message() -> None:
        barrier.wait(10)
        taken.append(claim(resource_id, "priority"))
        model.Session.remove()

    threads = [threading.Thread(target=message) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(one is not None for one in taken) == 1
    assert len(taken) == 5


def test_what_is_requested_while_it_runs_runs_once_more(resource_id: str) -> None:
    enqueue.put_resource(resource_id, "bulk", "round")
    model.Session.commit()
    first = claim(resource_id)
    assert first is not None
    for _ in range(3):
        enqueue.put_resource(resource_id, "priority", "changed")
        model.Session.commit()
    assert claim(resource_id) is None, "not while the first has it"
    assert claims.finish([first])
    model.Session.commit()
    second = claim(resource_id, "priority")
    assert second is not None
    assert claims.finish([second])
    model.Session.commit()
    assert run("SELECT * FROM archiver_request") == []


def test_a_lost_lease_finishes_nothing(resource_id: str) -> None:
    enqueue.put_resource(resource_id, "bulk", "round")
    model.Session.commit()
    first = claim(resource_id)
    assert first is not None
    run("UPDATE archiver_request SET leased_until = now() - interval '1 second'")
    second = claim(resource_id)
    assert second is not None
    assert not claims.finish([first])
    assert not claims.defer([claims.Deferral(first, 0)])
    model.Session.commit()
    assert claims.finish([second])
    model.Session.commit()


def test_a_released_request_waits_unless_it_was_requested_again(resource_id: str) -> None:
    enqueue.put_resource(resource_id, "bulk", "round")
    model.Session.commit()
    first = claim(resource_id)
    assert first is not None
    claims.defer([claims.Deferral(first, 3600, attempts=1)])
    model.Session.commit()
    assert claim(resource_id) is None
    enqueue.put_resource(resource_id, "priority", "changed")
    model.Session.commit()
    again = claim(resource_id)
    assert again is not None, "an edit does not wait for a retry's time"
    assert again.attempts == 0
    enqueue.put_resource(resource_id, "priority", "changed")
    model.Session.commit()
    claims.defer([claims.Deferral(again, 3600, attempts=1)])
    model.Session.commit()
    assert claim(resource_id) is not None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Example.ORG/x", "example.org"),
        ("  https://user:pw@example.org.:8443?q", "example.org"),
        ("http://[::1]:80/", "[::1]"),
        ("http:\\\\example.org\\x", "example.org"),
        ("http:/example.org/x", "example.org"),
        ("ftp://example.org#f", "example.org"),
        ("example.org/x", "example.org"),
        ("see our website", ""),
    ],
)
def test_hosts_of_urls(resource_id: str, url: str, host: str) -> None:
    run("UPDATE resource SET url = :url", url=url)
    enqueue.put_resource(resource_id, "bulk", "command")
    model.Session.commit()
    assert row()["host"] == host


def test_an_upload_has_no_host(resource_id: str) -> None:
    run("UPDATE resource SET url_type = 'upload', url = 'http://h.example/dataset/x'")
    enqueue.put_resource(resource_id, "bulk", "command")
    model.Session.commit()
    assert row()["host"] == ""


def test_putting_for_the_round_tells_the_dispatcher_of_the_host(resource_id: str) -> None:
    run("INSERT INTO archiver_host (host, bulk_at) VALUES ('h.example', now() + interval '1 hour')")
    enqueue.put_selection("true", {}, "bulk", "round")
    model.Session.commit()
    assert run("SELECT 1 FROM archiver_host WHERE host = 'h.example' AND bulk_at <= now()")


def test_an_edit_writes_no_hosts(resource_id: str) -> None:
    """A long transaction of a harvester would keep workers from the host."""
    enqueue.put_changed(model.Session, resource_id, is_new=True, url_changed=True)
    assert model.Session.connection().execute(sa.text("SELECT count(*) FROM archiver_host")).scalar() == 0
    model.Session.rollback()
