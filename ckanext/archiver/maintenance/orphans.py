"""Files of no link, and links whose copy is missing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import retention
from ckanext.archiver.legacy import task_status
from ckanext.archiver.maintenance.files import Copy, OutsideArchiveError, Step, copies, remove_copy

BATCH = 10_000

YOUNG = 24 * 3600
"""Seconds for which a file without an archival is left alone: a worker may be about to write the row."""


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


def copies_of_deleted() -> tuple[int, int]:
    """(number, bytes) of the copies of deleted resources, which a worker removes once they are old enough."""
    row = model.Session.execute(
        sa.text(f"""
            SELECT count(*), coalesce(sum(a.size), 0) FROM archival a
            WHERE a.cache_filepath <> '' AND NOT {retention.IS_PRESENT}
        """)  # noqa: S608 - constants only
    ).one()
    model.Session.rollback()
    return int(row[0]), int(row[1])


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
