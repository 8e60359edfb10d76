"""What a worker does with a message."""

from __future__ import annotations

import logging
import time

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import archiving, leases, outbox

log = logging.getLogger(__name__)

LONGEST_PAUSE = 10
"""Seconds between two tries to reach the database, at most."""

TELL_SECONDS = 60
_told = float("-inf")


def archive_resource(resource_id: str, queue: str) -> None:
    """Archive one resource for which a message came. Waits for the database as long as that is away."""
    pause = 0.5
    while not archiving.stopping(0):
        try:
            archiving.archive_resource(resource_id, queue, worker_id=leases.worker_id())
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as e:
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
    put = outbox.put_selection("p.id = :id OR p.name = :id", {"id": package_id}, queue, "command")
    model.Session.commit()
    if not put:
        log.info("Nothing to request for dataset %s", package_id)
