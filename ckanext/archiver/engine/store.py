"""Files in the archive: written as temp files, moved into place complete, removed when a worker leaves them behind.

Layout: ``<archive_dir>/<id[:2]>/<id>/<filename>``; temp files in ``<archive_dir>/.tmp/<worker>/``.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from .failure import Failure
from .outcome import Cause

log = logging.getLogger(__name__)

TEMP_DIR = ".tmp"
Directory = str | Path
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# CKAN takes for an id everything that uuid.UUID() can read: "urn:uuid:…", "{…}" and stray hyphens as well.
_RESOURCE_ID = re.compile(r"[A-Za-z0-9_:{}-]{2,200}")


class Sink:
    """Counts and hashes the bytes of one file, and writes them to a temp file.

    :param spool: directory for the file, made if it does not exist; None writes nothing
    :param min_free: bytes that must stay free on that disk
    """

    def __init__(self, spool: Path | None, min_free: int = 0) -> None:
        self.size = 0
        self._spool = spool
        self._min_free = min_free
        self._sha256 = hashlib.sha256()
        # Not for security: the "hash" of older releases.
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._handle: int | None = None
        self._path: Path | None = None

    def write(self, data: bytes) -> None:
        """:raises Failure: the disk is full or broken (own-fault)"""
        self.size += len(data)
        self._sha256.update(data)
        self._sha1.update(data)
        if self._spool is None:
            return
        try:
            if self._handle is None:
                self._handle = self._open(self._spool)
            left = memoryview(data)
            while left:
                left = left[os.write(self._handle, left) :]
        except OSError as e:
            raise disk_failure(e) from e

    def finish(self) -> Path | None:
        """The file, closed and flushed to the disk; the caller owns it from now on. None when nothing was written.

        :raises Failure: the disk is full or broken
        """
        try:
            if self._handle is not None:
                _seal(self._handle)
                handle, self._handle = self._handle, None
                os.close(handle)
        except OSError as e:
            raise disk_failure(e) from e
        path, self._path = self._path, None
        return path

    def discard(self) -> None:
        """Remove the file, unless :meth:`finish` has handed it over."""
        handle, path = self._handle, self._path
        self._handle = self._path = None
        try:
            if handle is not None:
                os.close(handle)
        except OSError as e:
            log.debug("Closing %s: %s", path, e)
        if path is not None:
            path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def sha1(self) -> str:
        return self._sha1.hexdigest()

    def _open(self, spool: Path) -> int:
        if self._min_free and free_bytes(spool) < self._min_free:
            raise Failure(Cause.OWN_FAULT, "disk-full")
        try:
            handle, name = tempfile.mkstemp(dir=spool, prefix="fetch-")
        except FileNotFoundError:
            spool.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=spool, prefix="fetch-")
        self._path = Path(name)
        return handle


def disk_failure(error: OSError) -> Failure:
    """An error of the archive's disk is our own fault, never the link's."""
    if error.errno in _FULL:
        return Failure(Cause.OWN_FAULT, "disk-full")
    log.warning("The archive cannot be written: %s", error)
    return Failure(Cause.OWN_FAULT, "disk-broken")


def spool(archive_dir: Directory, worker: str) -> Path:
    """The directory of one worker's temp files, made if it does not exist: on the archive's own disk, for renames.

    :raises OSError: it cannot be made
    """
    directory = Path(archive_dir) / TEMP_DIR / worker
    # A sink makes it again when it was swept away.
    if directory not in _made_spools:
        directory.mkdir(parents=True, exist_ok=True)
        _made_spools.add(directory)
    return directory


_made_spools: set[Path] = set()


def is_storable(resource_id: str) -> bool:
    """Whether an id may become the name of a directory. CKAN accepts nearly every text as an id."""
    return _RESOURCE_ID.fullmatch(resource_id) is not None


def resource_dir(archive_dir: Directory, resource_id: str) -> Path:
    """:raises ValueError: the id may not become the name of a directory"""
    if not is_storable(resource_id):
        raise ValueError(f"not a resource id: {resource_id[:120]!r}")
    return Path(archive_dir) / resource_id[:2] / resource_id


def keep(temp_path: Path, archive_dir: Directory, resource_id: str, filename: str) -> Path:
    """Move a downloaded file into the archive: complete or not at all, whenever the machine stops.

    :param filename: a plain name, as :func:`filenames.filename` makes it
    :raises ValueError: the id or the name could lead elsewhere
    :raises OSError: the disk is full or broken; the temp file is still there
    """
    resource_dir(archive_dir, resource_id)  # before anything is touched
    handle = os.open(temp_path, os.O_RDONLY)
    try:
        _seal(handle)
    finally:
        os.close(handle)
    path = place(temp_path, archive_dir, resource_id, filename)
    sync_name(path)
    return path


def _seal(handle: int) -> None:
    """Flush a file to the disk, and make it readable for the web server (mkstemp's mode is 0600)."""
    os.fchmod(handle, 0o666 & ~_umask())
    os.fsync(handle)


def place(
    temp_path: Path, archive_dir: Directory, resource_id: str, filename: str, time: datetime | None = None
) -> Path:
    """Move a file that a :class:`Sink` finished into the archive; its name is durable after :func:`sync_name`.

    Older copies under other names stay until :func:`remove_others`, so that a row always names a file that exists.

    :param temp_path: the file, which may be in its place in the archive already
    :param filename: a plain name, as :func:`filenames.filename` makes it
    :param time: the modification time to set (aware)
    :returns: the path in the archive
    :raises ValueError: the id or the name could lead elsewhere
    :raises OSError: the disk is full or broken; the temp file is still there
    """
    if filename in ("", ".", "..") or "/" in filename or "\0" in filename:
        raise ValueError(f"not a file name: {filename[:120]!r}")
    path = resource_dir(archive_dir, resource_id) / filename
    if time is not None:
        os.utime(temp_path, (time.timestamp(), time.timestamp()))
    try:
        os.replace(temp_path, path)
    except FileNotFoundError:
        # The directory was removed since, or was never made.
        make_resource_dir(archive_dir, resource_id)
        os.replace(temp_path, path)
    except IsADirectoryError as e:
        raise ValueError(f"a directory stands at {path}") from e
    return path


def make_resource_dir(archive_dir: Directory, resource_id: str) -> bool:
    """Make the directory for a resource's copies.

    :returns: False where it existed, and may hold other copies
    :raises ValueError: not a resource id
    :raises OSError: the disk is full or broken
    """
    directory = resource_dir(archive_dir, resource_id)
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        return False
    except FileNotFoundError:
        # The parent was removed at this moment, together with the last other resource in it.
        directory.mkdir(parents=True, exist_ok=True)
    return True


def remove_empty_resource_dir(archive_dir: Directory, resource_id: str) -> None:
    """Remove a directory that :func:`make_resource_dir` made, if it is empty. Its parent stays: others may need it."""
    directory = resource_dir(archive_dir, resource_id)
    try:
        directory.rmdir()
    except OSError as e:  # most often: it is not empty
        log.debug("%s stays: %s", directory, e)


def sync_name(path: Path) -> None:
    """Flush the name of a file to the disk.

    :raises OSError: the disk is broken
    """
    _sync(path.parent)


def remove_others(archive_dir: Directory, resource_id: str, path: Directory) -> None:
    """Remove all copies of a resource but the one at ``path``; to be called after the row names it.

    :raises ValueError: not a resource id
    """
    kept = Path(path).name
    for entry in _entries(resource_dir(archive_dir, resource_id)):
        if entry.name != kept:
            _remove_entry(entry)


def remove(archive_dir: Directory, resource_id: str) -> None:
    """Remove the copies and the directory of a resource, if they exist.

    :raises ValueError: not a resource id
    """
    directory = resource_dir(archive_dir, resource_id)
    shutil.rmtree(directory, ignore_errors=True)
    try:
        directory.parent.rmdir()
    except OSError as e:  # most often: other resources are in it
        log.debug("%s stays: %s", directory.parent, e)


def sweep(archive_dir: Directory, older_than_seconds: float, live: Collection[str] = ()) -> int:
    """Remove old temp files of workers that are not ``live``.

    :param older_than_seconds: newer files are left alone, whichever worker owns them
    :returns: how many files were removed
    """
    oldest = time.time() - older_than_seconds
    removed = 0
    root = Path(archive_dir) / TEMP_DIR
    for directory in _entries(root):
        if directory.name in live or not directory.is_dir():
            continue
        for file in _entries(directory):
            try:
                if file.stat().st_mtime <= oldest:
                    file.unlink()
                    removed += 1
            except OSError as e:  # another worker removes them as well
                log.debug("%s: %s", file, e)
        try:
            directory.rmdir()
        except OSError as e:
            log.debug("%s stays: %s", directory, e)
    return removed


def free_bytes(archive_dir: Directory) -> int:
    """Bytes available to us on the disk of ``archive_dir`` (or of its nearest parent that exists).

    :raises OSError: no part of the path can be read
    """
    directory = Path(archive_dir)
    while True:
        try:
            status = os.statvfs(directory)
        except FileNotFoundError:
            if directory == directory.parent:
                raise
            directory = directory.parent
        else:
            return status.f_bavail * status.f_frsize


FREE_BYTES_SECONDS = 1.0
_free_bytes: dict[Directory, tuple[float, int]] = {}


def free_bytes_lately(archive_dir: Directory) -> int:
    """:func:`free_bytes`, at most ``FREE_BYTES_SECONDS`` old: for a check before each of many downloads.

    :raises OSError: no part of the path can be read
    """
    read_at, free = _free_bytes.get(archive_dir, (float("-inf"), 0))
    if time.monotonic() - read_at > FREE_BYTES_SECONDS:
        free = free_bytes(archive_dir)
        _free_bytes[archive_dir] = time.monotonic(), free
    return free


def cache_url(root: str, resource_id: str, filename: str) -> str:
    """The public URL of a copy below ``root``."""
    return f"{root.rstrip('/')}/{quote(resource_id[:2])}/{quote(resource_id)}/{quote(filename)}"


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as e:
        log.debug("%s: %s", directory, e)
        return []


def _remove_entry(entry: Path) -> None:
    try:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    except OSError as e:
        log.warning("An old copy could not be removed: %s", e)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@functools.cache
def _umask() -> int:
    """The umask, read from Linux's /proc: os.umask() has to set it, which affects other threads."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except (OSError, ValueError) as e:
        log.debug("umask: %s", e)
    return 0o022
