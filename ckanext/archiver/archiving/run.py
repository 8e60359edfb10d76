"""One look at one link: fetch it, and bring its file into the archive. No transaction is open here."""

from __future__ import annotations

import errno
import logging
import threading
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ckanext.archiver import archive_root, config, retention
from ckanext.archiver.archiving import record, uploads
from ckanext.archiver.archiving.types import ClaimedRequest, Link, Run
from ckanext.archiver.engine import fetch as engine
from ckanext.archiver.engine import store, urls
from ckanext.archiver.engine.outcome import Cause, FetchRequest, Outcome
from ckanext.archiver.queue import leases

log = logging.getLogger(__name__)


def look(request: ClaimedRequest, link: Link) -> Run:
    """Look at the link of a claimed request. Nothing is raised for what the remote side does."""
    outcome = fetch(request, link)
    if outcome.detail == "stopped" and not leases.current().stopping.is_set():
        outcome = replace(outcome, detail="gave-way")
    run = Run(request, link, outcome, outcome.temp_path)
    try:
        _make_resource_dir(run)
        if outcome.cause not in (Cause.OK, Cause.OWN_FAULT):
            run.actual_copy = record.actual_copy(link.archival)
    except BaseException:
        # The database may be away, which says whether the archive is mounted.
        remove_temporary(run)
        raise
    return run


def poisoned(request: ClaimedRequest, link: Link) -> Run:
    """The run of a link that killed its workers: nothing is fetched."""
    outcome = Outcome(Cause.OWN_FAULT, "poison", {"times": request.claim.deaths}, url=link.url)
    return Run(request, link, outcome, actual_copy=record.actual_copy(link.archival))


def fetch(request: ClaimedRequest, link: Link) -> Outcome:
    """Fetch a link, or only check it, as the mode and the archive directory allow."""
    if request.admission.down_since is not None:
        facts = {"host": request.claim.host, "since": request.admission.down_since.date().isoformat()}
        return Outcome(Cause.UNREACHABLE, "host-down", facts, url=link.url)
    check_only = _only_checks(request, link)
    spool: Path | None = None
    archive_dir = config.archive_dir()
    if not check_only and archive_dir is not None:
        try:
            if not archive_root.is_mounted(archive_dir):
                return Outcome(Cause.OWN_FAULT, "disk-broken", url=link.url)
            if store.free_bytes_lately(archive_dir) < config.min_free_bytes():
                return Outcome(Cause.OWN_FAULT, "disk-full", url=link.url)
            spool = store.spool(archive_dir, request.claim.worker_id)
        except OSError as e:
            log.warning("The archive directory cannot be used: %s", e)
            return Outcome(Cause.OWN_FAULT, "disk-broken", url=link.url)
    limits, stop = config.limits(), _stop(request)
    if link.is_upload:
        return uploads.fetch(link.resource_id, link.url, spool, limits, check_only=check_only, stop=stop)
    wanted = FetchRequest(
        url=_requested_url(link),
        format=link.format,
        check_only=check_only,
        keep_doubtful=True,
        hints=request.admission.hints,
    )
    if not check_only:
        wanted = _compared_with_copy(wanted, link)
    return engine.fetch(wanted, limits=limits, policy=config.policy(), spool=spool, stop=stop)


class _Until(threading.Event):
    """Set when another event is, or after some seconds."""

    def __init__(self, event: threading.Event, seconds: float) -> None:
        super().__init__()
        self._event, self._ends = event, time.monotonic() + seconds

    def is_set(self) -> bool:
        """The engine asks nothing else of it, and waits for no event."""
        return self._event.is_set() or time.monotonic() > self._ends


def _stop(request: ClaimedRequest) -> threading.Event:
    stopping = leases.current().stopping
    return stopping if request.edit_seconds is None else _Until(stopping, request.edit_seconds)


def _requested_url(link: Link) -> str:
    """The link; the raw URL where the ``http://`` before it makes no link either: its fault can be named better."""
    if link.url != link.raw_url and isinstance(urls.normalise(link.url), urls.BadUrl):
        return link.raw_url
    return link.url


def _only_checks(request: ClaimedRequest, link: Link) -> bool:
    """Whether no file is to be kept."""
    if config.archive_dir() is None or not store.is_storable(link.resource_id):
        return True
    if not link.known.get("cache_filepath") and not retention.has_room(link.organization, link.known.get("size")):
        return True
    mode = config.mode_for(
        dataset=link.package_name, organization=link.organization, host=request.claim.host, format=link.format
    )
    return mode == "check"


def _compared_with_copy(request: FetchRequest, link: Link) -> FetchRequest:
    """The request made conditional, and with what the copy is: only while we still have the copy of this very URL.

    A copy in another directory is one that readers do not get: the option was changed, and a new copy is wanted.
    """
    known, archive_dir = link.known, config.archive_dir() or ""
    path = known.get("cache_filepath")
    if not path or not archive_root.holds(archive_dir, path) or not record.is_recorded(known):
        return request
    request = replace(request, etag=known["etag"], last_modified=known["last_modified"])
    if known["source_format"] not in (None, link.format):
        return request
    return replace(request, kept_mimetype=known["mimetype"], kept_filename=Path(known["cache_filepath"]).name)


# -- the file ----------------------------------------------------------------------------------------------


def _make_resource_dir(run: Run) -> None:
    """Make the directory for the downloaded file: here, so that the shared transaction need not wait for the disk."""
    archive_dir = config.archive_dir()
    if run.temp_path is not None and archive_dir is not None:
        try:
            _fail_if_not_mounted(archive_dir)
            run.has_older_copies = not store.make_resource_dir(archive_dir, run.link.resource_id)
        except OSError as e:
            run.outcome = _disk_failed(run.outcome, e)


def _fail_if_not_mounted(archive_dir: str) -> None:
    if not archive_root.is_mounted(archive_dir):
        raise OSError(errno.ENODEV, "the archive is not mounted", archive_dir)


def place_copy(run: Run, now: datetime) -> None:
    """Move the file to its place, before anything is written about it: a row never names a file that is not there.

    A disk that fails here is our own fault: the outcome becomes OWN_FAULT.
    """
    outcome, archive_dir = run.outcome, config.archive_dir()
    if outcome.temp_path is None or archive_dir is None:
        return
    name = outcome.filename or "resource"
    try:
        path = store.place(outcome.temp_path, archive_dir, run.link.resource_id, name, now)
        run.outcome, run.temp_path = replace(outcome, temp_path=path), None
        store.sync_name(path)
    except OSError as e:
        run.outcome = _disk_failed(outcome, e)


def _disk_failed(outcome: Outcome, error: OSError) -> Outcome:
    return replace(outcome, cause=Cause.OWN_FAULT, detail=store.disk_failure(error).detail, facts={}, temp_path=None)


def remove_temporary(run: Run) -> None:
    """Remove the downloaded file, and the directory that was made for it, unless the file is in the archive."""
    if run.temp_path is not None:
        run.temp_path.unlink(missing_ok=True)
        run.temp_path = None
        archive_dir = config.archive_dir()
        if archive_dir is not None and not run.has_older_copies:
            store.remove_empty_resource_dir(archive_dir, run.link.resource_id)


def remove_older_copies(run: Run, cache_filepath: str | None) -> None:
    """Remove what the copy that was just downloaded replaces, and what a worker left that died before it wrote the row.

    Any other file that no row names stays: after a restore of the database, or ``clean-status``, it may be the only
    copy of a link that is broken by now.
    """
    archive_dir, resource_id = config.archive_dir(), run.link.resource_id
    if archive_dir is None or not store.is_storable(resource_id):
        return
    if cache_filepath:
        is_new = cache_filepath == str(run.outcome.temp_path)
        if is_new or (run.claim.deaths and Path(cache_filepath).exists()):
            store.remove_others(archive_dir, resource_id, cache_filepath)
    elif run.claim.deaths and store.resource_dir(archive_dir, resource_id).is_dir():
        store.remove(archive_dir, resource_id)
