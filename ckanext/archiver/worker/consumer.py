"""Handles the messages that a worker receives."""

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
from ckanext.archiver.queue.sql import transaction
from ckanext.archiver.queue.types import Queue, Reason
from ckanext.archiver.worker.handover import Handover

log = logging.getLogger(__name__)

MAX_PAUSE = 10
"""Most seconds between two tries to reach the database."""

EDIT_SECONDS = 35
"""Seconds for which the transfer of an edit may keep a place of the pool, where it cannot go on beside it: its request
goes to ``bulk`` then. Some more than the default of ``first_byte_timeout``: an editor learns at once of a server that
does not answer. What came until then is not kept, since few slow servers can go on in the middle of a file."""

LOG_SECONDS = 60
_logged_at = float("-inf")


handover = Handover(0)
"""What lets edits go on beside the threads of the pool; ``worker/run.py`` makes one with room, but not in a prefork
pool."""


def archive_resource(resource_id: str, queue: str) -> None:
    """Archive the resource of a message."""
    archive_resources([resource_id], queue)


def archive_resources(resource_ids: list[str], queue: str) -> None:
    """Archive the resources of a message, one after the other."""
    leases.current().messages_received += 1

    if queue == Queue.PRIORITY:
        handover.run(
            lambda: _archive(deque(resource_ids), queue), lambda: _archive(deque(resource_ids), queue, EDIT_SECONDS)
        )
    else:
        _archive(deque(resource_ids), queue)


def _archive(resource_ids: deque[str], queue: str, edit_seconds: float | None = None) -> None:
    try:
        _with_database(
            lambda: archiving.archive_resources(
                resource_ids, queue, worker_id=leases.worker_id(), edit_seconds=edit_seconds
            )
        )
    finally:
        if resource_ids:
            # This worker stops, or the run of one met a defect: the others need not wait for a minute, unless the
            # database is away.
            with contextlib.suppress(*DATABASE_AWAY), transaction():
                claims.unsend(resource_ids)


def _with_database(work: Callable[[], object]) -> None:
    """Do some work, waiting as long as the database is away, or until this worker is to stop."""
    pause = 0.5
    while not archiving.stopping(0):
        try:
            work()
        except DATABASE_AWAY as e:
            _log_away(e)
            model.Session.remove()
            archiving.stopping(pause)
            pause = min(2 * pause, MAX_PAUSE)
        else:
            return


def _log_away(error: Exception) -> None:
    """Once a minute for all threads."""
    global _logged_at
    if time.monotonic() - _logged_at > LOG_SECONDS:
        _logged_at = time.monotonic()
        log.warning("The database is away, trying again: %s", str(error).splitlines()[0])


def request_package(package_id: str, queue: str) -> None:
    """Put requests for all resources of a dataset; the dispatcher sends them."""
    if queue not in tuple(Queue):
        # From another release, or sent by hand: no worker would read it.
        queue = Queue.BULK
    with transaction():
        put = enqueue.put_selection("p.id = :id OR p.name = :id", {"id": package_id}, queue, Reason.COMMAND)
    if not put:
        log.info("Nothing to request for dataset %s", package_id)
