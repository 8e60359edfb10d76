"""The functions of releases 2.x that other code calls in ``tasks``: thin wrappers of the engine and the use cases."""

from __future__ import annotations

import json
import logging
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import rq
from ckan import model

from ckanext.archiver import archiving, config, errors
from ckanext.archiver.archiving import decide, transaction
from ckanext.archiver.engine import fetch as engine
from ckanext.archiver.engine import reasons, store, urls
from ckanext.archiver.engine.outcome import Cause, FetchRequest, Outcome
from ckanext.archiver.interfaces import IPipe
from ckanext.archiver.queue.types import DIRECT, Queue, Reason

log = logging.getLogger("ckanext.archiver.tasks")


# -- the two tasks, called directly ------------------------------------------------------------------------


def update_resource_now(resource_id: str, queue: str = "bulk") -> str | None:
    """Archive one resource now, without waiting for its host's turn.

    :param queue: the name that subscribers hear; also one that no worker reads
    :returns: JSON of the result (``size``, ``hash``, ``cache_filepath``, ``mimetype``, ``request_type``,
        ``url_redirected_to``, …), None when there is no copy
    """
    if not request_resource(resource_id, queue):
        return None
    result = archiving.archive_resource(resource_id, at_once=True, notice_queue=queue)
    if result is None:
        return None
    outcome, archival = result.outcome, result.archival
    if outcome.cause is not Cause.OK:
        log.info("Resource %s was not archived: %s", resource_id, reasons.reason(outcome.detail, outcome.facts))
        return None
    return json.dumps(
        {
            "size": archival["size"],
            "hash": archival["hash"],
            "mimetype": archival["mimetype"],
            "cache_filepath": archival["cache_filepath"],
            "cache_url": archival["cache_url"],
            "url_redirected_to": archival["url_redirected_to"],
            "request_type": outcome.request_type,
            "headers": dict(outcome.headers),
        }
    )


def request_resource(resource_id: str, queue: str) -> bool:
    """Put a request for a resource.

    :param queue: also a name that no worker reads, under which no request must wait
    :returns: False where there is no such resource, or it has no link
    """
    read_queue = queue if queue in tuple(Queue) else Queue.BULK
    if transaction.request_all([resource_id], read_queue, Reason.CALLED):
        return True
    log.error("Resource not found: %s", resource_id)
    return False


def is_rq_job() -> bool:
    """Whether this code runs in a job of CKAN's own background queue."""
    return rq.get_current_job() is not None


def update_package_now(package_id: str, queue: str = "bulk") -> None:
    """Archive every resource of a dataset now, then notify subscribers.

    :param package_id: name or id
    :param queue: the name that subscribers hear; also one that no worker reads
    """
    package = model.Package.get(package_id)
    if package is None:
        log.error("Package not found: %s", package_id)
        return
    archiving.archive_package(package.id, queue)


# -- notifying other extensions ----------------------------------------------------------------------------


def notify_resource(resource: dict[str, Any], queue: str, cache_filepath: str | None) -> None:
    """Notify subscribers that a resource was archived."""
    IPipe.send_data("archived", queue, resource_id=resource["id"], cache_filepath=cache_filepath)


def notify_package(package: dict[str, Any], queue: str, cache_filepath: str | None = None) -> None:
    """Notify subscribers that a dataset was archived."""
    IPipe.send_data("package-archived", queue, package_id=package["id"], cache_filepath=cache_filepath)


# -- fetching links ----------------------------------------------------------------------------------------


def tidy_url(url: str) -> str:
    """The URL as it is requested.

    :raises LinkInvalidError: for one that cannot be
    """
    target = urls.normalise(url)
    if isinstance(target, urls.BadUrl):
        raise errors.LinkInvalidError(reasons.reason(target.detail, target.facts))
    return target.url


def link_checker(context: str, data: str) -> str:
    """Check a link without downloading the file.

    :param context: JSON, not used
    :param data: JSON with ``url`` and maybe ``url_timeout`` (seconds)
    :returns: JSON of the response's headers, with lower-case names
    :raises LinkInvalidError: the URL cannot be requested
    :raises LinkHeadRequestError: the server answered with an error, or not at all
    """
    params = json.loads(data)
    limits = replace(config.limits(), first_byte_timeout=float(params.get("url_timeout") or 30))
    request = FetchRequest(url=params.get("url") or "", check_only=True)
    outcome = engine.fetch(request, limits=limits, policy=config.policy(), spool=None)
    _raise_for(outcome, errors.LinkHeadRequestError)
    return json.dumps({name.lower(): value for name, value in outcome.headers.items()})


def download(
    context: Any,
    resource: dict[str, Any],
    url_timeout: float = 30,
    max_content_length: int | str = "default",
    method: str = "GET",
) -> dict[str, Any]:
    """Download a resource's file to a temporary one, which the caller removes.

    :param url_timeout: seconds to wait for the first byte
    :param max_content_length: bytes, or "default" for the option
    :returns: ``mimetype``, ``size``, ``hash``, ``headers``, ``saved_file``, ``url_redirected_to``, ``request_type``
    :raises LinkInvalidError: the URL cannot be requested
    :raises ChooseNotToDownload: the file is too large
    :raises DownloadError: the server did not return the file
    """
    limits = replace(config.limits(), first_byte_timeout=float(url_timeout))
    if max_content_length != "default":
        limits = replace(limits, max_content_length=int(max_content_length))
    archive_dir = config.archive_dir()
    spool = store.spool(archive_dir, DIRECT) if archive_dir else Path(tempfile.gettempdir())
    request = FetchRequest(url=resource["url"], format=resource.get("format") or "")
    outcome = engine.fetch(request, limits=limits, policy=config.policy(), spool=spool)
    _raise_for(outcome, errors.DownloadError)
    return {
        "mimetype": outcome.mimetype,
        "size": outcome.size,
        "hash": outcome.sha1,
        "headers": dict(outcome.headers),
        "saved_file": str(outcome.temp_path),
        "url_redirected_to": outcome.final_url if outcome.hops else None,
        "request_type": method,
        "filename": outcome.filename,
    }


def archive_resource(
    context: Any,
    resource: dict[str, Any],
    log: Any = None,
    result: dict[str, Any] | None = None,
    url_timeout: float = 30,
) -> dict[str, Any]:
    """Move a file that ``download`` fetched into the archive.

    :returns: ``cache_filepath`` and ``cache_url``
    :raises ArchiveError: there is no archive, or the file cannot be saved
    """
    archive_dir = config.archive_dir()
    if archive_dir is None:
        raise errors.ArchiveError("ckanext-archiver.archive_dir is not set.")
    result = result or download(context, resource, url_timeout)
    name = result.get("filename") or "resource"
    try:
        path = store.keep(Path(result["saved_file"]), archive_dir, resource["id"], name)
    except (OSError, ValueError) as e:
        raise errors.ArchiveError(f"The file cannot be saved: {e}") from e
    url = decide.cache_url(transaction.options(), resource.get("package_id", ""), resource["id"], path.name)
    return {"cache_filepath": str(path), "cache_url": url}


def _raise_for(outcome: Outcome, failure: type[errors.DownloadException]) -> None:
    if outcome.cause is Cause.OK:
        return
    message = reasons.reason(outcome.detail, outcome.facts)
    kinds = {Cause.BAD_URL: errors.LinkInvalidError, Cause.TOO_LARGE: errors.ChooseNotToDownload}
    if outcome.detail == "scheme-refused":
        failure = errors.LinkInvalidError
    if failure is errors.LinkHeadRequestError and _has_good_status(outcome):
        # Callers want the headers, as of a file that is too large or empty.
        return
    raise kinds.get(outcome.cause, failure)(message, outcome.final_url if outcome.hops else None)


def _has_good_status(outcome: Outcome) -> bool:
    return outcome.http_status is not None and 200 <= outcome.http_status < 300


# -- map services --------------------------------------------------------------------------------------------

API_REQUESTS = (("WMS", "1.3"), ("WMS", "1.1.1"), ("WFS", "2.0"))


def api_request(context: Any, resource: dict[str, Any]) -> dict[str, Any] | None:
    """Send the GetCapabilities requests of map services to an address.

    :returns: the result of :func:`download` for the first request that succeeds, with the ``request_type``
        "WMS 1.3", "WMS 1.1.1" or "WFS 2.0"; None when none succeeds
    """
    address = resource["url"].partition("?")[0]
    for service, version in API_REQUESTS:
        url = f"{address}?service={service}&request=GetCapabilities&version={version}"
        try:
            found = download(context, {**resource, "url": url})
        except errors.DownloadException as e:
            log.info("Resource %s is no %s %s: %s", resource.get("id"), service, version, e)
        else:
            return {**found, "request_type": f"{service} {version}"}
    return None


_API_ERROR = re.compile(r"<(?:\w+:)?(?:ServiceExceptionReport|ExceptionReport)\b")


def response_is_an_api_error(response_body: str | bytes) -> bool:
    """Whether the beginning of a response is an OGC exception report; the status does not count."""
    first = response_body[:250]
    return bool(_API_ERROR.search(first.decode("utf-8", "replace") if isinstance(first, bytes) else first))
