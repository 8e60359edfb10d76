"""Steps of a worker's threads that fail: the error stays with the thread whose step it is.

Nothing is fetched here: the outcome of each link is made up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ckanext.archiver import archiving
from ckanext.archiver.archiving import record, transaction
from ckanext.archiver.archiving import run as one_run
from ckanext.archiver.archiving.types import ClaimedRequest, Link, Run, Step, StepResult
from ckanext.archiver.engine import store
from ckanext.archiver.engine.outcome import Cause, Outcome
from ckanext.archiver.queue import claims, leases, recovery
from ckanext.archiver.queue.types import Queue
from ckanext.archiver.worker import consumer
from steps import (
    LOCK_REQUEST,
    MARKS,
    OK,
    archived,
    claimed_runs,
    deliveries,
    in_thread,
    other_transaction,
    request,
    sql,
    wanted,
    worker_thread,
)

pytestmark = MARKS


# -- troubles of one -----------------------------------------------------------------------------------------------

BAD = [
    Outcome(Cause.OK, "ok-checked", requests=1, etag='"a\0b"'),
    Outcome(Cause.OK, "ok-checked", requests=1, mimetype="text/\ud800"),
    Outcome(Cause.GONE, "http-status", {"status": "4\0"}, requests=1),
    Outcome(Cause.OK, "ok-checked", requests=1, size=1 << 70),
]


@pytest.mark.parametrize("bad", BAD, ids=["nul", "surrogate", "nul-in-facts", "overflow"])
def test_a_result_that_cannot_be_written_fails_alone_and_is_not_retried_at_once(
    seen: dict[str, Outcome], bad: Outcome
) -> None:
    ids = wanted(5)
    seen[ids[2]] = bad
    runs = claimed_runs(*ids)
    gate = threading.Barrier(5)

    def write(run: Run) -> Any:
        gate.wait(10)
        return transaction.advance(run, None)

    threads = [in_thread(lambda run=run: write(run)) for run in runs]
    assert [type(thread.exception(20)) for thread in threads].count(type(None)) == 4
    assert threads[2].exception() is not None
    assert archived() == {*ids[:2], *ids[3:]}
    held = request(ids[2])
    assert (held.held, held.lease_token) == ("defect", None)
    assert sql("SELECT 1 FROM archiver_request WHERE not_before < now() + interval '1 minute'") == []


def test_all_files_of_a_failed_group_are_reported(
    seen: dict[str, Outcome], archive_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = wanted(3)
    for id_ in ids:
        temp = store.spool(archive_dir, leases.worker_id()) / id_
        temp.write_bytes(b"a,b\n")
        seen[id_] = Outcome(Cause.OK, "ok", requests=1, temp_path=temp, filename="x.csv", size=4, sha256="s")
    seen[ids[0]] = replace(seen[ids[0]], etag="\0")
    runs = claimed_runs(*ids)
    with pytest.raises(sa.exc.DBAPIError):
        transaction.write_and_claim_batch([Step(run, None) for run in runs])
    for run in runs[1:]:
        transaction.advance(run, None)
    rows = {path for (path,) in sql("SELECT cache_filepath FROM archival")}
    assert rows == {str(store.resource_dir(archive_dir, id_) / "x.csv") for id_ in ids[1:]}
    assert all(record.is_recorded(row._mapping) for row in sql("SELECT * FROM archival"))
    with pytest.raises(sa.exc.DBAPIError):
        transaction.advance(runs[0], None)
    assert list(Path(store.spool(archive_dir, leases.worker_id())).iterdir()) == []


def test_no_room_stays_reserved_for_a_file_that_is_not_kept(seen: dict[str, Outcome], archive_dir: Path) -> None:
    (only,) = wanted(1)
    temp = store.spool(archive_dir, leases.worker_id()) / "fetch-1"
    temp.write_bytes(b"a,b\n")
    seen[only] = replace(OK, detail="ok", temp_path=temp, filename="x.csv", size=4)
    (run,) = claimed_runs(only)
    assert store.resource_dir(archive_dir, only).is_dir()
    sql("UPDATE resource SET url = 'http://other.example/' WHERE id = :id", id=only)
    transaction.advance(run, None)
    assert archived() == set()
    assert not store.resource_dir(archive_dir, only).exists()
    assert not temp.exists()


def test_what_was_claimed_with_a_write_is_let_go_when_its_end_fails(
    seen: Mapping[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = wanted(2)

    def fail(*args: Any) -> None:
        raise OSError("the disk is away")

    monkeypatch.setattr(one_run, "remove_older_copies", fail)
    with pytest.raises(OSError, match="the disk is away"):
        worker_thread(first, second).result(20)
    assert archived() == {first}
    assert not leases.busy()
    assert recovery.release_forgotten_leases(leases.worker_id()) == 1
    assert request(second).lease_token is None


def test_tokens_are_dropped_when_the_database_goes_away_while_claiming(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = wanted(2)
    monkeypatch.setattr(claims, "_LOCKED_NOW", sa.text("SELECT 1 / 0"))
    with pytest.raises(sa.exc.DataError):
        transaction.write_and_claim_batch(deliveries([first, second, first]))
    assert not leases.busy()


def test_tokens_are_dropped_when_a_defect_cannot_be_noted(
    seen: dict[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    (only,) = wanted(1)
    seen[only] = BAD[0]
    (run,) = claimed_runs(only)

    def away(*args: Any) -> None:
        raise sa.exc.OperationalError("", {}, Exception("the database is away"))

    monkeypatch.setattr(claims, "defer", away)
    with pytest.raises(sa.exc.OperationalError):
        transaction.advance(run, None)
    assert not leases.busy()


def test_a_request_that_cannot_be_claimed_is_not_sent_again_at_once(
    seen: Mapping[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = wanted(2)
    sql("UPDATE archiver_request SET sent_until = now() + interval '10 minutes'")

    def fail(*args: Any) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(record, "load", fail)
    with pytest.raises(ValueError, match="a defect"):
        consumer.archive_resources([first, second], Queue.BULK)
    assert request(first).sent_until is not None
    assert request(second).sent_until is None, "it is none of its fault"


@pytest.mark.parametrize("is_locked", [False, True], ids=["shared", "alone"])
def test_the_rest_of_a_message_is_noted_while_its_first_resource_is_archived(
    is_locked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the dispatcher fills the place of the message, and sends the rest again where this worker dies."""
    ids = wanted(3)
    sql("UPDATE archiver_request SET sent_until = now() + interval '10 minutes'")
    left: list[list[float | None]] = []

    def look(request: ClaimedRequest, link: Link) -> Outcome:
        found = sql("SELECT extract(epoch FROM sent_until - now()) FROM archiver_request ORDER BY resource_id")
        left.append([None if seconds is None else float(seconds) for (seconds,) in found])
        return OK

    monkeypatch.setattr(one_run, "fetch", look)
    with other_transaction() as do:
        if is_locked:
            do(LOCK_REQUEST, id=ids[0])
        message = in_thread(lambda: consumer.archive_resources(ids, Queue.BULK))
        time.sleep(0.3)
    message.result(20)
    first, *others = left[0]
    assert first is None, "it is claimed"
    assert [seconds is not None and seconds <= claims.IN_HAND_SECONDS for seconds in others] == [True, True]


def test_a_database_that_is_away_loses_no_resource_of_a_message(
    seen: Mapping[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = wanted(3)
    real, failures = transaction._group, [2, 4]
    count = [0]

    def sometimes(turn: Step) -> StepResult:
        count[0] += 1
        if count[0] in failures:
            raise sa.exc.OperationalError("", {}, Exception("the database is away"))
        return real.do(turn)

    class Unsteady:
        do = staticmethod(sometimes)

    monkeypatch.setattr(transaction, "_group", Unsteady)
    consumer.archive_resources(ids, Queue.BULK)
    # A result that was not written is fetched again once its request is released.
    assert recovery.release_forgotten_leases(leases.worker_id()) == len(ids) - len(archived())
    consumer.archive_resources(ids, Queue.BULK)
    assert archived() == set(ids)


def test_a_message_ends_quietly_where_the_database_is_away_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = wanted(2)

    def away(ids: list[str]) -> None:
        raise sa.exc.OperationalError("", {}, Exception("the database is away"))

    stopping = threading.Event()
    stopping.set()
    monkeypatch.setattr(leases.current(), "stopping", stopping)
    monkeypatch.setattr(claims, "unsend", away)
    consumer.archive_resources(ids, Queue.BULK)


def test_a_deleted_resource_is_withdrawn_only_by_the_owner_of_its_lease() -> None:
    (only,) = wanted(1)
    sql("UPDATE resource SET state = 'deleted' WHERE id = :id", id=only)
    (step_result,) = transaction.write_and_claim_batch(deliveries([only]), wait=True)
    assert isinstance(step_result, StepResult)
    assert isinstance(step_result.request, ClaimedRequest)
    sql("UPDATE archiver_request SET lease_token = 'another'")
    archiving.start(step_result.request)
    assert request(only).lease_token == "another"
    assert sql("SELECT 1 FROM archiver_dataset") == []
