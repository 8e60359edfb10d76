"""Steps of a worker's threads, as tests make them: requests, deliveries, runs, and the locks of other transactions."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from ckan import model
from ckan.tests import factories

from ckanext.archiver import archiving
from ckanext.archiver.archiving import transaction
from ckanext.archiver.archiving.types import ClaimedRequest, Delivery, Run, Step
from ckanext.archiver.engine.outcome import Cause, Outcome
from ckanext.archiver.queue import leases
from ckanext.archiver.queue.group_commit import Contended
from ckanext.archiver.queue.types import Queue, Reason

OK = Outcome(Cause.OK, "ok-checked", requests=1)
DOWN = Outcome(Cause.UNREACHABLE, "connect-refused", requests=1)

MARKS = [
    pytest.mark.usefixtures("clean_site", "nothing_in_hand"),
    pytest.mark.ckan_config("ckanext-archiver.host_interval", 0),
    pytest.mark.ckan_config("ckanext-archiver.host_concurrency", 0),
    pytest.mark.ckan_config("ckanext-archiver.archive_on_change", "false"),
]
"""Of every module whose tests make the steps of a worker's threads by hand."""


def sql(statement: str, **values: Any) -> list[Any]:
    """One statement, committed; its rows."""
    result = model.Session.connection().execute(sa.text(statement), values)
    rows = list(result.all()) if result.returns_rows else []
    model.Session.commit()
    return rows


def wanted(count: int, host: str = "h{}.example") -> list[str]:
    """Resources of a dataset, and requests of the round for them; their ids in their order."""
    dataset = factories.Dataset(resources=[{"url": f"http://{host.format(n)}/{n}.csv"} for n in range(count)])
    ids = sorted(resource["id"] for resource in dataset["resources"])
    sql("DELETE FROM archiver_request")
    transaction.request_all(ids, Queue.BULK, Reason.ROUND)
    return ids


def archived() -> set[str]:
    """The resources that have an archival."""
    return {id_ for (id_,) in sql("SELECT resource_id FROM archival")}


def request(resource_id: str) -> Any:
    """The row of a resource's request."""
    (row,) = sql("SELECT * FROM archiver_request WHERE resource_id = :id", id=resource_id)
    return row


@contextlib.contextmanager
def other_transaction() -> Iterator[Callable[..., Any]]:
    """Another transaction: a function that does SQL in it. Rolled back at the end."""
    with model.meta.engine.connect() as connection:
        outer = connection.begin()
        connection.execute(sa.text("SET LOCAL lock_timeout = '3s'"))
        yield lambda statement, **values: connection.execute(sa.text(statement), values)
        outer.rollback()


LOCK_REQUEST = "SELECT 1 FROM archiver_request WHERE resource_id = :id FOR UPDATE"
LOCK_HOST = "SELECT 1 FROM archiver_host WHERE host = :host FOR UPDATE"


def in_thread(work: Callable[[], Any]) -> Future[Any]:
    """Do some work in a thread with a session of its own."""

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
    """A worker's thread with a message for these resources."""
    return in_thread(lambda: archiving.archive_resources(deque(resource_ids), Queue.BULK, worker_id=leases.worker_id()))


def deliveries(ids: list[str]) -> list[Step]:
    """A step for each, which claims it."""
    return [Step(None, Delivery(id_, Queue.BULK, leases.worker_id(), False)) for id_ in ids]


def claimed_runs(*ids: str) -> list[Run]:
    """Runs of these that are to be written, as a worker's threads have them in flight."""
    runs = []
    for step_result in transaction.write_and_claim_batch(deliveries(list(ids)), wait=True):
        assert not isinstance(step_result, Contended)
        assert isinstance(step_result.request, ClaimedRequest)
        run = archiving.start(step_result.request)
        assert run is not None
        runs.append(run)
    return runs


def delivery(resource_id: str) -> Delivery:
    """A message of the round for one resource."""
    return Delivery(resource_id, Queue.BULK, leases.worker_id(), False)
