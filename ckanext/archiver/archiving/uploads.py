"""Uploads: files that CKAN itself stores. They are read from its storage, so the address guard needs no exception.

Only where a plugin stores uploads in its own way (object storage, before CKAN 2.12) is the file requested from the
portal's own URL, which is then the one exception.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from ckan import model
from ckan.lib import uploader

from ckanext.archiver import config
from ckanext.archiver.engine import fetch as engine
from ckanext.archiver.engine import filenames, media_types, store, urls
from ckanext.archiver.engine.failure import Failure
from ckanext.archiver.engine.outcome import Cause, FetchRequest, Limits, Outcome

log = logging.getLogger(__name__)

CHUNK = 1 << 16


def fetch(
    resource_id: str,
    filename: str,
    spool: Path | None,
    limits: Limits,
    *,
    check_only: bool,
    stop: threading.Event | None = None,
) -> Outcome:
    """Copy an uploaded file into the spool.

    :param stop: once set, a download over HTTP is abandoned
    :returns: OK, TOO_LARGE, GONE when the file is missing from the storage, BLOCKED when a plugin stores it and the
        portal does not return it to anonymous users, or OWN_FAULT when the storage or disk fails
    """
    facts = {"filename": filename}
    sink = store.Sink(None if check_only else spool)
    try:
        with _open(resource_id) as stream:
            return _copy(stream, filename, sink, limits)
    except _StoredByPlugin:
        return _by_url(resource_id, filename, spool, limits, check_only, stop)
    except FileNotFoundError:
        return Outcome(Cause.GONE, "upload-missing", facts, url=filename)
    except Failure as failure:
        return Outcome(failure.cause, failure.detail, failure.facts, url=filename)
    except OSError as e:
        log.warning("The upload of resource %s cannot be read: %s", resource_id, e)
        return Outcome(Cause.OWN_FAULT, "upload-unreadable", facts, url=filename)
    finally:
        sink.discard()


class _StoredByPlugin(Exception):
    """A plugin stores the uploads, and only it knows where."""


@contextlib.contextmanager
def _open(resource_id: str) -> Iterator[Any]:
    """The content of an upload as a stream, wherever this CKAN stores it.

    :raises FileNotFoundError: there is no such file
    :raises _StoredByPlugin: see there
    """
    upload = uploader.get_resource_uploader({"id": resource_id, "url_type": "upload"})
    storage = getattr(upload, "storage", None)
    if hasattr(storage, "stream"):
        with _streamed(storage, upload.get_path(resource_id)) as stream:
            yield stream
        return
    with _path(upload, resource_id).open("rb") as stream:
        yield stream


def _path(upload: Any, resource_id: str) -> Path:
    """The path of an upload.

    :raises _StoredByPlugin: the uploader's path is not a file on this machine
    :raises OSError: there is no storage, or it is empty
    """
    if not isinstance(upload, uploader.ResourceUpload):
        path = Path(str(upload.get_path(resource_id))) if hasattr(upload, "get_path") else None
        if path is None or not path.is_file():
            raise _StoredByPlugin
        return path
    if upload.storage_path is None:
        raise OSError("ckan.storage_path is not set")
    path = Path(upload.get_path(resource_id))
    if not path.exists():
        _fail_if_empty(upload.storage_path)
    return path


def _fail_if_empty(directory: str) -> None:
    """A storage without any file is most likely not mounted, which must not make each of its files missing.

    :raises OSError: the storage is empty
    """
    if not os.path.isdir(directory) or not os.listdir(directory):
        raise OSError(f"the storage {directory} is empty")


@contextlib.contextmanager
def _streamed(storage: Any, location: str) -> Iterator[Any]:
    """A file of CKAN 2.12's file storages, as a stream.

    :raises FileNotFoundError: there is no such file
    :raises OSError: the storage fails
    """
    import file_keeper  # CKAN 2.12 has it, 2.11 has not
    from file_keeper.default.adapters.fs import FsStorage

    data = file_keeper.FileData(file_keeper.Location(location))
    try:
        chunks = storage.stream(data)
        try:
            # A file on disk is a stream already; iterated, it would yield lines of any length.
            yield chunks if hasattr(chunks, "read") else _Chunks(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
    except file_keeper.exc.MissingFileError as e:
        if isinstance(storage, FsStorage):
            _fail_if_empty(storage.settings.path)
        raise FileNotFoundError(str(e)) from e
    except file_keeper.exc.FilesError as e:
        raise OSError(str(e)) from e


class _Chunks:
    """A stream of chunks of any size, read like a file."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = iter(chunks)

    def read(self, size: int) -> bytes:
        return next(filter(None, self._chunks), b"")


def _copy(stream: IO[bytes], filename: str, sink: store.Sink, limits: Limits) -> Outcome:
    head = b""
    sink.write(b"")  # an empty upload is a file too
    while chunk := stream.read(CHUNK):
        if sink.size + len(chunk) > limits.max_content_length:
            facts = {"limit": limits.max_content_length}
            return Outcome(Cause.TOO_LARGE, "too-large", facts, url=filename, final_url=filename)
        head = head or chunk[: media_types.SNIFF_BYTES]
        sink.write(chunk)
    mimetype = media_types.mimetype(None, head, filename)
    return Outcome(
        Cause.OK,
        "ok-upload",
        url=filename,
        final_url=filename,
        temp_path=sink.finish(),
        size=sink.size,
        sha256=sink.sha256,
        sha1=sink.sha1,
        filename=filenames.upload_filename(filename, mimetype),
        mimetype=mimetype,
        bytes_read=sink.size,
    )


# -- stored by a plugin --------------------------------------------------------------------------------------


def _by_url(
    resource_id: str,
    filename: str,
    spool: Path | None,
    limits: Limits,
    check_only: bool,
    stop: threading.Event | None,
) -> Outcome:
    """Request the file from the portal, as an anonymous user. A file that it does not return (of a private dataset) may
    well exist."""
    policy = config.policy()
    site = config.site_url_internally()
    policy = replace(policy, allowed_addresses=(*policy.allowed_addresses, urls.host_of(site)))
    # With a format, a log-in page is not taken for the file.
    format_ = filename.rpartition(".")[2]
    request = FetchRequest(_download_url(site, resource_id, filename), format_, check_only=check_only)
    found = engine.fetch(request, limits=limits, policy=policy, spool=spool, stop=stop)
    if found.cause is Cause.OWN_FAULT:
        return replace(found, url=filename)
    if found.cause not in (Cause.OK, Cause.TOO_LARGE):
        return Outcome(Cause.BLOCKED, "upload-elsewhere", {"filename": filename}, url=filename)
    # How the portal serves it says nothing about the file: neither the URL nor the storage's redirects are kept.
    return Outcome(
        found.cause,
        "ok-upload" if found.cause is Cause.OK else found.detail,
        {} if found.cause is Cause.OK else found.facts,
        url=filename,
        final_url=filename,
        temp_path=found.temp_path,
        size=found.size,
        sha256=found.sha256,
        sha1=found.sha1,
        mimetype=found.mimetype,
        filename=filenames.upload_filename(filename, found.mimetype),
        bytes_read=found.bytes_read,
        seconds=found.seconds,
    )


def _download_url(site: str, resource_id: str, filename: str) -> str:
    package_id = model.Session.query(model.Resource.package_id).filter_by(id=resource_id).scalar()
    # No transaction stays open while the request waits for its response.
    model.Session.rollback()
    return f"{site}/dataset/{package_id}/resource/{resource_id}/download/{quote(filename)}"
