"""Threads of a worker that write and claim in one transaction: what is one's own trouble stays one's own.

Nothing is fetched here: what a look at a link gives is made up.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ckan import model
from ckan.tests import factories

from ckanext.archiver import archiving, config
from ckanext.archiver.archiving import record
from ckanext.archiver.archiving import run as archiving_run
from ckanext.archiver.engine import store
from ckanext.archiver.engine.outcome import Cause, Outcome
from ckanext.archiver.queue import claims, enqueue, hosts, leases, recovery
from ckanext.archiver.queue.types import Queue
from ckanext.archiver.worker import consumer

pytestmark = [
    pytest.mark.usefixtures("clean_site"),
    pytest.mark.ckan_config("ckanext-archiver.host_interval", 0),
    pytest.mark.ckan_config("ckanext-archiver.host_concurrency", 0),
    pytest.mark.ckan_config("ckanext-archiver.archive_on_change", "false"),
]

OK = Outcome(Cause.OK, "ok-checked", requests=1)
DOWN = Outcome(Cause.UNREACHABLE, "connect-refused", requests=1)


def run(sql: str, **values: Any) -> list[Any]:
    result = model.Session.connection().execute(sa.text(sql), values)
    rows = list(result.all()) if result.returns_rows else []
    model.Session.commit()
    return rows


def wanted(count: int, host: str = "h{}.example") -> list[str]:
    """Resources of a dataset, and requests of the round for them; their ids in their order."""
    dataset = factories.Dataset(resources=[{"url": f"http://{host.format(n)}/{n}.csv"} for n in range(count)])
    ids = sorted(resource["id"] for resource in dataset["resources"])
    run("DELETE FROM archiver_request")
    for resource_id in ids:
        enqueue.put_resource(resource_id, Queue.BULK, "round")
    return ids


def archived() -> set[str]:
    return {id_ for (id_,) in run("SELECT resource_id FROM archival")}


def request(resource_id: str) -> Any:
    (row,) = run("SELECT * FROM archiver_request WHERE resource_id = :id", id=resource_id)
    return row


@contextlib.contextmanager
def somebody() -> Iterator[Callable[..., Any]]:
    """Another transaction: a function that does SQL in it. Rolled back at the end."""
    with model.meta.engine.connect() as connection:
        transaction = connection.begin()
        connection.execute(sa.text("SET LOCAL lock_timeout = '3s'"))
        yield lambda sql, **values: connection.execute(sa.text(sql), values)
        transaction.rollback()


LOCK_REQUEST = "SELECT 1 FROM archiver_request WHERE resource_id = :id FOR UPDATE"
LOCK_HOST = "SELECT 1 FROM archiver_host WHERE host = :host FOR UPDATE"


def in_thread(work: Callable[[], Any]) -> Future[Any]:
    """Do it in a thread with a session of its own."""

    def with_session() -> Any:
        try:
            return work()
        finally:
            model.Session.remove()

    pool = ThreadPoolExecutor(1)
    future = pool.submit(with_session)
    pool.shutdown(wait=False)
    return future


def worker_thread(*resource_ids: str) -> Future[Any]:
    """A worker's thread with a message for these."""
    return in_thread(lambda: archiving.archive_resources(deque(resource_ids), Queue.BULK, worker_id=leases.worker_id()))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Outcome]:
    """What a look at each link gives, where it is not OK."""
    outcomes: dict[str, Outcome] = {}
    monkeypatch.setattr(archiving_run, "_look", lambda job, link: outcomes.get(link.resource_id, OK))
    return outcomes


def asks(ids: list[str]) -> list[archiving_run.Turn]:
    return [archiving_run.Turn(None, archiving_run.Ask(id_, Queue.BULK, leases.worker_id(), False)) for id_ in ids]


def claimed(*ids: str) -> list[archiving_run.Visit]:
    """Visits of these that are to be written, as a thread has them in hand."""
    visits = []
    for turned in archiving_run._turn_all(asks(list(ids)), wait=True):
        assert not isinstance(turned, archiving_run.Contended)
        assert isinstance(turned.job, archiving_run.Job)
        visit = archiving_run._look_at(turned.job)
        assert visit is not None
        visits.append(visit)
    return visits


def ask(resource_id: str) -> archiving_run.Ask:
    return archiving_run.Ask(resource_id, Queue.BULK, leases.worker_id(), False)


@pytest.fixture
def one_at_a_time(ckan_config: dict[str, Any]) -> None:
    """A host takes one visit at a time."""
    ckan_config["ckanext-archiver.host_concurrency"] = 1


@pytest.fixture(autouse=True)
def nothing_in_hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(leases, "_in_flight", set())  # other tests claim and leave it at that
    yield
    assert not leases.busy(), "a token was never dropped"


# -- sharing -------------------------------------------------------------------------------------------------------


def test_a_write_and_the_next_claim_share_a_commit(
    seen: Mapping[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = wanted(2)
    transactions = []

    def look(job: archiving_run.Job, link: record.Link) -> Outcome:
        if link.resource_id == second:
            transactions.extend(
                run(
                    "SELECT CAST(a.xmin AS text), CAST(q.xmin AS text) FROM archival a, archiver_request q "
                    "WHERE a.resource_id = :first AND q.resource_id = :second",
                    first=first,
                    second=second,
                )
            )
        return OK

    monkeypatch.setattr(archiving_run, "_look", look)
    worker_thread(first, second).result(20)
    ((wrote, took),) = transactions
    assert wrote == took
    assert archived() == {first, second}


def test_a_resource_that_comes_twice_is_claimed_once(seen: Mapping[str, Outcome]) -> None:
    one, other = wanted(2)
    turned = archiving_run._turn_all(asks([one, other, one, one]))
    jobs = [found.job for found in turned if not isinstance(found, archiving_run.Contended)]
    assert [isinstance(job, archiving_run.Job) for job in jobs].count(True) == 2
    assert [job for job in jobs if not isinstance(job, archiving_run.Job)] == [None, None]
    for job in jobs:
        if isinstance(job, archiving_run.Job):
            assert leases.in_flight(job.claim.token)
            assert request(job.claim.resource_id).lease_token == job.claim.token
            leases.discard(job.claim.token)


def test_many_threads_archive_everything_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = wanted(60)
    looked: list[str] = []

    def look(job: archiving_run.Job, link: record.Link) -> Outcome:
        looked.append(link.resource_id)
        return OK

    monkeypatch.setattr(archiving_run, "_look", look)
    threads = [worker_thread(*ids[n:], *ids[:n]) for n in range(0, 60, 5)]
    for thread in threads:
        thread.result(60)
    assert sorted(looked) == ids
    assert archived() == set(ids)
    assert run("SELECT 1 FROM archiver_request") == []


# -- locks of others -----------------------------------------------------------------------------------------------


def test_a_request_that_an_edit_has_locked_holds_up_nothing_else(seen: Mapping[str, Outcome]) -> None:
    locked, *free = wanted(6)
    with somebody() as do:
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
    visits = claimed(locked, *free)
    with somebody() as do:
        do(LOCK_REQUEST, id=locked)
        turned = archiving_run._turn_all([archiving_run.Turn(visit, None) for visit in visits])
        assert [isinstance(found, archiving_run.Contended) for found in turned] == [True, False, False]
        assert archived() == set(free)
    assert archiving_run._turn_alone(archiving_run.Turn(visits[0], None)).ours
    assert archived() == {locked, *free}
    for visit in visits:
        leases.discard(visit.claim.token)


@pytest.mark.usefixtures("one_at_a_time")
def test_a_host_that_is_locked_delays_only_who_goes_there(seen: Mapping[str, Outcome]) -> None:
    ids = wanted(6)
    run("INSERT INTO archiver_host (host) SELECT host FROM archiver_request ON CONFLICT DO NOTHING")
    locked = request(ids[0])
    with somebody() as do:
        do(LOCK_HOST, host=locked.host)
        threads = [worker_thread(id_) for id_ in ids]
        for thread in threads[1:]:
            thread.result(20)
        assert archived() == set(ids[1:])
        assert not threads[0].done()
    threads[0].result(20)
    assert archived() == set(ids)


def test_an_archival_that_is_locked_delays_only_who_writes_it(seen: Mapping[str, Outcome]) -> None:
    ids = wanted(6)
    worker_thread(*ids).result(20)
    for resource_id in ids:
        enqueue.put_resource(resource_id, Queue.BULK, "round")
    with somebody() as do:
        do("SELECT 1 FROM archival WHERE resource_id = :id FOR UPDATE", id=ids[0])
        threads = [worker_thread(id_) for id_ in ids]
        for thread in threads[1:]:
            thread.result(20)
        assert run("SELECT resource_id FROM archiver_request") == [(ids[0],)]
    threads[0].result(20)
    assert run("SELECT 1 FROM archiver_request") == []
    assert run("SELECT count(*) FROM archival_check") == [(12,)], "each run is told once"


def test_who_waits_for_a_request_holds_no_other(seen: Mapping[str, Outcome]) -> None:
    """An edit has one resource of a dataset and comes to the other: with a worker that has that one and waits for
    this one, one of the two would be broken off."""
    first, second = wanted(2)
    (visit,) = claimed(first)
    with somebody() as do:
        do(LOCK_REQUEST, id=second)
        turning = in_thread(lambda: archiving_run._go_on(visit, ask(second)))
        alone = in_thread(lambda: archiving_run._turn_alone(archiving_run.Turn(None, ask(second))))
        time.sleep(0.5)
        do(LOCK_REQUEST, id=first)
    jobs = [turning.result(20)[1], alone.result(20).job]
    assert [job is None for job in jobs].count(True) == 1
    for job in jobs:
        if job is not None:
            leases.discard(job.claim.token)


def test_a_write_that_fails_together_does_not_wait_for_the_next_claim(seen: Mapping[str, Outcome]) -> None:
    first, second = wanted(2)
    (visit,) = claimed(first)
    with somebody() as do:
        do(LOCK_REQUEST, id=second)
        turned = in_thread(lambda: archiving_run._turn_alone(archiving_run.Turn(visit, ask(second)))).result(10)
        assert isinstance(turned.job, archiving_run.Contended)
        assert archived() == {first}
    leases.discard(visit.claim.token)


def test_a_worker_that_waits_for_an_edit_can_be_stopped(
    seen: Mapping[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the 15 seconds that are left when it is told to."""
    monkeypatch.setattr(archiving_run, "_stopping", threading.Event())
    locked, free = wanted(2)
    with somebody() as do:
        do(LOCK_REQUEST, id=locked)
        waits = in_thread(lambda: consumer.archive_resources([locked, free], Queue.BULK))
        time.sleep(6)
        assert not waits.done(), "an edit may be long"
        archiving.stop()
        waits.result(8)
    assert archived() == set()


def take_in_hand(ids: list[str]) -> None:
    claims.take_in_hand(ids)
    model.Session.commit()


@pytest.mark.parametrize(
    ("work", "of_the_dead"),
    [
        (take_in_hand, False),
        (claims.unsend, False),
        (lambda ids: recovery.say_goodbye("dead"), True),
        (lambda ids: recovery.return_forgotten("dead"), True),
    ],
    ids=["take_in_hand", "unsend", "say_goodbye", "return_forgotten"],
)
def test_who_keeps_house_does_not_wait_for_an_edit(work: Callable[[list[str]], Any], of_the_dead: bool) -> None:
    ids = wanted(3)
    run("UPDATE archiver_request SET sent_until = now() + interval '10 minutes'")
    if of_the_dead:
        run(
            "UPDATE archiver_request SET lease_token = resource_id, leased_by = 'dead', "
            "leased_until = now() + interval '1 hour'"
        )
    before = {id_: request(id_) for id_ in ids}
    with somebody() as do:
        do(LOCK_REQUEST, id=ids[1])
        in_thread(lambda: work(ids)).result(10)
    assert [request(id_) != before[id_] for id_ in ids] == [True, False, True]


def test_suspects_are_looked_for_before_hosts_are_locked(seen: Mapping[str, Outcome]) -> None:
    """Else a worker that has a host waits for one that looks for suspects and comes to that host."""
    first, second = wanted(2)
    run("UPDATE archiver_request SET deaths = 2 WHERE resource_id = :id", id=second)
    (visit,) = claimed(first)
    run("INSERT INTO archiver_host (host) SELECT host FROM archiver_request ON CONFLICT DO NOTHING")
    with somebody() as do:
        do("SELECT pg_advisory_xact_lock(:lock)", lock=claims.SUSPECTS_LOCK)
        turning = in_thread(lambda: archiving_run._turn_all([archiving_run.Turn(visit, ask(second))], wait=True))
        time.sleep(0.5)
        do(LOCK_HOST, host=visit.claim.host)
    (turned,) = turning.result(20)
    leases.discard(visit.claim.token)
    leases.discard(turned.job.claim.token)


# -- troubles of one -----------------------------------------------------------------------------------------------

BAD = [
    Outcome(Cause.OK, "ok-checked", requests=1, etag='"a\0b"'),
    Outcome(Cause.OK, "ok-checked", requests=1, mimetype="text/\ud800"),
    Outcome(Cause.GONE, "http-status", {"status": "4\0"}, requests=1),
    Outcome(Cause.OK, "ok-checked", requests=1, size=1 << 70),
]


@pytest.mark.parametrize("bad", BAD, ids=["nul", "surrogate", "nul-in-facts", "overflow"])
def test_what_cannot_be_written_fails_alone_and_is_not_tried_at_once(seen: dict[str, Outcome], bad: Outcome) -> None:
    ids = wanted(5)
    seen[ids[2]] = bad
    visits = claimed(*ids)
    gate = threading.Barrier(5)

    def write(visit: archiving_run.Visit) -> Any:
        gate.wait(10)
        return archiving_run._go_on(visit, None)

    threads = [in_thread(lambda visit=visit: write(visit)) for visit in visits]
    assert [type(thread.exception(20)) for thread in threads].count(type(None)) == 4
    assert threads[2].exception() is not None
    assert archived() == {*ids[:2], *ids[3:]}
    held = request(ids[2])
    assert (held.held, held.lease_token) == ("defect", None)
    assert run("SELECT 1 FROM archiver_request WHERE not_before < now() + interval '1 minute'") == []


def test_files_of_a_group_that_fails_are_all_told_of(
    seen: dict[str, Outcome], archive_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = wanted(3)
    for id_ in ids:
        temp = store.spool(archive_dir, leases.worker_id()) / id_
        temp.write_bytes(b"a,b\n")
        seen[id_] = Outcome(Cause.OK, "ok", requests=1, temp_path=temp, filename="x.csv", size=4, sha256="s")
    seen[ids[0]] = archiving_run.replace(seen[ids[0]], etag="\0")
    visits = claimed(*ids)
    with pytest.raises(sa.exc.DBAPIError):
        archiving_run._turn_all([archiving_run.Turn(visit, None) for visit in visits])
    for visit in visits[1:]:
        archiving_run._go_on(visit, None)
    rows = {path for (path,) in run("SELECT cache_filepath FROM archival")}
    assert rows == {str(store.resource_dir(archive_dir, id_) / "x.csv") for id_ in ids[1:]}
    assert all(record.is_recorded(row._mapping) for row in run("SELECT * FROM archival"))
    with pytest.raises(sa.exc.DBAPIError):
        archiving_run._go_on(visits[0], None)
    assert list(Path(store.spool(archive_dir, leases.worker_id())).iterdir()) == []


def test_no_room_stays_for_a_file_that_is_not_kept(seen: dict[str, Outcome], archive_dir: Path) -> None:
    (only,) = wanted(1)
    temp = store.spool(archive_dir, leases.worker_id()) / "fetch-1"
    temp.write_bytes(b"a,b\n")
    seen[only] = archiving_run.replace(OK, detail="ok", temp_path=temp, filename="x.csv", size=4)
    (visit,) = claimed(only)
    assert store.resource_dir(archive_dir, only).is_dir()
    run("UPDATE resource SET url = 'http://other.example/' WHERE id = :id", id=only)
    archiving_run._go_on(visit, None)
    assert archived() == set()
    assert not store.resource_dir(archive_dir, only).exists()
    assert not temp.exists()


def test_what_was_claimed_with_a_write_is_let_go_when_its_end_fails(
    seen: Mapping[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = wanted(2)

    def fail(*args: Any) -> None:
        raise OSError("the disk is away")

    monkeypatch.setattr(archiving_run, "_tidy", fail)
    with pytest.raises(OSError, match="the disk is away"):
        worker_thread(first, second).result(20)
    assert archived() == {first}
    assert not leases.busy()
    assert recovery.return_forgotten(leases.worker_id()) == 1
    assert request(second).lease_token is None


def test_tokens_are_dropped_when_the_database_goes_away_while_claiming(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = wanted(2)
    monkeypatch.setattr(claims, "_LOCKED_NOW", sa.text("SELECT 1 / 0"))
    with pytest.raises(sa.exc.DataError):
        archiving_run._turn_all(asks([first, second, first]))
    assert not leases.busy()


def test_tokens_are_dropped_when_a_defect_cannot_be_noted(
    seen: dict[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    (only,) = wanted(1)
    seen[only] = BAD[0]
    (visit,) = claimed(only)

    def away(*args: Any) -> None:
        raise sa.exc.OperationalError("", {}, Exception("the database is away"))

    monkeypatch.setattr(claims, "defer", away)
    with pytest.raises(sa.exc.OperationalError):
        archiving_run._go_on(visit, None)
    assert not leases.busy()


def test_a_request_that_cannot_be_claimed_is_not_sent_again_at_once(
    seen: Mapping[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = wanted(2)
    run("UPDATE archiver_request SET sent_until = now() + interval '10 minutes'")

    def fail(*args: Any) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(record, "load", fail)
    with pytest.raises(ValueError, match="a defect"):
        consumer.archive_resources([first, second], Queue.BULK)
    assert request(first).sent_until is not None
    assert request(second).sent_until is None, "it is none of its fault"


@pytest.mark.parametrize("is_locked", [False, True], ids=["shared", "alone"])
def test_the_rest_of_a_message_is_noted_while_its_first_is_looked_at(
    is_locked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the dispatcher fills the place of the message, and sends the rest again where this worker dies."""
    ids = wanted(3)
    run("UPDATE archiver_request SET sent_until = now() + interval '10 minutes'")
    left: list[list[float | None]] = []

    def look(job: archiving_run.Job, link: record.Link) -> Outcome:
        found = run("SELECT extract(epoch FROM sent_until - now()) FROM archiver_request ORDER BY resource_id")
        left.append([None if seconds is None else float(seconds) for (seconds,) in found])
        return OK

    monkeypatch.setattr(archiving_run, "_look", look)
    with somebody() as do:
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
    real, failures = archiving_run._turns, [2, 4]
    count = [0]

    def sometimes(turn: archiving_run.Turn) -> archiving_run.Turned:
        count[0] += 1
        if count[0] in failures:
            raise sa.exc.OperationalError("", {}, Exception("the database is away"))
        return real.do(turn)

    class Unsteady:
        do = staticmethod(sometimes)

    monkeypatch.setattr(archiving_run, "_turns", Unsteady)
    consumer.archive_resources(ids, Queue.BULK)
    # What was seen and not written is looked at again once it is given back.
    assert recovery.return_forgotten(leases.worker_id()) == len(ids) - len(archived())
    consumer.archive_resources(ids, Queue.BULK)
    assert archived() == set(ids)


def test_a_message_ends_quietly_where_the_database_is_away_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = wanted(2)

    def away(ids: list[str]) -> None:
        raise sa.exc.OperationalError("", {}, Exception("the database is away"))

    monkeypatch.setattr(archiving_run._stopping, "is_set", lambda: True)
    monkeypatch.setattr(claims, "unsend", away)
    consumer.archive_resources(ids, Queue.BULK)


def test_a_resource_that_was_deleted_is_withdrawn_only_by_who_has_it() -> None:
    (only,) = wanted(1)
    run("UPDATE resource SET state = 'deleted' WHERE id = :id", id=only)
    (turned,) = archiving_run._turn_all(asks([only]), wait=True)
    assert isinstance(turned, archiving_run.Turned)
    assert isinstance(turned.job, archiving_run.Job)
    run("UPDATE archiver_request SET lease_token = 'another'")
    archiving_run._look_at(turned.job)
    assert request(only).lease_token == "another"
    assert run("SELECT 1 FROM archiver_dataset") == []


# -- politeness ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_at_a_time")
def test_a_visit_that_ends_makes_room_once(seen: Mapping[str, Outcome]) -> None:
    """Its link was edited meanwhile, so that its request counts for another host already."""
    first, second, third = wanted(3, host="one.example")
    (visit,) = claimed(first)
    run("UPDATE archiver_request SET host = 'two.example', again = true WHERE resource_id = :id", id=first)
    (there,) = claimed(second)
    (turned,) = archiving_run._turn_all([archiving_run.Turn(visit, ask(third))])
    assert isinstance(turned, archiving_run.Turned)
    assert turned.job is None, "somebody is there"
    for token in (visit.claim.token, there.claim.token):
        leases.discard(token)


@pytest.mark.usefixtures("one_at_a_time")
def test_of_several_suspects_of_a_host_one_goes() -> None:
    ids = wanted(3, host="one.example")
    run("UPDATE archiver_request SET deaths = :deaths", deaths=config.poison_deaths() - 1)
    turned = archiving_run._turn_all(asks(ids))
    jobs = [found.job for found in turned if isinstance(found, archiving_run.Turned) and found.job]
    assert len(jobs) == 1
    for job in jobs:
        assert isinstance(job, archiving_run.Job)
        leases.discard(job.claim.token)
    assert run("SELECT count(*) FROM archiver_request WHERE lease_token IS NOT NULL") == [(1,)]


@pytest.mark.parametrize("end", ["_withdraw", "_set_aside"])
def test_the_end_of_a_request_waits_for_an_edit(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (only,) = wanted(1)
    (turned,) = archiving_run._turn_all(asks([only]))
    assert isinstance(turned, archiving_run.Turned)
    job = turned.job
    assert isinstance(job, archiving_run.Job)
    deaths = config.poison_deaths() if end == "_set_aside" else 0
    job = archiving_run.replace(
        job, claim=archiving_run.replace(job.claim, deaths=deaths), link=job.link if deaths else None
    )
    monkeypatch.setattr(claims, "_OURS_WAITING", sa.text(claims._STILL_OURS % (0.1, "")))
    tries: list[Any] = []
    real = getattr(archiving_run, end)
    monkeypatch.setattr(archiving_run, end, lambda *args: (tries.append(args), real(*args)))
    with somebody() as do:
        do(LOCK_REQUEST, id=only)
        ends = in_thread(lambda: archiving_run._look_at(job))
        deadline = time.monotonic() + 10
        while len(tries) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not ends.done()
    ends.result(10)
    assert run("SELECT 1 FROM archiver_request") == []


@pytest.mark.parametrize("edited", [False, True])
def test_a_host_that_was_not_visited_learns_nothing_of_an_edit_meanwhile(
    seen: dict[str, Outcome], edited: bool
) -> None:
    (only,) = wanted(1)
    run(
        "INSERT INTO archiver_host (host, open_until, network_failures, failing_since, last_failed, last_checked_at) "
        "SELECT host, now() + interval '10 minutes', 5, now() - interval '3 days', true, "
        "now() - interval '30 minutes' FROM archiver_request ON CONFLICT (host) DO UPDATE SET "
        "open_until = EXCLUDED.open_until, network_failures = 5, failing_since = EXCLUDED.failing_since, "
        "last_failed = true, last_checked_at = EXCLUDED.last_checked_at"
    )
    seen[only] = Outcome(Cause.UNREACHABLE, "host-down", {"host": "h0.example", "since": "2026-01-01"})
    (visit,) = claimed(only)
    assert visit.job.gate.down_since is not None
    before = run("SELECT network_failures, last_checked_at FROM archiver_host WHERE host <> ''")
    if edited:
        run("UPDATE resource SET url = 'http://elsewhere.example/' WHERE id = :id", id=only)
    archiving_run._go_on(visit, None)
    assert run("SELECT network_failures, last_checked_at FROM archiver_host WHERE host <> ''") == before


def test_a_try_of_a_host_that_was_down_counts_although_its_link_was_edited(seen: dict[str, Outcome]) -> None:
    (only,) = wanted(1)
    name = request(only).host
    run("INSERT INTO archiver_host (host) VALUES (:host) ON CONFLICT DO NOTHING", host=name)
    run(
        "UPDATE archiver_host SET open_until = now(), network_failures = 5, opened = 1 WHERE host = :host",
        host=name,
    )
    seen[only] = DOWN
    (visit,) = claimed(only)
    assert visit.job.gate.probes
    run("UPDATE resource SET url = 'http://elsewhere.example/' WHERE id = :id", id=only)
    archiving_run._go_on(visit, None)
    (row,) = run("SELECT extract(epoch FROM open_until - now()) AS pause FROM archiver_host WHERE host = :h", h=name)
    assert row.pause == pytest.approx(2 * hosts.BREAKER_PAUSE, abs=10)
