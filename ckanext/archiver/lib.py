"""Names other people's code imports: requests for one dataset or resource."""

from __future__ import annotations

import logging
from typing import Any

from ckanext.archiver.queue import enqueue
from ckanext.archiver.queue.sql import transaction
from ckanext.archiver.queue.types import Queue, Reason

log = logging.getLogger(__name__)


def get_extra_from_pkg_dict(pkg_dict: dict[str, Any], key: str, default: Any = None) -> Any:
    """The value of a dataset's extra.

    :param pkg_dict: as package_show gives it
    """
    return next((extra["value"] for extra in pkg_dict.get("extras") or () if extra["key"] == key), default)


def create_archiver_resource_task(resource: Any, queue: str) -> None:
    """Request the archival of one resource, and commit.

    :param resource: a model object
    :param queue: "priority" or "bulk"
    """
    queue = _known_queue(queue)
    with transaction():
        enqueue.put_resource(resource.id, queue, Reason.CALLED)
    log.debug("Archival of resource %s requested on queue %s", resource.id, queue)


def create_archiver_package_task(package: Any, queue: str) -> None:
    """Request the archival of all resources of a dataset, and commit.

    :param package: a model object
    :param queue: "priority" or "bulk"
    """
    queue = _known_queue(queue)
    with transaction():
        enqueue.put_selection("p.id = :id", {"id": package.id}, queue, Reason.CALLED)
    log.debug("Archival of dataset %s requested on queue %s", package.id, queue)


def _known_queue(queue: str) -> str:
    if queue in tuple(Queue):
        return queue
    log.warning("No worker reads a queue %s; the archival is requested on queue %s", queue, Queue.BULK)
    return Queue.BULK
