"""Move the cached copies of early releases to where later releases keep them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from ckan import model

from ckanext.archiver.engine import store
from ckanext.archiver.maintenance.files import UUID, OutsideArchiveError, Step


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
            if UUID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
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
