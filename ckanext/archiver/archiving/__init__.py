"""The use cases: archive one resource, several, or a dataset; stop.

A worker claims the request (one short transaction), looks at the link (no transaction), and writes what it found in
one commit that presents its lease. Then subscribers are notified. What was found about one link is written, and the
next request is claimed, in the same transaction.
"""

from __future__ import annotations

from collections import deque

from ckan import model

from ckanext.archiver import config
from ckanext.archiver.archiving import run as one_run
from ckanext.archiver.archiving import transaction
from ckanext.archiver.archiving.types import ClaimedRequest, Delivery, Result, Run
from ckanext.archiver.errors import DATABASE_AWAY
from ckanext.archiver.queue import address_gate, leases, notices
from ckanext.archiver.queue.types import DIRECT, Queue, Reason

__all__ = ["Result", "archive_package", "archive_resource", "archive_resources", "stop", "stopping"]


def stop() -> None:
    """Have the transfers of this process end soon; their requests go back to the table."""
    leases.current().stopping.set()


def stopping(seconds: float) -> bool:
    """Wait for the stop, at most so many seconds; True once it was requested."""
    return leases.current().stopping.wait(seconds)


def archive_resource(
    resource_id: str, queue: str = "", *, worker_id: str = DIRECT, at_once: bool = False, notice_queue: str = ""
) -> Result | None:
    """Archive one resource for which there is a request. See :func:`archive_resources`.

    :returns: None where nothing was written: nothing to do, to be tried later, or the lease was lost
    """
    delivered = deque([resource_id])
    results = archive_resources(delivered, queue, worker_id=worker_id, at_once=at_once, notice_queue=notice_queue)
    return results[0] if results else None


def archive_resources(
    resource_ids: deque[str],
    queue: str = "",
    *,
    worker_id: str = DIRECT,
    at_once: bool = False,
    notice_queue: str = "",
    edit_seconds: float | None = None,
) -> list[Result]:
    """Archive resources for which there are requests, one after the other, until this process is to stop.

    :param resource_ids: taken out as they are claimed: those left at the end were not claimed
    :param queue: the queue by which the message came; empty for any
    :param at_once: do not wait for the host's turn, and do not defer retries (a caller waits for the result)
    :param notice_queue: the name of a queue that subscribers hear instead of the request's
    :param edit_seconds: after which the transfer of an edit ends and goes on in ``bulk``, None for no such end
    :raises sqlalchemy.exc.DBAPIError: the database is away. The request stays in the table
    """
    results: list[Result] = []
    run: Run | None = None
    others = tuple(resource_ids)[1:]
    try:
        while run is not None or (resource_ids and not stopping(0)):
            delivery = None
            # Subscribers hear of a run before the next request is claimed: they may take any time.
            if resource_ids and not stopping(0) and (run is None or not notices.wanted()):
                delivery = Delivery(
                    resource_ids.popleft(), queue, worker_id, at_once, notice_queue, others, edit_seconds
                )
                others = ()
            try:
                result, request = transaction.advance(run, delivery)
            except DATABASE_AWAY:
                if delivery is not None:
                    resource_ids.appendleft(delivery.resource_id)
                raise
            results += [result] if result else []
            run = start(request) if request is not None else None
    finally:
        model.Session.rollback()
        # Rows were written past the ORM: an Archival that the caller holds in this session is read anew.
        model.Session.expire_all()
    return results


def start(request: ClaimedRequest) -> Run | None:
    """Look at the link of a claimed request. None where there is nothing to look at."""
    with transaction.release_on_error(request):
        if request.link is None:
            transaction.withdraw(request)
        elif request.claim.deaths >= config.poison_deaths() and not request.claim.at_once:
            transaction.set_aside(one_run.poisoned(request, request.link))
        elif _may_go(request, request.link.url):
            return one_run.look(request, request.link)
    leases.discard(request.claim.token)
    return None


def _may_go(request: ClaimedRequest, url: str) -> bool:
    """Whether the host's address admits the request, where that was not known yet; else the request is deferred."""
    if not request.admission.looks_up:
        return True
    address = address_gate.look_up(url)
    return address is None or transaction.enter_address(request, address)


def archive_package(package_id: str, queue: str = "") -> int:
    """Archive all resources of a dataset now, one after the other, and notify subscribers.

    :param queue: the name that subscribers hear; also one that no worker reads
    :returns: how many resources were archived
    """
    ids = [
        id
        for (id,) in model.Session.query(model.Resource.id)
        .filter_by(package_id=package_id, state="active")
        .order_by(model.Resource.position)
    ]
    read_queue = queue if queue in tuple(Queue) else Queue.BULK if queue else Queue.PRIORITY
    transaction.request_all(ids, read_queue, Reason.COMMAND)
    return sum(archive_resource(resource_id, at_once=True, notice_queue=queue) is not None for resource_id in ids)
