"""Whatever happens to requests, in whatever order: the table is as a model of twenty lines says, and none is lost."""

from __future__ import annotations

import base64
import itertools
import json
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from ckan import model
from ckan.lib.redis import connect_to_redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ckanext.archiver.queue import claims, dispatch, enqueue, recovery
from ckanext.archiver.queue.group_commit import Contended
from ckanext.archiver.queue.sql import transaction
from ckanext.archiver.queue.types import Queue
from rows import run

RESOURCES = [f"resource-{number}" for number in range(5)]
RESOURCE, QUEUE = st.sampled_from(RESOURCES), st.sampled_from(["bulk", "priority"])

_RESOURCE = """
    INSERT INTO resource (id, package_id, url, format, name, position, state, extras, url_type)
    VALUES (:id, :package_id, :url, '', '', 0, 'active', '{}', '')
"""
_PACKAGE = "INSERT INTO package (id, name, type, state, private) VALUES (:id, :id, 'dataset', 'active', false)"


@dataclass
class Request:
    """What the model knows of a request."""

    queue: str
    token: str | None = None
    is_expired: bool = False
    again: bool = False
    attempts: int = 0
    waits: bool = False


class Model:
    """The rules, apart from SQL."""

    def __init__(self) -> None:
        self.rows: dict[str, Request] = {}

    def put(self, id_: str, queue: str) -> None:
        row = self.rows.setdefault(id_, Request(queue))
        if queue == "priority":
            self.rows[id_] = Request(queue, row.token, row.is_expired, again=row.token is not None)

    def claim(self, id_: str, queue: str, token: str | None) -> bool:
        row = self.rows.get(id_)
        may = row is not None and row.queue == queue and not row.waits and (row.token is None or row.is_expired)
        if row is not None and may:
            row.token, row.is_expired, row.again = token, False, False
        return may

    def end(self, claim: claims.Claim, attempts: int | None = None, *, waits: bool = False) -> bool:
        """It is done, or with ``attempts`` it is deferred."""
        row = self.rows.get(claim.resource_id)
        if row is None or row.token != claim.token:
            return False
        if row.again:
            self.rows[claim.resource_id] = Request(row.queue)
        elif attempts is None:
            del self.rows[claim.resource_id]
        else:
            self.rows[claim.resource_id] = Request("bulk" if attempts else row.queue, attempts=attempts, waits=waits)
        return True


class Requests(RuleBasedStateMachine):
    """The same done to the database."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.claims: list[claims.Claim] = []
        for table in ("archiver_request", "archiver_host", "archiver_notice"):
            run(f"DELETE FROM {table}")
        connect_to_redis().flushdb()

    @rule(id_=RESOURCE, queue=QUEUE)
    def put(self, id_: str, queue: str) -> None:
        with transaction():
            enqueue.put_resource(id_, queue, "command")
        self.model.put(id_, queue)

    @rule(id_=RESOURCE, commits=st.booleans())
    def edit(self, id_: str, commits: bool) -> None:
        enqueue.put_changed(model.Session(), id_, is_new=False, url_changed=True)
        if commits:
            model.Session.commit()
            self.model.put(id_, "priority")
        else:
            model.Session.rollback()

    @rule()
    def send(self) -> None:
        dispatch.tick()

    @rule()
    def lose(self) -> None:
        connect_to_redis().flushdb()

    @rule(id_=RESOURCE, queue=QUEUE)
    def claim(self, id_: str, queue: str) -> None:
        with transaction():
            (claim,) = claims.claim([claims.Message(id_, queue)], "worker", wait=False)
        assert not isinstance(claim, Contended)
        assert self.model.claim(id_, queue, claim.token if claim else None) is (claim is not None)
        if claim is not None:
            self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule()
    def expire(self) -> None:
        run("UPDATE archiver_request SET leased_until = now() - interval '1 second' WHERE lease_token IS NOT NULL")
        for row in self.model.rows.values():
            row.is_expired = row.token is not None

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), attempts=st.sampled_from([0, 1, 2]), delay=st.sampled_from([0, 3600]))
    def defer(self, data: Any, attempts: int, delay: int) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        with transaction():
            ours = claims.defer([claims.Deferral(claim, delay, attempts)])
        assert (claim.token in ours) is self.model.end(claim, attempts, waits=bool(delay))

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def finish(self, data: Any) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        with transaction():
            finished = claims.finish([claim])
        assert (claim.token in finished) is self.model.end(claim)
        if finished.get(claim.token):
            assert not self.model.rows.keys() & _siblings(claim.resource_id), "the last of its dataset"

    @rule(id_=RESOURCE)
    def cancel(self, id_: str) -> None:
        with transaction():
            enqueue.cancel_resource(model.Session(), id_)
        self.model.rows.pop(id_, None)

    @invariant()
    def the_table_is_as_the_model(self) -> None:
        rows = run("SELECT *, not_before > now() AS waits, leased_until < now() AS is_expired FROM archiver_request")
        assert self.model.rows == {
            row.resource_id: Request(
                row.queue, row.lease_token, bool(row.is_expired), row.again, row.attempts, bool(row.waits)
            )
            for row in rows
        }

    def teardown(self) -> None:
        """Every request that is left is sent, claimed and finished, by what workers do all the time."""
        for _ in itertools.takewhile(lambda _: run("SELECT 1 FROM archiver_request"), range(20)):
            run("UPDATE archiver_request SET leased_until = now() - interval '1 second' WHERE lease_token IS NOT NULL")
            run(
                "UPDATE archiver_request SET sent_until = sent_until - interval '20 seconds', not_before = now(), "
                "requested_at = requested_at - interval '1 minute'"
            )
            recovery.forget_lost_messages()
            with transaction():
                recovery.release_leases_of_the_dead()
                dispatch.wake_forgotten_hosts()
            run("UPDATE archiver_host SET bulk_at = now() WHERE bulk_at > now()")
            dispatch.tick()
            self._work()
        assert run("SELECT resource_id FROM archiver_request") == []

    def _work(self) -> None:
        client = connect_to_redis()
        for queue in Queue:
            while item := client.rpop(queue.value):
                # kombu's message, with Celery's arguments in base64.
                (first, of_queue), *_ = json.loads(base64.b64decode(json.loads(item)["body"]))
                for id_ in first if isinstance(first, list) else [first]:
                    with transaction():
                        (claim,) = claims.claim([claims.Message(id_, of_queue)], "worker", wait=False)
                        if isinstance(claim, claims.Claim):
                            claims.finish([claim])


def _siblings(id_: str) -> set[str]:
    return {other for other in RESOURCES if _package(other) == _package(id_)}


def _package(id_: str) -> str:
    return f"package-{int(id_[-1]) % 2}"


@pytest.fixture
def resources(clean_site: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # This process sends no heartbeats, after some of which it would say who is dead.
    monkeypatch.setattr(recovery, "_may_judge", lambda: True)
    for package_id in sorted({_package(id_) for id_ in RESOURCES}):
        run(_PACKAGE, id=package_id)
    for id_ in RESOURCES:
        url = f"http://host-{int(id_[-1]) % 3}.example/{uuid.uuid4().hex}"
        run(_RESOURCE, id=id_, package_id=_package(id_), url=url)


@pytest.mark.usefixtures("resources")
@pytest.mark.timeout(1800)
@pytest.mark.ckan_config("ckanext-archiver.host_interval", 0)
@pytest.mark.ckan_config("ckanext-archiver.host_concurrency", 0)
@pytest.mark.parametrize(("examples", "steps"), [(10, 30), pytest.param(200, 50, marks=pytest.mark.slow)])
def test_requests_follow_the_model(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Requests,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
