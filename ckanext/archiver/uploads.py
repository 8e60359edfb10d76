"""Files that CKAN itself has: read from its storage, never over HTTP, so the address guard has no exception."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ckan.lib import uploader

from ckanext.archiver.engine import names, store
from ckanext.archiver.engine.outcome import Cause, Limits, Outcome
from ckanext.archiver.engine.wire import Failure

log = logging.getLogger(__name__)

CHUNK = 1 << 16


def fetch(
    resource_id: str, filename: str, spool: Path | None, limits: Limits, *, check_only: bool
) -> Outcome:
    """Copy an uploaded file into the spool.

    :returns: OK, TOO_LARGE, GONE when CKAN has lost the file, or OWN_FAULT when the storage or disk fails
    """
    facts = {"filename": filename}
    sink = store.Sink(None if check_only else spool)
    try:
        with _open(resource_id) as stream:
            return _copy(stream, filename, sink, limits)
    except FileNotFoundError:
        return Outcome(Cause.GONE, "upload-missing", facts, url=filename)
    except Failure as failure:
        return Outcome(failure.cause, failure.detail, failure.facts, url=filename)
    except OSError as e:
        log.warning("The upload of resource %s cannot be read: %s", resource_id, e)
        return Outcome(Cause.OWN_FAULT, "upload-unreadable", facts, url=filename)
    finally:
        sink.discard()


@contextlib.contextmanager
def _open(resource_id: str) -> Iterator[Any]:
    """The bytes of an upload, wherever this CKAN keeps them.

    :raises FileNotFoundError: when there is no such file
    """
    upload = uploader.get_resource_uploader({"id": resource_id, "url_type": "upload"})
    storage = getattr(upload, "storage", None)
    if storage is None:
        path = Path(upload.get_path(resource_id))
        if not path.exists() and not any(Path(upload.storage_path).iterdir()):
            # Most likely not mounted: no upload is there at all.
            raise OSError(f"the storage {upload.storage_path} is empty")
        with path.open("rb") as stream:
            yield stream
        return
    import file_keeper

    data = file_keeper.FileData(file_keeper.Location(upload.get_path(resource_id)))
    try:
        chunks = storage.stream(data)
        try:
            # A file on disk is its own stream; as an iterator it would give lines, as long as they may be.
            yield chunks if hasattr(chunks, "read") else _Chunks(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
    except file_keeper.exc.MissingFileError as e:
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
    sink.write(b"")  # an empty file is a file too
    while chunk := stream.read(CHUNK):
        if sink.size + len(chunk) > limits.max_content_length:
            facts = {"limit": limits.max_content_length}
            return Outcome(Cause.TOO_LARGE, "too-large", facts, url=filename, final_url=filename)
        head = head or chunk[:4096]
        sink.write(chunk)
    mimetype = names.mimetype(None, head, filename)
    return Outcome(
        Cause.OK, "ok-upload", url=filename, final_url=filename, temp_path=sink.finish(), size=sink.size,
        sha256=sink.sha256, sha1=sink.sha1, filename=names.upload_filename(filename, mimetype),
        mimetype=mimetype, bytes_read=sink.size,
    )  # fmt: skip
