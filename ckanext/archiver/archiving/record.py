"""The archival's row: read with its resource, made from what was seen, and written, many at a time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import clock, config, schedule
from ckanext.archiver.engine import reasons, store
from ckanext.archiver.engine.outcome import Cause, Outcome, Verdict
from ckanext.archiver.model import Archival, Status
from ckanext.archiver.verdict import Judgement, status_text

# -- reading -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """A resource as the worker needs it, and what is known of it."""

    resource_id: str
    package_id: str
    package_name: str
    organization: str
    url: str
    url_type: str
    format: str
    timestamp: datetime | None
    archival: Mapping[str, Any] | None

    @property
    def is_upload(self) -> bool:
        """Whether CKAN itself has the file."""
        return self.url_type == "upload"

    @property
    def known(self) -> Mapping[str, Any]:
        """The archival, as far as it is about this URL."""
        if self.archival is None or self.archival["source_url"] != self.url:
            return {}
        return self.archival


_KNOWN = [column.name for column in Archival.__table__.columns]

_LINK = sa.text(f"""
    SELECT r.id AS resource_id, r.package_id, p.name AS package_name, coalesce(g.name, '') AS organization,
           coalesce(r.url, '') AS url, coalesce(r.url_type, '') AS url_type, coalesce(r.format, '') AS format,
           r.last_modified AS timestamp, {", ".join(f"a.{name} AS a_{name}" for name in _KNOWN)}
    FROM resource r JOIN package p ON p.id = r.package_id LEFT JOIN "group" g ON g.id = p.owner_org
    LEFT JOIN archival a ON a.resource_id = r.id
    WHERE r.id = ANY(:ids) AND r.state = 'active' AND p.state IN ('active', 'draft')
""")  # noqa: S608 - constants only


def load(resource_ids: Sequence[str]) -> dict[str, Link]:
    """The active ones of some resources, by id, with what is known of them."""
    rows = model.Session.connection().execute(_LINK, {"ids": list(resource_ids)}).mappings()
    return {row["resource_id"]: _link(row) for row in rows}


def _link(row: Mapping[str, Any]) -> Link:
    archival = {name: row[f"a_{name}"] for name in _KNOWN} if row["a_id"] else None
    return Link(**{name: row[name] for name in row if not name.startswith("a_")}, archival=archival)


def is_recorded(row: Mapping[str, Any]) -> bool:
    """Whether the file on disk is the copy that the row tells of.

    It is not when a worker died, or lost the database, between putting a newer copy in place and writing the row:
    the file's time, which is set to the row's, differs then.
    """
    try:
        found = Path(row["cache_filepath"]).stat()
    except OSError:
        return False
    kept = clock.aware(row["cached_at"])
    return found.st_size == row["size"] and (kept is None or abs(found.st_mtime - kept.timestamp()) < 0.01)


# -- writing -----------------------------------------------------------------------------------------------


# One parameter, whatever the number of rows. The columns of the history that the archival has too have its names.
_SAVE = sa.text(f"""
    WITH given AS MATERIALIZED (SELECT CAST(:rows AS json) AS rows),
    remembered AS (
        INSERT INTO archival_check (resource_id, checked_at, verdict, cause, detail, http_status, size, seconds)
        SELECT resource_id, checked_at, verdict, cause, detail, http_status, seen_size, seconds
        FROM given CROSS JOIN json_to_recordset(given.rows) AS r (
            resource_id text, checked_at timestamp, verdict text, cause text, detail text, http_status int,
            seen_size bigint, seconds float8, remember bool)
        WHERE r.remember
    )
    INSERT INTO archival ({", ".join(_KNOWN)})
    SELECT {", ".join(f"r.{name}" for name in _KNOWN)}
    FROM given CROSS JOIN json_populate_recordset(CAST(NULL AS archival), given.rows) AS r ORDER BY r.resource_id
    ON CONFLICT (resource_id) DO UPDATE SET
        {", ".join(f"{name} = EXCLUDED.{name}" for name in _KNOWN if name not in ("id", "created", "resource_id"))}
""")  # noqa: S608 - constants only


def save(rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert or update archivals, in the caller's transaction, and remember the runs that count.

    :param rows: what :func:`values` made, with ``seen_size`` (bytes), ``seconds`` and ``remember`` of the run
    """
    if rows:
        text = json.dumps(rows, default=datetime.isoformat)
        model.Session.connection().execute(_SAVE, {"rows": text})


def values(link: Link, outcome: Outcome, judgement: Judgement, now: datetime) -> dict[str, Any]:
    """The archival's columns after this run."""
    old, known = link.archival or {}, link.known
    moment = clock.naive(now)
    verdict = judgement.verdict
    assert verdict is not None  # noqa: S101 - a run that is held never comes here
    not_changed = outcome.not_modified or (bool(outcome.sha256) and outcome.sha256 == known.get("sha256"))
    status = status_text(outcome.cause, verdict, not_changed=not_changed)
    failing = verdict in (Verdict.FAILING, Verdict.BROKEN)
    first_failure = clock.naive(judgement.first_failure)
    broken_since = (known.get("broken_since") or moment) if verdict is Verdict.BROKEN else None
    values = {
        "id": old.get("id") or model.types.make_uuid(),
        "package_id": link.package_id,
        "resource_id": link.resource_id,
        "resource_timestamp": link.timestamp,
        "status_id": Status.by_text(status),
        "is_broken": verdict.is_broken,
        "reason": "" if status == "Archived successfully" else reasons.reason(outcome.detail, outcome.facts),
        "url_redirected_to": outcome.final_url if outcome.hops else None,
        "first_failure": first_failure,
        "last_success": clock.naive(judgement.last_success),
        "failure_count": judgement.failure_count,
        "created": old.get("created") or moment,
        "updated": moment,
        "source_url": link.url,
        "verdict": str(verdict),
        "cause": str(outcome.cause),
        "detail": outcome.detail,
        "facts": dict(outcome.facts),
        "not_sure_reason": str(outcome.cause) if verdict is Verdict.NOT_SURE else None,
        "http_status": outcome.http_status,
        "failing_since": first_failure if failing else None,
        "broken_since": broken_since,
        "checked_at": moment,
        "permanent_url": outcome.permanent_url,
        "certificate_expires": clock.naive(outcome.certificate.not_after) if outcome.certificate else None,
    }
    values.update(_copy_values(link, outcome, moment, not_changed=not_changed))
    values["next_check_at"] = clock.naive(
        schedule.next_check(
            config.recheck(),
            verdict,
            now,
            stable_since=clock.aware(values["changed_at"]),
            broken_since=clock.aware(broken_since),
            retry_after=outcome.retry_after,
        )
    )
    return values


COPY_COLUMNS = (
    "cache_filepath",
    "cache_url",
    "size",
    "mimetype",
    "hash",
    "sha256",
    "changed_at",
    "cached_at",
)


def _copy_values(link: Link, outcome: Outcome, now: datetime | None, *, not_changed: bool) -> dict[str, Any]:
    """The columns about the copy. A failure leaves the copy we have, which is what people want then."""
    old, known = link.archival or {}, link.known
    values = {name: old.get(name) for name in COPY_COLUMNS}
    # A validator is of use only for the URL it came from.
    values.update({name: known.get(name) for name in ("etag", "last_modified")})
    if outcome.cause is not Cause.OK:
        values.update(_true_copy(old, now))
        return values
    values.update(
        etag=outcome.etag or values["etag"] if outcome.not_modified else outcome.etag,
        last_modified=outcome.last_modified or values["last_modified"]
        if outcome.not_modified
        else outcome.last_modified,
    )
    if outcome.temp_path is None:
        if outcome.mimetype and not outcome.not_modified:
            values["mimetype"] = outcome.mimetype
        return values
    path = outcome.temp_path
    values.update(
        cache_filepath=str(path),
        cache_url=cache_url(link.package_id, link.resource_id, path.name),
        size=outcome.size,
        mimetype=outcome.mimetype,
        hash=outcome.sha1,
        sha256=outcome.sha256,
        changed_at=known.get("changed_at") if not_changed else now,
        cached_at=now,
    )
    return values


def _true_copy(old: Mapping[str, Any], now: datetime | None) -> dict[str, Any]:
    """The columns of a copy that is not the one the row tells of (see :func:`is_recorded`): as the file is."""
    path = old.get("cache_filepath")
    if not path or old.get("cached_at") is None or is_recorded(old) or not Path(path).is_file():
        return {}
    with open(path, "rb") as file:
        sha256, sha1 = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
        for chunk in iter(lambda: file.read(1 << 20), b""):
            sha256.update(chunk)
            sha1.update(chunk)
        found = os.fstat(file.fileno())
    moment = clock.naive(datetime.fromtimestamp(found.st_mtime, timezone.utc))
    same = sha256.hexdigest() == old.get("sha256")
    return {
        "size": found.st_size,
        "hash": sha1.hexdigest(),
        "sha256": sha256.hexdigest(),
        "cached_at": moment,
        "changed_at": old.get("changed_at") if same else now,
        "etag": None,
        "last_modified": None,
    }


def cache_url(package_id: str, resource_id: str, filename: str) -> str:
    """The public address of a copy: below ``cache_url_root``, else CKAN's own page for it."""
    root = config.cache_url_root()
    if root:
        return store.cache_url(root, resource_id, filename)
    return f"{config.site_url()}/dataset/{package_id}/resource/{resource_id}/cached"
