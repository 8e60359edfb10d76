"""Files that CKAN itself has: read from its storage, never over HTTP, so the address guard has no exception."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ckan.lib import uploader

from ckanext.archiver.engine import names
from ckanext.archiver.engine.outcome import Cause, Limits, Outcome

log = logging.getLogger(__name__)

CHUNK = 1 << 16


def fetch(resource_id: str, filename: str, spool: Path | None, limits: Limits, *, check_only: bool) -> Outcome:
    """Copy an uploaded file into the spool.

    :returns: OK, TOO_LARGE, GONE when CKAN has lost the file, or OWN_FAULT when the storage or disk fails
    """
    facts = {"filename": filename}
    try:
        with _open(resource_id) as stream:
            return _copy(stream, filename, spool, limits, check_only=check_only)
    except FileNotFoundError:
        return Outcome(Cause.GONE, "upload-missing", facts, url=filename)
    except OSError as e:
        log.warning("The upload of resource %s cannot be read: %s", resource_id, e)
        return Outcome(Cause.OWN_FAULT, "upload-unreadable", facts, url=filename)


@contextlib.contextmanager
def _open(resource_id: str) -> Iterator[Any]:
    """The bytes of an upload, wherever this CKAN keeps them.

    :raises FileNotFoundError: when there is no such file
    """
    upload = uploader.get_resource_uploader({"id": resource_id, "url_type": "upload"})
    storage = getattr(upload, "storage", None)
    if storage is None:
        with open(upload.get_path(resource_id), "rb") as stream:
            yield stream
        return
    import file_keeper

    data = file_keeper.FileData(file_keeper.Location(upload.get_path(resource_id)))
    try:
        yield _Chunks(storage.stream(data))
    except file_keeper.exc.MissingFileError as e:
        raise FileNotFoundError(str(e)) from e
    except file_keeper.exc.FilesError as e:
        raise OSError(str(e)) from e


class _Chunks:
    """A stream of chunks of any size, read like a file."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = iter(chunks)

    def read(self, size: int) -> bytes:
        return next(self._chunks, b"")


def _copy(stream: IO[bytes], filename: str, spool: Path | None, limits: Limits, *, check_only: bool) -> Outcome:
    sha256, sha1, size, head = hashlib.sha256(), hashlib.sha1(usedforsecurity=False), 0, b""
    path: Path | None = None
    with contextlib.ExitStack() as stack:
        target: IO[bytes] | None = None
        if spool is not None and not check_only:
            handle, name = tempfile.mkstemp(dir=spool)
            path, target = Path(name), stack.enter_context(os.fdopen(handle, "wb"))
        try:
            while chunk := stream.read(CHUNK):
                size += len(chunk)
                head = head or chunk[:4096]
                if size > limits.max_content_length:
                    return _too_large(filename, limits, path)
                sha256.update(chunk)
                sha1.update(chunk)
                if target is not None:
                    target.write(chunk)
        except OSError:
            if path is not None:
                path.unlink(missing_ok=True)
            raise
    return Outcome(
        Cause.OK, "ok-upload", url=filename, final_url=filename, temp_path=path, size=size,
        sha256=sha256.hexdigest(), sha1=sha1.hexdigest(), filename=names.filename(None, filename, None),
        mimetype=names.mimetype(None, head, filename), bytes_read=size,
    )  # fmt: skip


def _too_large(filename: str, limits: Limits, path: Path | None) -> Outcome:
    if path is not None:
        path.unlink(missing_ok=True)
    return Outcome(Cause.TOO_LARGE, "too-large", {"limit": limits.max_content_length}, url=filename, final_url=filename)
