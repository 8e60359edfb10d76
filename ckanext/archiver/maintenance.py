"""Maintenance by operators: forget, count, move and remove cached copies.

Nothing here follows a symbolic link out of the archive directory, and each function can be run again after an
interruption. A long function is a generator that yields after each step, so that its caller can show progress.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import sqlalchemy as sa
from ckan import model

from ckanext.archiver.engine import store
from ckanext.archiver.errors import ArchiverError
from ckanext.archiver.legacy import task_status

BATCH = 10_000

YOUNG = 24 * 3600
"""Seconds for which a file without an archival is left alone: a worker may be about to write the row."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

KB, MB, GB = 1024, 1024**2, 1024**3
_SIZES = (
    (KB, "<1 KB"),
    (10 * KB, "1-10 KB"),
    (100 * KB, "10-100 KB"),
    (MB, "100 KB - 1 MB"),
    (10 * MB, "1-10 MB"),
    (100 * MB, "10-100 MB"),
    (GB, "100 MB - 1 GB"),
    (10 * GB, "1-10 GB"),
    (100 * GB, "10-100 GB"),
)


class OutsideArchiveError(ArchiverError):
    """A path leads out of the archive directory."""


@dataclass(frozen=True)
class SizeClass:
    """The copies within a range of sizes: how many, and their bytes in total."""

    label: str
    files: int
    bytes: int


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


# -- forgetting --------------------------------------------------------------------------------------------


def clean_status() -> int:
    """Forget the state and history of all links, in a transaction of its own; the files stay.

    :returns: the number of links
    """
    session = model.Session
    count = session.execute(sa.text("DELETE FROM archival")).rowcount
    # Not deleted: the difference from indexed_facet is what makes the search index forget as well.
    session.execute(sa.text("UPDATE archiver_dataset SET facet = NULL"))
    # The longest table. It is locked until the commit, so it comes last.
    session.execute(sa.text("TRUNCATE archival_check"))
    session.commit()
    return int(count)


def count_cached() -> int:
    """The number of archivals with a copy."""
    value = model.Session.execute(
        sa.text("SELECT count(*) FROM archival WHERE cache_url <> '' OR cache_filepath <> ''")
    ).scalar()
    model.Session.rollback()
    return int(value or 0)


def clean_cached_resources() -> Iterator[int]:
    """Forget the copies, but not the verdicts; the files stay. Commits each batch and yields its size."""
    last = ""
    while True:
        count, last = model.Session.execute(
            sa.text(
                """
                WITH batch AS (
                    SELECT id FROM archival WHERE id > :last AND (cache_url <> '' OR cache_filepath <> '')
                    ORDER BY id LIMIT :batch
                ), done AS (
                    UPDATE archival SET cache_url = NULL, cache_filepath = NULL, size = NULL, mimetype = NULL,
                        hash = NULL, sha256 = NULL, etag = NULL, last_modified = NULL, cached_at = NULL
                    WHERE id IN (SELECT id FROM batch)
                )
                SELECT count(*), max(id) FROM batch
                """
            ),
            {"last": last, "batch": BATCH},
        ).one()
        model.Session.commit()
        if not count:
            return
        yield int(count)


# -- sizes -------------------------------------------------------------------------------------------------


def size_report() -> list[SizeClass]:
    """The copies of resources that are not deleted, by size."""
    rows = model.Session.execute(
        sa.text(
            """
            SELECT width_bucket(a.size, :bounds) AS place, count(*), sum(a.size)
            FROM archival a
            JOIN resource r ON r.id = a.resource_id AND r.state <> 'deleted'
            JOIN package p ON p.id = r.package_id AND p.state <> 'deleted'
            WHERE a.cache_filepath <> '' AND a.size IS NOT NULL
            GROUP BY place
            """
        ),
        # A class includes its upper bound; a bucket of PostgreSQL begins with it.
        {"bounds": [bound + 1 for bound, _ in _SIZES]},
    ).fetchall()
    model.Session.rollback()
    found = {place: (int(files), int(bytes_)) for place, files, bytes_ in rows}
    labels = [label for _, label in _SIZES] + [">100 GB"]
    return [SizeClass(label, *found.get(place, (0, 0))) for place, label in enumerate(labels)]


def larger_than(limit: int) -> tuple[int, int]:
    """(number, bytes) of the copies of more than ``limit`` bytes."""
    row = model.Session.execute(
        sa.text(
            """
            SELECT count(*), coalesce(sum(size), 0) FROM archival
            WHERE size > :limit AND cache_filepath <> ''
            """
        ),
        {"limit": limit},
    ).one()
    model.Session.rollback()
    return int(row[0]), int(row[1])


def delete_larger_than(limit: int, archive_dir: Path) -> Iterator[Step]:
    """Remove the copies of more than ``limit`` bytes, and forget them. Yields each.

    The file is removed before the row: an interruption between the two is made up for by the next run, since a
    missing file counts as removed.
    """
    rows = model.Session.execute(
        sa.text(
            """
            SELECT resource_id, cache_filepath FROM archival
            WHERE size > :limit AND cache_filepath <> '' ORDER BY resource_id
            """
        ),
        {"limit": limit},
    ).fetchall()
    model.Session.rollback()
    for resource_id, path in rows:
        try:
            remove_copy(archive_dir, Path(path))
        except FileNotFoundError:
            pass
        except (OSError, OutsideArchiveError) as e:
            yield Step(resource_id, path, str(e))
            continue
        _forget_copy(resource_id, path)
        yield Step(resource_id, path)


def _forget_copy(resource_id: str, path: str) -> None:
    model.Session.execute(
        sa.text(
            """
            UPDATE archival SET cache_filepath = NULL, cache_url = NULL, cached_at = NULL
            WHERE resource_id = :id AND cache_filepath = :path
            """
        ),
        {"id": resource_id, "path": path},
    )
    model.Session.commit()


# -- layout ------------------------------------------------------------------------------------------------


def count_old_dirs(archive_dir: Path) -> int:
    """The number of directories in the layout of early releases."""
    return sum(1 for _ in _old_dirs(archive_dir))


def migrate_archive_dirs(archive_dir: Path) -> Iterator[Step]:
    """Move ``<archive_dir>/<id>/`` to ``<archive_dir>/<id[:2]>/<id>/`` and update the archivals. Yields each.

    The archivals are updated at the end, all at once; after an interruption the next run updates them.
    """
    failed = []
    for directory in sorted(_old_dirs(archive_dir)):
        resource_id = directory.name
        try:
            _move(directory, archive_dir)
        except (OSError, OutsideArchiveError) as e:
            failed.append(resource_id)
            yield Step(resource_id, str(directory), str(e))
        else:
            yield Step(resource_id, str(directory))
    for root in {str(archive_dir), str(archive_dir.resolve())}:
        _update_paths(root, failed)
    model.Session.commit()


def _old_dirs(archive_dir: Path) -> Iterator[Path]:
    with os.scandir(archive_dir) as entries:
        for entry in entries:
            if _UUID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def _move(directory: Path, archive_dir: Path) -> None:
    target = store.resource_dir(archive_dir, directory.name)
    target.parent.mkdir(exist_ok=True)
    if not target.parent.resolve().is_relative_to(archive_dir.resolve()):
        raise OutsideArchiveError(f"{target.parent} leads out of the archive directory")
    if not target.exists():
        directory.rename(target)
        return
    # The resource was archived again since: the newer copy wins, and no file is overwritten.
    for file in sorted(directory.iterdir()):
        if (target / file.name).exists():
            raise FileExistsError(f"the file {target / file.name} exists already")
        file.rename(target / file.name)
    directory.rmdir()


def _update_paths(root: str, failed: list[str]) -> None:
    model.Session.execute(
        sa.text(
            """
            UPDATE archival SET
                cache_filepath = replace(cache_filepath, old, new),
                cache_url = CASE
                    WHEN strpos(cache_url, new) > 0 THEN cache_url ELSE replace(cache_url, old, new)
                END
            FROM (
                SELECT id AS archival_id, '/' || resource_id || '/' AS old,
                    '/' || left(resource_id, 2) || '/' || resource_id || '/' AS new
                FROM archival
            ) AS places
            WHERE archival_id = id AND starts_with(cache_filepath, :root || old) AND NOT (resource_id = ANY(:failed))
            """
        ),
        {"root": root, "failed": failed},
    )


# -- orphans -----------------------------------------------------------------------------------------------


def copies(archive_dir: Path) -> Iterator[Copy]:
    """Every file at a place for copies, in the current layout or that of 0.1. Symbolic links are skipped."""
    for directory in _subdirectories(archive_dir):
        if _UUID.fullmatch(directory.name):
            yield from _files(directory)
        elif len(directory.name) == 2:
            for inner in _subdirectories(directory):
                if inner.name[:2] == directory.name:
                    yield from _files(inner)


def orphans(archive_dir: Path, on_progress: Callable[[int], object] = int) -> Iterator[Copy]:
    """The files that no archival has as its copy, except those too young to know (see ``YOUNG``).

    :param on_progress: called with the number of files examined since the last call
    """
    oldest = time.time() - YOUNG
    files = copies(archive_dir)
    while batch := list(islice(files, 1000)):
        on_progress(len(batch))
        known = _known({copy.resource_id for copy in batch})
        for copy in batch:
            if copy.changed < oldest and (copy.resource_id, copy.path.name) not in known:
                yield copy


def delete_orphans(archive_dir: Path) -> Iterator[Step]:
    """Remove the orphans. Yields each."""
    for copy in orphans(archive_dir):
        try:
            remove_copy(archive_dir, copy.path)
        except (OSError, OutsideArchiveError) as e:
            yield Step(copy.resource_id, str(copy.path), str(e))
        else:
            yield Step(copy.resource_id, str(copy.path))


def missing_copies() -> Iterator[Step]:
    """The archivals whose copy is not on this machine's disk."""
    last = ""
    while True:
        rows = model.Session.execute(
            sa.text(
                """
                SELECT resource_id, cache_filepath FROM archival
                WHERE resource_id > :last AND cache_filepath <> '' ORDER BY resource_id LIMIT :batch
                """
            ),
            {"last": last, "batch": BATCH},
        ).fetchall()
        model.Session.rollback()
        if not rows:
            return
        last = rows[-1][0]
        for resource_id, path in rows:
            if not os.path.exists(path):
                yield Step(resource_id, path, "There is no such file.")


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


def _known(resource_ids: set[str]) -> set[tuple[str, str]]:
    """(resource id, file name) of the copies that archivals have, or that resources of release 0.1 have and that were
    not migrated yet (see :mod:`task_status`).

    Only the ends of paths are compared: the directory may be spelled in another way, through a symbolic link or from
    before the archive was moved.
    """
    params = {"ids": sorted(resource_ids)}
    paths = (
        model.Session.execute(
            sa.text("SELECT cache_filepath FROM archival WHERE resource_id = ANY(:ids) AND cache_filepath <> ''"),
            params,
        )
        .scalars()
        .all()
    )
    extras = (
        model.Session.execute(
            sa.text("""
            SELECT r.extras FROM resource r LEFT JOIN archival a ON a.resource_id = r.id
            WHERE r.id = ANY(:ids) AND a.id IS NULL AND r.extras LIKE '%"cache_filepath"%'
        """),
            params,
        )
        .scalars()
        .all()
    )
    model.Session.rollback()
    of_0_1 = [task_status.cache_filepath(text) for text in extras]
    return {(Path(path).parent.name, Path(path).name) for path in [*paths, *of_0_1] if path}


def _subdirectories(directory: Path) -> list[Path]:
    with os.scandir(directory) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


def _files(directory: Path) -> Iterator[Copy]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                stat = entry.stat(follow_symlinks=False)
                yield Copy(directory.name, Path(entry.path), stat.st_size, stat.st_mtime)
