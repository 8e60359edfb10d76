"""The dispatcher: a window, host by host, on the real database and broker."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
import sqlalchemy as sa
from ckan import model

from ckanext.archiver.engine.outcome import Cause, Outcome
from ckanext.archiver.queue import address_gate, broker, claims, dispatch, due_bulk, hosts
from ckanext.archiver.queue.group_commit import Contended
from rows import put, run

pytestmark = pytest.mark.usefixtures("clean_site")

OK = Outcome(Cause.OK, "ok", requests=1, seconds=0.1)
UNREACHABLE = Outcome(Cause.UNREACHABLE, "connect-refused", requests=1, seconds=0.1)


@pytest.fixture(autouse=True)
def hosts_are_read_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes here by changing the table."""
    monkeypatch.setattr(due_bulk, "FULL_LOOK_SECONDS", -1)
    monkeypatch.setattr(due_bulk, "IDLE_LOOK_SECONDS", -1)


def sent() -> dict[str, int]:
    """Requests by host that the table says are in the broker."""
    rows = run("SELECT host, count(*) FROM archiver_request WHERE sent_until > now() GROUP BY host")
    return dict(map(tuple, rows))


def in_broker(queue: str = "bulk") -> int:
    connection = broker.connect()
    try:
        return broker.queue_length(connection, queue)
    finally:
        connection.release()


def take_messages(queue: str = "bulk") -> list[str]:
    """Read and drop what is in a queue, as a worker would."""
    taken = []
    connection = broker.connect()
    try:
        source = connection.SimpleQueue(queue)
        for _ in range(len(source)):
            message = source.get(block=False)
            # Where many are due, some share a message.
            first = message.payload[0][0]
            taken += first if isinstance(first, list) else [first]
            message.ack()
        source.close()
    finally:
        connection.release()
    return taken


def claim_one(resource_id: str, queue: str) -> claims.Claim | None:
    (found,) = claims.claim([claims.Message(resource_id, queue)], "test")
    assert not isinstance(found, Contended)
    return found


def archive(resource_ids: Iterable[str], outcome: Outcome = OK, queue: str = "bulk") -> None:
    """Do what a worker does with messages, but for looking at the link."""
    for resource_id in resource_ids:
        claim = claim_one(resource_id, queue)
        if claim is None:
            model.Session.rollback()
            continue
        (gate,) = hosts.enter([hosts.Candidate(claim.host)], [claim.token])
        if gate.wait:
            claims.defer([claims.Deferral(claim, gate.wait)])
        else:
            hosts.leave([hosts.HostObservation(claim.host, outcome)])
            claims.finish([claim])
        model.Session.commit()


def host(name: str) -> Any:
    return (
        model.Session.connection()
        .execute(
            sa.text("SELECT *, bulk_at - now() AS next_look FROM archiver_host WHERE host = :h"),
            {"h": name},
        )
        .mappings()
        .one()
    )


def at_pace() -> None:
    """Let an interval pass, without waiting for it."""
    run(
        "UPDATE archiver_host SET next_at = next_at - interval '1 second', "
        "bulk_at = CASE WHEN bulk_at > now() + interval '3 seconds' THEN bulk_at ELSE bulk_at - interval '1 second' END"
    )


@pytest.mark.ckan_config("ckanext-archiver.dispatch_window", 10)
def test_the_broker_never_holds_more_than_the_window() -> None:
    for number in range(30):
        put(f"h{number}.example", 3)

    for _ in range(5):
        dispatch.tick()
    assert in_broker() == 10 == sum(sent().values())

    archive(take_messages()[:4])
    for _ in range(3):
        dispatch.tick()
    assert sum(sent().values()) == 10
    assert in_broker() == 4, "one for each that was done"


def test_hosts_advance_in_parallel_and_a_slow_one_delays_no_other() -> None:
    put("big.example", 500)
    put("slow.example", 500)
    for number in range(50):
        put(f"h{number}.example", 2)

    dispatch.tick()
    assert sent() == dict.fromkeys(["big.example", "slow.example", *(f"h{n}.example" for n in range(50))], 1)

    slow = take_messages()
    for resource_id in list(slow):
        if resource_id.startswith("slow.example"):
            slow.remove(resource_id)
            assert claim_one(resource_id, "bulk")  # and it takes its time
            model.Session.commit()
    archive(slow)
    at_pace()
    dispatch.tick()

    now = sent()
    assert "slow.example" not in now, "one at a time"
    assert len(now) == 51


def test_the_longest_waiting_host_goes_first(ckan_config: Any) -> None:
    ckan_config["ckanext-archiver.dispatch_window"] = 3
    for number in range(9):
        put(f"h{number}.example", 5)
    gone: list[str] = []
    for _ in range(6):
        dispatch.tick()
        messages = take_messages()
        gone += [name.partition("-")[0] for name in messages]
        archive(messages)
        at_pace()
    assert len(gone) == 18
    assert set(gone[:9]) == set(gone[9:]) == {f"h{n}.example" for n in range(9)}, gone


@pytest.mark.ckan_config("ckanext-archiver.host_concurrency", 3)
def test_as_many_at_a_time_as_the_host_may_have() -> None:
    put("h.example", 10)
    dispatch.tick()
    assert sent() == {"h.example": 3}
    dispatch.tick()
    assert sent() == {"h.example": 3}


@pytest.mark.ckan_config("ckanext-archiver.host_concurrency", 0)
@pytest.mark.ckan_config("ckanext-archiver.host_interval", 0)
@pytest.mark.ckan_config("ckanext-archiver.dispatch_window", 100)
def test_without_politeness_the_window_is_shared() -> None:
    put("a.example", 1000)
    put("b.example", 1000)
    put("c.example", 10)
    for _ in range(3):
        dispatch.tick()
    shares = sent()
    assert sum(shares.values()) == 100
    assert shares["c.example"] == 10
    assert min(shares["a.example"], shares["b.example"]) >= 30


@pytest.mark.ckan_config("ckanext-archiver.host_interval", "0")
@pytest.mark.ckan_config("ckanext-archiver.host_concurrency", "1")
@pytest.mark.ckan_config("ckanext-archiver.address_concurrency", "4")
def test_many_names_of_one_server_get_no_message_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        put(f"h{number}.example", 2)
    run("UPDATE archiver_host SET address = '192.0.2.1', address_at = now()")
    put("elsewhere.example")

    def look_at_all() -> None:
        run("UPDATE archiver_host SET bulk_at = now() WHERE bulk_at > now()")
        # As often as it takes to come to the last host.
        for _ in range(4):
            monkeypatch.setattr(address_gate, "_leased", (float("-inf"), Counter()))
            dispatch.tick()

    look_at_all()
    assert len(sent()) == 5, "four of the many, and the other server"

    messages = take_messages()
    archive(one for one in messages if one.startswith("elsewhere"))
    taken = [claim_one(one, "bulk") for one in messages if not one.startswith("elsewhere")]
    model.Session.commit()
    look_at_all()
    assert sent() == {}, "four are in flight"

    first = next(claim for claim in taken if claim is not None)
    claims.finish([first])
    model.Session.commit()
    look_at_all()
    assert sum(sent().values()) == 1


def test_uploads_and_links_without_a_host_do_not_wait() -> None:
    put("", 120)
    dispatch.tick()
    dispatch.tick()
    dispatch.tick()
    assert sent() == {"": 120}


def test_the_interval_and_retry_after_are_waited_for() -> None:
    put("h.example", 3)
    dispatch.tick()
    archive(take_messages(), Outcome(Cause.BLOCKED, "http-status", requests=1, retry_after=600))
    at_pace()
    dispatch.tick()
    assert sent() == {}
    assert host("h.example")["next_look"].total_seconds() > 500, "nor is it looked at every moment"


def test_a_request_for_later_wakes_its_host_then() -> None:
    (resource_id,) = put("h.example", not_before="now() + interval '1 hour'")
    dispatch.tick()
    assert sent() == {}
    assert 3500 < host("h.example")["next_look"].total_seconds() <= 3600
    run("UPDATE archiver_request SET not_before = now()")
    run("UPDATE archiver_host SET bulk_at = now()")
    dispatch.tick()
    assert take_messages() == [resource_id]


def test_a_host_without_requests_is_not_looked_at_until_there_is_one() -> None:
    put("h.example")
    dispatch.tick()
    archive(take_messages())
    at_pace()
    at_pace()
    dispatch.tick()
    assert host("h.example")["bulk_at"] is None


def test_forgotten_hosts_are_found() -> None:
    put("h.example", 2)
    put("i.example", 2)
    run("DELETE FROM archiver_host WHERE host = 'h.example'")
    run("UPDATE archiver_host SET bulk_at = NULL")
    dispatch.tick()
    assert sent() == {}
    assert dispatch.wake_forgotten_hosts() == 2
    dispatch.tick()
    assert sent() == {"h.example": 1, "i.example": 1}
    assert dispatch.wake_forgotten_hosts() == 0


def test_requests_put_while_the_dispatcher_clears_their_host_are_not_forgotten() -> None:
    """The dispatcher finds nothing for a host at the moment when a request is put: it is found in either order."""
    put("h.example", 0)
    assert dispatch._begin("bulk")
    connection = model.Session.connection()
    params: dict[str, Any] = {"hosts": 10, "unpaced": False, "oldest": None, "address_busy": 1}
    found = connection.execute(sa.text(due_bulk._HOSTS), params).all()
    assert [row.host for row in found] == ["h.example"]

    engine = model.meta.engine
    putting = threading.Event()

    def another_session_puts() -> None:
        with engine.begin() as other:
            other.execute(
                sa.text(
                    "INSERT INTO archiver_request (resource_id, package_id, queue, host, reason) "
                    "VALUES ('r', 'p', 'bulk', 'h.example', 'command')"
                )
            )
            putting.set()
            other.execute(
                sa.text(
                    "INSERT INTO archiver_host AS h (host, bulk_at) VALUES ('h.example', now()) "
                    "ON CONFLICT (host) DO UPDATE SET bulk_at = EXCLUDED.bulk_at "
                    "WHERE h.bulk_at IS NULL OR h.bulk_at > now()"
                )
            )

    thread = threading.Thread(target=another_session_puts)
    thread.start()
    assert putting.wait(10)
    params = {
        "hosts": ["h.example"],
        "budgets": [1],
        "next_looks": [found[0].next_look],
        "more": [],
        "free": [False],
        "busy": 5,
    }
    connection.execute(sa.text(due_bulk._SET_NEXT_LOOK), params)
    model.Session.commit()
    thread.join(10)

    assert host("h.example")["bulk_at"] is not None
    model.Session.rollback()
    dispatch.tick()
    assert sent() == {"h.example": 1}


def test_a_host_that_an_older_transaction_wakes_is_found_at_the_next_full_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due_bulk, "_full_look", (float("-inf"), None))
    monkeypatch.setattr(due_bulk, "FULL_LOOK_SECONDS", 10)
    monkeypatch.setattr(due_bulk, "IDLE_LOOK_SECONDS", 10)
    put("h.example")
    dispatch.tick()
    put("older.example")
    run("UPDATE archiver_host SET bulk_at = now() - interval '1 hour' WHERE host = 'older.example'")
    put("newer.example")
    dispatch.tick()
    assert set(sent()) == {"h.example", "newer.example"}

    looked_at, first = due_bulk._full_look
    monkeypatch.setattr(due_bulk, "_full_look", (looked_at - 11, first))
    dispatch.tick()
    assert set(sent()) == {"h.example", "newer.example", "older.example"}


def test_two_dispatchers_send_everything_once() -> None:
    for number in range(200):
        put(f"h{number}.example")
    barrier = threading.Barrier(4)

    def dispatcher() -> None:
        barrier.wait(10)
        for _ in range(5):
            dispatch.tick()
        model.Session.remove()

    threads = [threading.Thread(target=dispatcher) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    messages = take_messages()
    assert len(messages) == len(set(messages)) == 200


def test_a_dispatcher_that_is_stopped_loses_its_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "LOCKED_SECONDS", 1)
    put("h.example")
    stopped = model.meta.engine.connect()
    stopped.begin()
    stopped.execute(sa.text("SELECT pg_advisory_xact_lock(:l)"), {"l": dispatch.LOCKS["bulk"]})
    stopped.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = '1s'"))
    assert dispatch.tick() == 0, "another one is at it"
    # The same question, with patience; it is answered when the server ends the silent one.
    run("SELECT pg_advisory_xact_lock(:l)", l=dispatch.LOCKS["bulk"])
    assert dispatch.tick() == 1
    stopped.invalidate()
    stopped.close()


def test_a_tick_is_begun_with_that_limit() -> None:
    assert dispatch._begin("bulk")
    limit = model.Session.connection().execute(sa.text("SHOW idle_in_transaction_session_timeout")).scalar()
    model.Session.rollback()
    assert limit == f"{dispatch.LOCKED_SECONDS}s"
    after = model.Session.connection().execute(sa.text("SHOW idle_in_transaction_session_timeout")).scalar()
    assert after == "0", "and only the tick"


# -- edits ---------------------------------------------------------------------------------------------------------


def test_an_edit_whose_message_was_lost_is_sent_after_a_moment() -> None:
    (resource_id,) = put("h.example", queue="priority")
    assert dispatch.tick() == 0, "its web process sends it"
    run(
        "UPDATE archiver_request SET requested_at = now() - interval '3 seconds', "
        "not_before = now() - interval '3 seconds'"
    )
    assert dispatch.tick() == 1
    assert take_messages("priority") == [resource_id]


def test_an_edit_that_found_its_host_busy_is_sent_when_the_host_is_free() -> None:
    run("INSERT INTO archiver_host (host, next_at) VALUES ('h.example', now() + interval '1 minute')")
    (resource_id,) = put("h.example", queue="priority")
    archive([resource_id], queue="priority")
    assert dispatch.tick() == 0
    run("UPDATE archiver_host SET next_at = now()")
    run("UPDATE archiver_request SET not_before = now()")
    assert dispatch.tick() == 1, "at once, not after the pause that a web process has to send it"


def test_an_edit_goes_before_the_round_on_the_same_host() -> None:
    put("h.example", 10)
    put("i.example", 10)
    put("h.example", queue="priority", requested_at="now() - interval '5 seconds'")
    dispatch.tick()
    queues = dict(run("SELECT host, queue FROM archiver_request WHERE sent_until > now()"))
    assert queues == {"h.example": "priority", "i.example": "bulk"}


def test_many_edits_on_one_host_are_not_sent_in_vain() -> None:
    put("h.example", 500, queue="priority", requested_at="now() - interval '5 seconds'")
    dispatch.tick()
    dispatch.tick()
    assert sent() == {"h.example": 1}


def test_waiting_messages_of_the_round_do_not_delay_an_edit() -> None:
    put("h.example", 10)
    dispatch.tick()
    assert sent() == {"h.example": 1}
    put("h.example", queue="priority", requested_at="now() - interval '5 seconds'")
    assert dispatch.tick() == 1
    assert in_broker("priority") == 1


# -- the breaker ---------------------------------------------------------------------------------------------------


def test_the_links_of_a_host_that_is_down_are_judged_without_its_interval() -> None:
    put("down.example", 60)
    run(
        "UPDATE archiver_host SET open_until = now() + interval '10 minutes', network_failures = 5, "
        "failing_since = now(), last_failed = true, last_checked_at = now()"
    )
    dispatch.tick()
    dispatch.tick()
    assert sent() == {"down.example": 60}


def test_when_the_evidence_is_old_they_wait_for_the_next_try() -> None:
    put("down.example", 60)
    run(
        "UPDATE archiver_host SET open_until = now() + interval '10 hours', network_failures = 5, "
        "failing_since = now(), last_failed = true, last_checked_at = now() - interval '2 hours'"
    )
    dispatch.tick()
    assert sent() == {}
    assert host("down.example")["next_look"].total_seconds() > 35000
    run("UPDATE archiver_host SET open_until = now(), bulk_at = now()")
    dispatch.tick()
    assert sent() == {"down.example": 1}, "one tries"


def test_statistics_of_a_small_table_do_not_make_it_send_more() -> None:
    """With them PostgreSQL would run the selection again for each row that it compares."""
    put("before.example")
    model.Session.remove()
    with model.meta.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE archiver_request"))
    run("DELETE FROM archiver_request")
    put("h.example", 10)
    dispatch.tick()
    assert sent() == {"h.example": 1}


@pytest.mark.ckan_config("ckanext-archiver.dispatch_window", 250)
def test_without_a_worker_the_queue_is_filled_to_be_seen() -> None:
    for number in range(30):
        put(f"h{number}.example", 10)
    dispatch.tick(fill=True)
    assert in_broker() == 250 == sum(sent().values()), "a message for each, up to the window"
