"""The queue against a model of it, by random steps on the real database and broker (hypothesis' rule machine).

Time is virtual: ``time_passes`` moves every time in the tables into the past, so that a wait of an hour takes no time.
What really passes in between is far less than the smallest step, so a moment that is reached exactly has passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from ckan import model
from ckan.lib.redis import connect_to_redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ckanext.archiver.queue import broker, claims, dispatch, due_bulk, enqueue, leases, recovery
from rows import run
from world import PACKAGE_SQL, RESOURCE_SQL

LEASE, DEAD, GRACE, SENT = 1_100, 30, 50, dispatch.SENT_SECONDS
DATASET_OF = {"a": "p", "b": "p", "c": "q"}
WORKERS = ("w1", "w2")
RESOURCES, QUEUES = st.sampled_from(sorted(DATASET_OF)), st.sampled_from(["priority", "bulk"])


@dataclass
class Row:
    """What a request must be. Times are seconds of the virtual clock; a time that has come has passed."""

    queue: str
    requested_at: int
    not_before: int
    sent_until: int = 0
    leased_until: int = 0
    claim: claims.Claim | None = None
    again: bool = False
    attempts: int = 0
    holds: int = 0
    deaths: int = 0

    def is_claimable(self, queue: str, now: int) -> bool:
        is_free = self.claim is None or self.leased_until <= now
        return is_free and self.not_before <= now and queue in ("", self.queue)

    def is_to_send(self, now: int) -> bool:
        web_process_sends = self.not_before <= self.requested_at and self.requested_at + GRACE > now
        is_due = self.claim is None and self.not_before <= now and self.sent_until <= now
        return is_due and not (self.queue == "priority" and web_process_sends)

    def release(self, **changes: Any) -> None:
        self.__dict__.update(claim=None, leased_until=0, sent_until=0, again=False, **changes)


class Queue(RuleBasedStateMachine):
    """Puts, sends, loses, claims, lets expire, defers, finishes, cancels and edits."""

    @initialize()
    def begin(self) -> None:
        self.now = 0
        self.rows: dict[str, Row] = {}
        self.claims: list[claims.Claim] = []
        self.alive = set(WORKERS)
        self.notices = 0
        connect_to_redis().flushdb()
        run("TRUNCATE archiver_request, archiver_host, archiver_notice, archiver_worker")
        for id in DATASET_OF:
            run("INSERT INTO archiver_host (host) VALUES (:host)", host=f"{id}.example")
        for worker in WORKERS:
            self._show_alive(worker)

    # -- putting ---------------------------------------------------------------------------------------------------

    @rule(id=RESOURCES, queue=QUEUES)
    def put(self, id: str, queue: str) -> None:
        put = enqueue.put_selection("r.id = :id", {"id": id}, queue, "command")
        model.Session.commit()
        row = self.rows.get(id)
        assert put == (row is None or (queue, row.queue) == ("priority", "bulk"))
        if row is None:
            self.rows[id] = Row(queue, self.now, self.now)
        elif put:
            self._promote(row)

    @rule(id=RESOURCES, is_committed=st.booleans())
    def edit(self, id: str, is_committed: bool) -> None:
        model.Session.execute(sa.text("UPDATE resource SET url = url || 'x' WHERE id = :id"), {"id": id})
        # No archival is written here, so each edit counts.
        assert enqueue.put_changed(model.Session, id, is_new=False, url_changed=True)
        if not is_committed:
            model.Session.rollback()
            return
        model.Session.commit()
        if id in self.rows:
            self._promote(self.rows[id])
        else:
            self.rows[id] = Row("priority", self.now, self.now)

    def _promote(self, row: Row) -> None:
        row.__dict__.update(queue="priority", requested_at=self.now, not_before=self.now, sent_until=0)
        row.__dict__.update(attempts=0, holds=0, deaths=0, again=row.claim is not None)

    # -- sending ---------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([10, 100, SENT, LEASE]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        for table, columns in {
            "archiver_request": ("requested_at", "not_before", "sent_until", "leased_until"),
            "archiver_host": ("next_at", "bulk_at"),
        }.items():
            changes = ", ".join(f"{column} = {column} - :seconds * interval '1 second'" for column in columns)
            run(f"UPDATE {table} SET {changes}", seconds=seconds)

    @rule()
    def send(self) -> None:
        # A host whose request is in flight is selected every five seconds.
        self.time_passes(10)
        to_send = [row for row in self.rows.values() if row.is_to_send(self.now)]
        assert dispatch.tick() == len(to_send)
        for row in to_send:
            row.sent_until = self.now + SENT

    @rule()
    def lose(self) -> None:
        connect_to_redis().flushdb()
        lost = [r for r in self.rows.values() if r.claim is None and self.now < r.sent_until <= self.now + SENT - 10]
        assert recovery.forget_lost_messages() == len(lost)
        for row in lost:
            row.sent_until = 0

    # -- claiming --------------------------------------------------------------------------------------------------

    @rule(worker=st.sampled_from(WORKERS))
    def receive(self, worker: str) -> None:
        for id, queue in _take_messages():
            self.claim(id, queue, worker)

    @rule(id=RESOURCES, queue=st.sampled_from(["priority", "bulk", ""]), worker=st.sampled_from(WORKERS))
    def claim(self, id: str, queue: str, worker: str) -> None:
        (claim,) = claims.claim([claims.Message(id, queue)], worker)
        model.Session.commit()
        row = self.rows.get(id)
        assert (claim is not None) == (row is not None and row.is_claimable(queue, self.now)), (id, row, self.now)
        if isinstance(claim, claims.Claim) and row is not None:
            row.__dict__.update(claim=claim, leased_until=self.now + LEASE, sent_until=0, again=False)
            self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self._finish(data.draw(st.integers(0, len(self.claims) - 1)))

    def _finish(self, number: int) -> None:
        claim, row = self._pick(number)
        done = claims.finish([claim])
        model.Session.commit()
        if row is None:
            assert done == {}, "a lease that was lost writes nothing"
        elif row.again:
            assert done == {claim.token: False}
            row.release(attempts=0, holds=0, deaths=0, not_before=self.now)
        else:
            del self.rows[claim.resource_id]
            assert done == {claim.token: not self._is_open(claim.package_id)}

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), delay=st.sampled_from([0, 100, SENT]), attempts=st.none() | st.just(2), is_held=st.booleans())
    def defer(self, data: st.DataObject, delay: int, attempts: int | None, is_held: bool) -> None:
        claim, row = self._pick(data.draw(st.integers(0, len(self.claims) - 1)))
        ours = claims.defer([claims.Deferral(claim, delay, attempts, "outage" if is_held else "")])
        model.Session.commit()
        assert ours == ({claim.token} if row else set())
        if row is not None and row.again:
            row.release(attempts=0, holds=0, not_before=self.now)
        elif row is not None:
            kept = row.attempts if attempts is None else attempts
            row.release(attempts=kept, holds=row.holds + is_held, not_before=self.now + delay)
            # The retry of an edit is no edit.
            row.queue = "bulk" if attempts else row.queue

    def _pick(self, number: int) -> tuple[claims.Claim, Row | None]:
        """A claim that some worker has made, and its row while the claim is good."""
        claim = self.claims.pop(number)
        leases.discard(claim.token)
        row = self.rows.get(claim.resource_id)
        return claim, row if row is not None and row.claim == claim else None

    # -- losing workers and resources ------------------------------------------------------------------------------

    @rule(worker=st.sampled_from(WORKERS))
    def die(self, worker: str) -> None:
        run("DELETE FROM archiver_worker WHERE worker_id = :id", id=worker)
        self.alive.discard(worker)

    @rule()
    def expire(self) -> None:
        """Another worker takes what dead ones hold, and what any holds for too long."""
        gone = [row for row in self.rows.values() if row.claim is not None and self._is_expired(row, row.claim)]
        assert recovery.release_leases_of_the_dead() == len(gone)
        for row in gone:
            row.release(deaths=row.deaths + 1)
        for worker in WORKERS:
            self._show_alive(worker)

    def _is_expired(self, row: Row, claim: claims.Claim) -> bool:
        limit = LEASE if claim.worker_id in self.alive else DEAD
        return row.leased_until - LEASE + limit <= self.now

    def _show_alive(self, worker: str) -> None:
        run(
            "INSERT INTO archiver_worker (worker_id, hostname, pid, queues, seen_at) VALUES (:id, 'elsewhere', 1, "
            "'bulk', now() + interval '1 day') ON CONFLICT DO NOTHING",
            id=worker,
        )
        self.alive.add(worker)

    @rule(id=RESOURCES)
    def cancel(self, id: str) -> None:
        enqueue.cancel_resource(model.Session, id)
        model.Session.commit()
        if self.rows.pop(id, None) is not None and not self._is_open(DATASET_OF[id]):
            self.notices += 1

    def _is_open(self, package_id: str) -> bool:
        return any(DATASET_OF[id] == package_id for id in self.rows)

    # -- what holds after each step --------------------------------------------------------------------------------

    @invariant()
    def the_table_is_as_the_model(self) -> None:
        if not hasattr(self, "rows"):
            return
        found = run(
            "SELECT resource_id, queue, lease_token, sent_until > now() IS TRUE, not_before <= now(), again, attempts, "
            "holds, deaths FROM archiver_request"
        )
        assert sorted(map(tuple, found)) == [
            (
                *(id, row.queue, row.claim and row.claim.token, row.sent_until > self.now, row.not_before <= self.now),
                *(row.again, row.attempts, row.holds, row.deaths),
            )
            for id, row in sorted(self.rows.items())
        ]
        assert run("SELECT count(*) FROM archiver_notice")[0][0] == self.notices

    def teardown(self) -> None:
        """Whatever happened, everything that is wanted is archived in the end."""
        for _ in range(2):
            self.time_passes(LEASE)
            self.expire()
            self.send()
            self.receive("w1")
            while self.claims:
                self._finish(0)
        assert self.rows == {}
        self.the_table_is_as_the_model()


def _take_messages() -> list[tuple[str, str]]:
    """Read and drop what is in the broker, as a worker would: resource and queue of each message."""
    taken = []
    connection = broker.connect()
    try:
        for queue in broker.app.amqp.queues.values():
            while message := queue.bind(connection.default_channel).get(no_ack=True):
                ids, name = message.payload[0]
                taken += [(id, name) for id in (ids if isinstance(ids, list) else [ids])]
    finally:
        connection.release()
    return taken


@pytest.fixture
def small_portal(clean_site: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for package_id in set(DATASET_OF.values()):
        run(PACKAGE_SQL, id=package_id, name=package_id)
    for id, package_id in DATASET_OF.items():
        run(RESOURCE_SQL, id=id, package_id=package_id, url=f"http://{id}.example/", position=0)
    monkeypatch.setattr(dispatch, "PRIORITY_GRACE", GRACE)
    monkeypatch.setattr(recovery, "_may_judge", lambda: True)
    # Time passes here by changing the table, which a bound that the dispatcher remembers does not know.
    monkeypatch.setattr(due_bulk, "FULL_LOOK_SECONDS", -1)
    monkeypatch.setattr(due_bulk, "IDLE_LOOK_SECONDS", -1)


@pytest.mark.usefixtures("small_portal")
@pytest.mark.ckan_config("ckanext-archiver.lease_seconds", LEASE)
@pytest.mark.ckan_config("ckanext-archiver.worker_dead_seconds", DEAD)
@pytest.mark.ckan_config("ckanext-archiver.host_interval", 0)
@pytest.mark.ckan_config("ckanext-archiver.host_concurrency", 0)
@pytest.mark.parametrize("steps", [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_the_queue_does_what_a_small_model_says(steps: int) -> None:
    run_state_machine_as_test(
        Queue,
        settings=settings(
            max_examples=steps // 50,
            stateful_step_count=50,
            # The ordinary run does the same steps each time; the long one looks for others.
            derandomize=steps == 300,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
