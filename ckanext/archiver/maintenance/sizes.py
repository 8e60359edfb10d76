"""What the cached copies take: by size, organization, format and host; and removing the large ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from ckan import model

from ckanext.archiver.maintenance.files import OutsideArchiveError, Step, remove_copy

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


@dataclass(frozen=True)
class SizeClass:
    """Copies that have a size, an organization, a format or a host in common: how many, and their bytes in total."""

    label: str
    files: int
    bytes: int


_KEPT = """
    FROM archival a
    JOIN resource r ON r.id = a.resource_id AND r.state <> 'deleted'
    JOIN package p ON p.id = r.package_id AND p.state <> 'deleted'
    LEFT JOIN "group" g ON g.id = p.owner_org
    WHERE a.cache_filepath <> '' AND a.size IS NOT NULL
"""


def size_report() -> list[SizeClass]:
    """The copies of resources that are not deleted, by size."""
    rows = model.Session.execute(
        sa.text(
            f"SELECT width_bucket(a.size, :bounds) AS place, count(*), sum(a.size) {_KEPT} GROUP BY place"  # noqa: S608
        ),
        # A class includes its upper bound; a bucket of PostgreSQL begins with it.
        {"bounds": [bound + 1 for bound, _ in _SIZES]},
    ).fetchall()
    model.Session.rollback()
    found = {place: (int(files), int(bytes_)) for place, files, bytes_ in rows}
    labels = [label for _, label in _SIZES] + [">100 GB"]
    return [SizeClass(label, *found.get(place, (0, 0))) for place, label in enumerate(labels)]


_GROUPS = {
    "organization": "coalesce(g.name, '')",
    "format": "upper(coalesce(r.format, ''))",
    "host": "coalesce(a.host, '')",
}
GROUPS = tuple(_GROUPS)


def sizes_by(group: str) -> list[SizeClass]:
    """The copies of resources that are not deleted, by organization, format or host: those that take most come first.

    :param group: one of ``GROUPS``
    """
    rows = model.Session.execute(
        sa.text(f"""
            SELECT {_GROUPS[group]} AS label, count(*) AS files, sum(a.size) AS bytes
            {_KEPT} GROUP BY label ORDER BY bytes DESC, label
        """)  # noqa: S608 - constants only
    ).all()
    model.Session.rollback()
    return [SizeClass(label, int(files), int(bytes_)) for label, files, bytes_ in rows]


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
