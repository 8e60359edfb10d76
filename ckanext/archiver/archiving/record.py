"""The archival's row and its file: read with the resource, compared, and written, many rows at a time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import clock, links
from ckanext.archiver.archiving.types import Link, Run
from ckanext.archiver.model import Archival

# -- reading -----------------------------------------------------------------------------------------------

_COLUMNS = [column.name for column in Archival.__table__.columns if column.server_default is None]

_LINK = sa.text(f"""
    SELECT r.id AS resource_id, r.package_id, p.name AS package_name, coalesce(g.name, '') AS organization,
           {links.URL_SQL} AS url, coalesce(r.url, '') AS raw_url, coalesce(r.url_type, '') AS url_type,
           coalesce(r.format, '') AS format, r.last_modified AS timestamp,
           {", ".join(f"a.{name} AS a_{name}" for name in _COLUMNS)}
    FROM resource r JOIN package p ON p.id = r.package_id LEFT JOIN "group" g ON g.id = p.owner_org
    LEFT JOIN archival a ON a.resource_id = r.id
    WHERE r.id = ANY(:ids) AND r.state = 'active' AND p.state IN ('active', 'draft') AND {links.HAS_LINK_SQL}
""")  # noqa: S608 - constants only


def load(resource_ids: Sequence[str]) -> dict[str, Link]:
    """The links of those resources that are active and have one, by resource id, each with its archival."""
    rows = model.Session.connection().execute(_LINK, {"ids": list(resource_ids)}).mappings()
    return {row["resource_id"]: _link(row) for row in rows}


def _link(row: Mapping[str, Any]) -> Link:
    archival = {name: row[f"a_{name}"] for name in _COLUMNS} if row["a_id"] else None
    return Link(**{name: row[name] for name in row if not name.startswith("a_")}, archival=archival)


# -- the copy on disk ----------------------------------------------------------------------------------------


def is_recorded(row: Mapping[str, Any]) -> bool:
    """Whether the file on disk is the copy that the row describes.

    It is not when a worker died, or lost the database, between putting a newer copy in place and writing the row:
    the file's modification time, which is set to the row's ``cached_at``, differs then. Releases 2.x set neither it nor
    the row's ``sha256``: for their copies only the size is compared.
    """
    try:
        status = Path(row["cache_filepath"]).stat()
    except OSError:
        return False
    cached_at = clock.aware(row["cached_at"]) if row["sha256"] else None
    return status.st_size == row["size"] and (cached_at is None or abs(status.st_mtime - cached_at.timestamp()) < 0.01)


def actual_copy(row: Mapping[str, Any] | None) -> dict[str, Any]:
    """The columns of the copy as it is on disk, where the row describes another one (see :func:`is_recorded`).

    Where the row's file is gone and the resource's directory has another, it is that one, with its path: the database
    was restored, and is older than the files. Reads the whole file, so no transaction may be open.

    :returns: nothing where the row is right, or has no copy, or there is no file
    """
    path = row.get("cache_filepath") if row else None
    if row is None or not path or row.get("cached_at") is None or is_recorded(row):
        return {}
    if Path(path).is_file():
        return _columns_of(path)
    other = _newest_file(Path(path).parent) if Path(path).parent.name == row["resource_id"] else None
    return {} if other is None else {"cache_filepath": str(other), **_columns_of(other)}


def _newest_file(directory: Path) -> Path | None:
    try:
        files = [path for path in directory.iterdir() if path.is_file()]
        return max(files, key=lambda path: path.stat().st_mtime, default=None)
    except OSError:
        return None  # the directory is gone too, or another worker removes a file


def _columns_of(path: str | Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        sha256, sha1 = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
        for chunk in iter(lambda: file.read(1 << 20), b""):
            sha256.update(chunk)
            sha1.update(chunk)
        status = os.fstat(file.fileno())
    return {
        "size": status.st_size,
        "hash": sha1.hexdigest(),
        "sha256": sha256.hexdigest(),
        "cached_at": clock.naive(datetime.fromtimestamp(status.st_mtime, timezone.utc)),
    }


# -- writing -----------------------------------------------------------------------------------------------

# One parameter for any number of rows. The columns that archival_check shares with archival have the same names.
_SAVE = sa.text(f"""
    WITH given AS MATERIALIZED (SELECT CAST(:rows AS json) AS rows),
    history AS (
        INSERT INTO archival_check (resource_id, checked_at, verdict, cause, detail, http_status, size, seconds)
        SELECT resource_id, checked_at, verdict, cause, history_detail, http_status, seen_size, seconds
        FROM given CROSS JOIN json_to_recordset(given.rows) AS r (
            resource_id text, checked_at timestamp, verdict text, cause text, history_detail text, http_status int,
            seen_size bigint, seconds float8, is_final bool)
        WHERE r.is_final
    )
    INSERT INTO archival ({", ".join(_COLUMNS)})
    SELECT {", ".join(f"r.{name}" for name in _COLUMNS)}
    FROM given CROSS JOIN json_populate_recordset(CAST(NULL AS archival), given.rows) AS r ORDER BY r.resource_id
    ON CONFLICT (resource_id) DO UPDATE SET
        {", ".join(f"{name} = EXCLUDED.{name}" for name in _COLUMNS if name not in ("id", "created", "resource_id"))}
""")  # noqa: S608 - constants only


def save(runs: Sequence[Run]) -> None:
    """Insert or update the archivals of runs, and add the final ones to the history, in the caller's transaction."""
    rows = [
        {
            **run.decision.values,
            "id": run.decision.values["id"] or model.types.make_uuid(),
            "seen_size": run.outcome.size,
            "seconds": run.outcome.seconds,
            "is_final": run.decision.is_final,
            "history_detail": run.decision.history_detail or run.decision.values["detail"],
        }
        for run in runs
        if run.decision.values is not None
    ]
    if rows:
        text = json.dumps(rows, default=datetime.isoformat)
        model.Session.connection().execute(_SAVE, {"rows": text})
