"""What a worker does with a message."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable

from ckan import model

from ckanext.archiver import archiving
from ckanext.archiver.errors import DATABASE_AWAY
from ckanext.archiver.queue import claims, enqueue, leases
from ckanext.archiver.queue.types import Queue, Reason

log = logging.getLogger(__name__)

LONGEST_PAUSE = 10
"""Seconds between two tries to reach the database, at most."""

TELL_SECONDS = 60
_told = float("-inf")


_taken_up = 0


def taken_up() -> int:
    """How many messages this process has taken up, about: two threads may count as one."""
    return _taken_up


def archive_resource(resource_id: str, queue: str) -> None:
    """Archive one resource for which a message came."""
    _archive(deque([resource_id]), queue)


def archive_resources(resource_ids: list[str], queue: str) -> None:
    """Archive resources that share a message, one after the other."""
    left = deque(resource_ids)
    try:
        _archive(left, queue)
    finally:
        if left:
            # This worker stops, or one of them met a defect: the others need not wait for a minute. They do where the
            # database is away.
            with contextlib.suppress(*DATABASE_AWAY):
                claims.unsend(list(left))


def _archive(resource_ids: deque[str], queue: str) -> None:
    global _taken_up
    _taken_up += 1
    _with_database(lambda: archiving.archive_resources(resource_ids, queue, worker_id=leases.worker_id()))


def _with_database(work: Callable[[], object]) -> None:
    """Do it, waiting for the database as long as that is away, or until this worker is to stop."""
    pause = 0.5
    while not archiving.stopping(0):
        try:
            work()
        except DATABASE_AWAY as e:
            _tell(e)
            model.Session.remove()
            archiving.stopping(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            return


def _tell(error: Exception) -> None:
    """Once a minute for all threads."""
    global _told
    if time.monotonic() - _told > TELL_SECONDS:
        _told = time.monotonic()
        log.warning("The database is away, trying again: %s", str(error).splitlines()[0])


def request_package(package_id: str, queue: str) -> None:
    """Put requests for all resources of a dataset; the dispatcher sends them."""
    if queue not in tuple(Queue):
        # From another release, or by hand: no worker would read it.
        queue = Queue.BULK
    put = enqueue.put_selection("p.id = :id OR p.name = :id", {"id": package_id}, queue, Reason.COMMAND)
    model.Session.commit()
    if not put:
        log.info("Nothing to request for dataset %s", package_id)
