"""The files of the archive: where cached copies are, and how one is removed."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ckanext.archiver.errors import ArchiverError

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class OutsideArchiveError(ArchiverError):
    """A path leads out of the archive directory."""


@dataclass(frozen=True)
class Step:
    """One copy that was processed; ``problem`` says why it could not be."""

    resource_id: str
    path: str
    problem: str | None = None


@dataclass(frozen=True)
class Copy:
    """A file in the archive, at a place for copies of ``resource_id``."""

    resource_id: str
    path: Path
    bytes: int
    changed: float
    """Seconds since the epoch."""


def copies(archive_dir: Path) -> Iterator[Copy]:
    """Every file at a place for copies, in the current layout or that of 0.1. Symbolic links are skipped."""
    for directory in _subdirectories(archive_dir):
        if UUID.fullmatch(directory.name):
            yield from _files(directory)
        elif len(directory.name) == 2:
            for inner in _subdirectories(directory):
                if inner.name[:2] == directory.name:
                    yield from _files(inner)


def remove_copy(archive_dir: Path, path: Path) -> None:
    """Remove a file of the archive, and its directories if they are then empty.

    Of a symbolic link, the link is removed, never its target.

    :raises OutsideArchiveError: the file is not in the archive
    :raises OSError: it cannot be removed, or is not there
    """
    root = archive_dir.resolve()
    directory = path.parent.resolve(strict=True)
    if root not in directory.parents:
        raise OutsideArchiveError(f"{path} is not in {archive_dir}")
    (directory / path.name).unlink()
    for empty in (directory, directory.parent):
        if empty == root:
            return
        # Usually it has other files, or a worker is adding one at this moment.
        with contextlib.suppress(OSError):
            empty.rmdir()


def _subdirectories(directory: Path) -> list[Path]:
    with os.scandir(directory) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


def _files(directory: Path) -> Iterator[Copy]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                stat = entry.stat(follow_symlinks=False)
                yield Copy(directory.name, Path(entry.path), stat.st_size, stat.st_mtime)
