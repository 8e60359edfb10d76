"""What a worker does with a message, and how it shows that it is alive."""

from __future__ import annotations

import logging
import os
import socket
import uuid

from ckan import model

from ckanext.archiver import archiving, outbox

log = logging.getLogger(__name__)

WORKER_ID = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
"""Who we are, in leases and in the names of temporary directories. Forked children share it with their parent,
which speaks for them."""


def archive_resource(resource_id: str, queue: str) -> None:
    """Archive one resource for which a message came."""
    archiving.archive_resource(resource_id, queue, worker_id=WORKER_ID)


def request_package(package_id: str, queue: str) -> None:
    """Put requests for all resources of a dataset; the dispatcher sends them."""
    put = outbox.put_selection("p.id = :id OR p.name = :id", {"id": package_id}, queue, "command")
    model.Session.commit()
    if not put:
        log.info("Nothing to request for dataset %s", package_id)
