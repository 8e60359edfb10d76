"""The Celery tasks, and the names other people's code imports from here.

Run by a worker, a task archives a resource for which there is a request. Called directly, as other extensions and tests
do, ``update_resource(id)`` does the whole archival at once and returns the result as JSON. Jobs that a release 2.x left
in CKAN's own background queue (RQ) only put requests: ``ckan jobs worker`` knows nothing of the hosts' intervals.
"""

from __future__ import annotations

from ckanext.archiver.ckan_context import ArchiverTask
from ckanext.archiver.errors import (
    ArchiveError,
    ArchiverError,
    ChooseNotToDownload,
    CkanError,
    DownloadError,
    DownloadException,
    LinkCheckerError,
    LinkHeadMethodNotSupported,
    LinkHeadRequestError,
    LinkInvalidError,
    NotChanged,
)
from ckanext.archiver.legacy.tasks import (
    api_request,
    archive_resource,
    download,
    is_rq_job,
    link_checker,
    notify_package,
    notify_resource,
    request_resource,
    response_is_an_api_error,
    tidy_url,
    update_package_now,
    update_resource_now,
)
from ckanext.archiver.queue.celery_app import app
from ckanext.archiver.worker import consumer

__all__ = [
    "ArchiveError",
    "ArchiverError",
    "ChooseNotToDownload",
    "CkanError",
    "DownloadError",
    "DownloadException",
    "LinkCheckerError",
    "LinkHeadMethodNotSupported",
    "LinkHeadRequestError",
    "LinkInvalidError",
    "NotChanged",
    "api_request",
    "archive_resource",
    "download",
    "link_checker",
    "notify_package",
    "notify_resource",
    "response_is_an_api_error",
    "tidy_url",
    "update_package",
    "update_resource",
]


@app.task(base=ArchiverTask, bind=True, name="archiver.update_resource")
def update_resource(self: ArchiverTask, resource_id: str, queue: str = "bulk") -> str | None:
    """Archive one resource. Called directly, it returns JSON (see ``legacy.tasks.update_resource_now``)."""
    if is_rq_job():
        request_resource(resource_id, queue)
        return None
    if self.request.called_directly:
        return update_resource_now(resource_id, queue)
    consumer.archive_resource(resource_id, queue)
    return None


@app.task(base=ArchiverTask, name="archiver.update_resources")
def update_resources(resource_ids: list[str], queue: str = "bulk") -> None:
    """Archive resources that share a message, as the dispatcher sends them when many are due."""
    consumer.archive_resources(resource_ids, queue)


@app.task(base=ArchiverTask, bind=True, name="archiver.update_package")
def update_package(self: ArchiverTask, package_id: str, queue: str = "bulk") -> None:
    """Archive all resources of a dataset. A worker puts a request for each; a direct call archives them at once."""
    if self.request.called_directly and not is_rq_job():
        update_package_now(package_id, queue)
    else:
        consumer.request_package(package_id, queue)
