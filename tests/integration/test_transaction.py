"""Threads of a worker that write and claim in one transaction: shared commits, locks of others, politeness.

Nothing is fetched here: the outcome of each link is made up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from ckanext.archiver import archiving, config
from ckanext.archiver.archiving import run as one_run
from ckanext.archiver.archiving import transaction
from ckanext.archiver.archiving.types import ClaimedRequest, Link, Step, StepResult
from ckanext.archiver.engine.outcome import Cause, Outcome
from ckanext.archiver.queue import address_gate, claims, hosts, leases, recovery
from ckanext.archiver.queue.group_commit import Contended
from ckanext.archiver.queue.sql import transaction as in_transaction
from ckanext.archiver.queue.types import Queue, Reason
from ckanext.archiver.worker import consumer
from steps import (
    DOWN,
    LOCK_HOST,
    LOCK_REQUEST,
    MARKS,
    OK,
    archived,
    claimed_runs,
    deliveries,
    delivery,
    in_thread,
    other_transaction,
    request,
    sql,
    wanted,
    worker_thread,
)

pytestmark = MARKS


@pytest.fixture(autouse=True)
def no_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hosts of these tests have no address."""
    monkeypatch.setattr(address_gate, "look_up", lambda url: None)


@pytest.fixture
def one_at_a_time(ckan_config: dict[str, Any]) -> None:
    """A host takes one run at a time."""
    ckan_config["ckanext-archiver.host_concurrency"] = 1


# -- sharing -------------------------------------------------------------------------------------------------------


def test_a_write_and_the_next_claim_share_a_commit(
    seen: Mapping[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = wanted(2)
    transactions = []

    def look(request: ClaimedRequest, link: Link) -> Outcome:
        if link.resource_id == second:
            transactions.extend(
                sql(
                    "SELECT CAST(a.xmin AS text), CAST(q.xmin AS text) FROM archival a, archiver_request q "
                    "WHERE a.resource_id = :first AND q.resource_id = :second",
                    first=first,
                    second=second,
                )
            )
        return OK

    monkeypatch.setattr(one_run, "fetch", look)
    worker_thread(first, second).result(20)
    ((wrote, took),) = transactions
    assert wrote == took
    assert archived() == {first, second}


def test_a_resource_that_comes_twice_is_claimed_once(seen: Mapping[str, Outcome]) -> None:
    one, other = wanted(2)
    step_result = transaction.write_and_claim_batch(deliveries([one, other, one, one]))
    jobs = [found.request for found in step_result if not isinstance(found, Contended)]
    assert [isinstance(job, ClaimedRequest) for job in jobs].count(True) == 2
    assert [job for job in jobs if not isinstance(job, ClaimedRequest)] == [None, None]
    for job in jobs:
        if isinstance(job, ClaimedRequest):
            assert leases.in_flight(job.claim.token)
            assert request(job.claim.resource_id).lease_token == job.claim.token
            leases.discard(job.claim.token)


def test_many_threads_archive_everything_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = wanted(60)
    looked: list[str] = []

    def look(request: ClaimedRequest, link: Link) -> Outcome:
        looked.append(link.resource_id)
        return OK

    monkeypatch.setattr(one_run, "fetch", look)
    threads = [worker_thread(*ids[n:], *ids[:n]) for n in range(0, 60, 5)]
    for thread in threads:
        thread.result(60)
    assert sorted(looked) == ids
    assert archived() == set(ids)
    assert sql("SELECT 1 FROM archiver_request") == []


# -- locks of others -----------------------------------------------------------------------------------------------


def test_a_request_locked_by_an_edit_delays_nothing_else(seen: Mapping[str, Outcome]) -> None:
    locked, *free = wanted(6)
    with other_transaction() as do:
        do(LOCK_REQUEST, id=locked)
        waits = worker_thread(locked, free[0])
        others = [worker_thread(*free[1:3]), worker_thread(*free[3:])]
        for thread in others:
            thread.result(20)
        assert archived() == set(free[1:])
        assert not waits.done()
    waits.result(20)
    assert archived() == {locked, *free}


def test_a_result_whose_request_is_locked_waits_alone(seen: Mapping[str, Outcome]) -> None:
    locked, *free = wanted(3)
    runs = claimed_runs(locked, *free)
    with other_transaction() as do:
        do(LOCK_REQUEST, id=locked)
        step_result = transaction.write_and_claim_batch([Step(run, None) for run in runs])
        assert [isinstance(found, Contended) for found in step_result] == [True, False, False]
        assert archived() == set(free)
    assert transaction.write_and_claim_one(Step(runs[0], None)).is_ours
    assert archived() == {locked, *free}
    for run in runs:
        leases.discard(run.claim.token)


@pytest.mark.usefixtures("one_at_a_time")
def test_a_locked_host_delays_only_requests_to_it(seen: Mapping[str, Outcome]) -> None:
    ids = wanted(6)
    sql("INSERT INTO archiver_host (host) SELECT host FROM archiver_request ON CONFLICT DO NOTHING")
    locked = request(ids[0])
    with other_transaction() as do:
        do(LOCK_HOST, host=locked.host)
        threads = [worker_thread(id_) for id_ in ids]
        for thread in threads[1:]:
            thread.result(20)
        assert archived() == set(ids[1:])
        assert not threads[0].done()
    threads[0].result(20)
    assert archived() == set(ids)


def test_a_locked_archival_delays_only_its_own_result(seen: Mapping[str, Outcome]) -> None:
    ids = wanted(6)
    worker_thread(*ids).result(20)
    transaction.request_all(ids, Queue.BULK, Reason.ROUND)
    with other_transaction() as do:
        do("SELECT 1 FROM archival WHERE resource_id = :id FOR UPDATE", id=ids[0])
        threads = [worker_thread(id_) for id_ in ids]
        for thread in threads[1:]:
            thread.result(20)
        assert sql("SELECT resource_id FROM archiver_request") == [(ids[0],)]
    threads[0].result(20)
    assert sql("SELECT 1 FROM archiver_request") == []
    assert sql("SELECT count(*) FROM archival_check") == [(12,)], "each run is told once"


def test_a_thread_that_waits_for_a_request_holds_no_other(seen: Mapping[str, Outcome]) -> None:
    """An edit has one resource of a dataset and comes to the other: with a worker that has that one and waits for
    this one, one of the two would be broken off."""
    first, second = wanted(2)
    (run,) = claimed_runs(first)
    with other_transaction() as do:
        do(LOCK_REQUEST, id=second)
        turning = in_thread(lambda: transaction.advance(run, delivery(second)))
        alone = in_thread(lambda: transaction.write_and_claim_one(Step(None, delivery(second))))
        time.sleep(0.5)
        do(LOCK_REQUEST, id=first)
    jobs = [turning.result(20)[1], alone.result(20).request]
    assert [job is None for job in jobs].count(True) == 1
    for job in jobs:
        if job is not None:
            leases.discard(job.claim.token)


def test_a_write_that_fails_together_does_not_wait_for_the_next_claim(seen: Mapping[str, Outcome]) -> None:
    first, second = wanted(2)
    (run,) = claimed_runs(first)
    with other_transaction() as do:
        do(LOCK_REQUEST, id=second)
        step_result = in_thread(lambda: transaction.write_and_claim_one(Step(run, delivery(second)))).result(10)
        assert isinstance(step_result.request, Contended)
        assert archived() == {first}
    leases.discard(run.claim.token)


def test_a_worker_that_waits_for_an_edit_can_be_stopped(
    seen: Mapping[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the 15 seconds that are left when it is told to."""
    monkeypatch.setattr(leases.current(), "stopping", threading.Event())
    locked, free = wanted(2)
    with other_transaction() as do:
        do(LOCK_REQUEST, id=locked)
        waits = in_thread(lambda: consumer.archive_resources([locked, free], Queue.BULK))
        time.sleep(6)
        assert not waits.done(), "an edit may be long"
        archiving.stop()
        waits.result(8)
    assert archived() == set()


def committed(work: Callable[[list[str]], Any], ids: list[str]) -> None:
    with in_transaction():
        work(ids)


@pytest.mark.parametrize(
    ("work", "of_the_dead"),
    [
        (claims.take_in_hand, False),
        (claims.unsend, False),
        (lambda ids: recovery.deregister("dead"), True),
        (lambda ids: recovery.release_forgotten_leases("dead"), True),
    ],
    ids=["take_in_hand", "unsend", "deregister", "release_forgotten_leases"],
)
def test_housekeeping_does_not_wait_for_an_edit(work: Callable[[list[str]], Any], of_the_dead: bool) -> None:
    ids = wanted(3)
    sql("UPDATE archiver_request SET sent_until = now() + interval '10 minutes'")
    if of_the_dead:
        sql(
            "UPDATE archiver_request SET lease_token = resource_id, leased_by = 'dead', "
            "leased_until = now() + interval '1 hour'"
        )
    before = {id_: request(id_) for id_ in ids}
    with other_transaction() as do:
        do(LOCK_REQUEST, id=ids[1])
        in_thread(lambda: committed(work, ids)).result(10)
    assert [request(id_) != before[id_] for id_ in ids] == [True, False, True]


def test_suspects_are_locked_before_hosts(seen: Mapping[str, Outcome]) -> None:
    """Else a worker that has a host waits for one that looks for suspects and comes to that host."""
    first, second = wanted(2)
    sql("UPDATE archiver_request SET deaths = 2 WHERE resource_id = :id", id=second)
    (run,) = claimed_runs(first)
    sql("INSERT INTO archiver_host (host) SELECT host FROM archiver_request ON CONFLICT DO NOTHING")
    with other_transaction() as do:
        do("SELECT pg_advisory_xact_lock(:lock)", lock=claims.SUSPECTS_LOCK)
        turning = in_thread(lambda: transaction.write_and_claim_batch([Step(run, delivery(second))], wait=True))
        time.sleep(0.5)
        do(LOCK_HOST, host=run.claim.host)
    (step_result,) = turning.result(20)
    leases.discard(run.claim.token)
    leases.discard(step_result.request.claim.token)


# -- politeness ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_at_a_time")
def test_a_run_that_ends_makes_room_once(seen: Mapping[str, Outcome]) -> None:
    """Its link was edited during the run, so its request counts for another host already."""
    first, second, third = wanted(3, host="one.example")
    (run,) = claimed_runs(first)
    sql("UPDATE archiver_request SET host = 'two.example', again = true WHERE resource_id = :id", id=first)
    (there,) = claimed_runs(second)
    (step_result,) = transaction.write_and_claim_batch([Step(run, delivery(third))])
    assert isinstance(step_result, StepResult)
    assert step_result.request is None, "the second run is there"
    for token in (run.claim.token, there.claim.token):
        leases.discard(token)


@pytest.mark.usefixtures("one_at_a_time")
def test_of_several_suspects_of_a_host_one_goes() -> None:
    ids = wanted(3, host="one.example")
    sql("UPDATE archiver_request SET deaths = :deaths", deaths=config.poison_deaths() - 1)
    results = transaction.write_and_claim_batch(deliveries(ids))
    admitted = [found.request for found in results if isinstance(found, StepResult) and found.request]
    assert len(admitted) == 1
    for one in admitted:
        assert isinstance(one, ClaimedRequest)
        leases.discard(one.claim.token)
    assert sql("SELECT count(*) FROM archiver_request WHERE lease_token IS NOT NULL") == [(1,)]


@pytest.mark.parametrize("is_poisoned", [False, True], ids=["withdraw", "set_aside"])
def test_the_end_of_a_request_waits_for_an_edit(is_poisoned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (only,) = wanted(1)
    (step_result,) = transaction.write_and_claim_batch(deliveries([only]))
    assert isinstance(step_result, StepResult)
    claimed = step_result.request
    assert isinstance(claimed, ClaimedRequest)
    deaths = config.poison_deaths() if is_poisoned else 0
    claimed = replace(claimed, claim=replace(claimed.claim, deaths=deaths), link=claimed.link if is_poisoned else None)
    monkeypatch.setattr(claims, "_OURS_WAITING", sa.text(claims._STILL_OURS % (0.1, "")))
    tries: list[Any] = []
    real = claims.still_ours
    monkeypatch.setattr(claims, "still_ours", lambda *args, **how: (tries.append(args), real(*args, **how))[1])
    with other_transaction() as do:
        do(LOCK_REQUEST, id=only)
        ends = in_thread(lambda: archiving.start(claimed))
        deadline = time.monotonic() + 10
        while len(tries) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not ends.done()
    ends.result(10)
    assert sql("SELECT 1 FROM archiver_request") == []


@pytest.mark.parametrize("edited", [False, True])
def test_a_host_that_was_not_checked_is_not_changed_by_an_edit(seen: dict[str, Outcome], edited: bool) -> None:
    (only,) = wanted(1)
    sql(
        "INSERT INTO archiver_host (host, open_until, network_failures, failing_since, last_failed, last_checked_at) "
        "SELECT host, now() + interval '10 minutes', 5, now() - interval '3 days', true, "
        "now() - interval '30 minutes' FROM archiver_request ON CONFLICT (host) DO UPDATE SET "
        "open_until = EXCLUDED.open_until, network_failures = 5, failing_since = EXCLUDED.failing_since, "
        "last_failed = true, last_checked_at = EXCLUDED.last_checked_at"
    )
    seen[only] = Outcome(Cause.UNREACHABLE, "host-down", {"host": "h0.example", "since": "2026-01-01"})
    (run,) = claimed_runs(only)
    assert run.request.admission.down_since is not None
    before = sql("SELECT network_failures, last_checked_at FROM archiver_host WHERE host <> ''")
    if edited:
        sql("UPDATE resource SET url = 'http://elsewhere.example/' WHERE id = :id", id=only)
    transaction.advance(run, None)
    assert sql("SELECT network_failures, last_checked_at FROM archiver_host WHERE host <> ''") == before


def test_a_try_of_a_host_that_was_down_counts_although_its_link_was_edited(seen: dict[str, Outcome]) -> None:
    (only,) = wanted(1)
    name = request(only).host
    sql("INSERT INTO archiver_host (host) VALUES (:host) ON CONFLICT DO NOTHING", host=name)
    sql(
        "UPDATE archiver_host SET open_until = now(), network_failures = 5, opened = 1 WHERE host = :host",
        host=name,
    )
    seen[only] = DOWN
    (run,) = claimed_runs(only)
    assert run.request.admission.probes
    sql("UPDATE resource SET url = 'http://elsewhere.example/' WHERE id = :id", id=only)
    transaction.advance(run, None)
    (row,) = sql("SELECT extract(epoch FROM open_until - now()) AS pause FROM archiver_host WHERE host = :h", h=name)
    assert row.pause == pytest.approx(2 * hosts.BREAKER_PAUSE, abs=10)
