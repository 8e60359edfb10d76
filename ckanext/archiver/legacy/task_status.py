"""The state that release 0.1 kept: rows of CKAN's ``task_status``, and columns and extras of the resources themselves.

A row of ``task_status`` with task_type "archiver" and key "status" has the status text in ``value`` and JSON in
``error``: ``reason``, ``last_success``, ``first_failure``, ``failure_count``, ``url_redirected_to``. Its times are
ISO 8601 in the time zone of the machine that ran the worker, which is assumed to be that of this machine (variable
``TZ``). The copy is described by the resource's columns ``cache_url``, ``hash``, ``size``, ``mimetype`` and its extra
``cache_filepath``. Rows with other keys ("celery_task_id") are about runs, not links.
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from ckan import model
from sqlalchemy.dialects.postgresql import insert

from ckanext.archiver import clock, links
from ckanext.archiver.engine.outcome import Cause, Verdict
from ckanext.archiver.model import Archival, Status

BATCH = 1000

ADDED = "Added to the table archival"
KNOWN = "Has an archival already, left unchanged"
NEITHER = "Nothing but a status that no release had"

_CAUSES = {
    0: Cause.OK,
    1: Cause.OK,
    10: Cause.BAD_URL,
    11: Cause.UNREACHABLE,
    12: Cause.SERVER_ERROR,
    21: Cause.TOO_LARGE,
    22: Cause.OWN_FAULT,
    23: Cause.OWN_FAULT,
}
_VERDICTS = {True: Verdict.BROKEN, False: Verdict.OK, None: Verdict.NOT_SURE}

_FROM = """
    FROM resource r
    LEFT JOIN task_status t ON t.entity_id = r.id AND t.task_type = 'archiver' AND t.key = 'status'
    LEFT JOIN archival a ON a.resource_id = r.id
    WHERE r.state = 'active' AND (t.id IS NOT NULL OR r.cache_url <> '' OR r.extras LIKE '%"cache_filepath"%')
"""
_COUNT = f"SELECT count(*) {_FROM}"  # noqa: S608 - constants
_NEXT = f"""
    SELECT r.id, r.package_id, r.url, r.cache_url, r.hash, r.size, r.mimetype, r.last_modified, r.extras,
        t.value AS status, t.error, t.last_updated, a.id IS NOT NULL AS known
    {_FROM} AND r.id > :last ORDER BY r.id LIMIT :batch
"""  # noqa: S608 - constants


def count() -> int:
    """The number of resources with state of 0.1."""
    value = model.Session.execute(sa.text(_COUNT)).scalar()
    model.Session.rollback()
    return int(value or 0)


def migrate(write: bool) -> Iterator[Counter[str]]:
    """Make archivals from the state of 0.1. Yields the number of resources by outcome, after each batch.

    A resource that has an archival keeps it, since the code that wrote it is newer than 0.1. So this can be run again.

    :param write: False counts only
    """
    last = ""
    while True:
        rows = model.Session.execute(sa.text(_NEXT), {"last": last, "batch": BATCH}).mappings().all()
        model.Session.rollback()
        if not rows:
            break
        last = rows[-1]["id"]
        outcomes: Counter[str] = Counter()
        new = []
        for row in rows:
            values = None if row["known"] else archival_values(row)
            outcomes[KNOWN if row["known"] else ADDED if values else NEITHER] += 1
            if values:
                new.append(values)
        if write and new:
            model.Session.execute(
                insert(Archival.__table__).on_conflict_do_nothing(index_elements=["resource_id"]), new
            )
            model.Session.commit()
        yield outcomes
    if write:
        model.Session.execute(sa.text(_PLAN))
        model.Session.commit()


# Over a week, so that the first day does not download everything; the oldest first. Only rows of older releases have no
# detail.
_PLAN = """
    UPDATE archival a SET next_check_at = timezone('utc', now()) + plan.place * interval '7 days'
    FROM (
        SELECT id, percent_rank() OVER (ORDER BY checked_at NULLS FIRST, id) AS place
        FROM archival WHERE next_check_at IS NULL AND detail IS NULL
    ) AS plan
    WHERE a.id = plan.id
"""


def archival_values(row: Any) -> dict[str, Any] | None:
    """The columns of an archival for the state of 0.1; None when there is none.

    :param row: a mapping with the columns that :data:`_NEXT` selects
    """
    path = cache_filepath(row["extras"])
    status_id = Status._by_text.get(row["status"] or "")
    if status_id is None and not (path or row["cache_url"]):
        return None
    details = _dict(row["error"])
    is_broken = Status.is_status_broken(status_id)
    updated = clock.naive(row["last_updated"])
    first_failure, last_success = _time(details.get("first_failure")), _time(details.get("last_success"))
    # A failure that did not make the link broken (a file that was too large) is not the start of an outage.
    failing_since = (first_failure or updated) if is_broken else None
    times = [moment for moment in (updated, first_failure, last_success) if moment]
    return {
        "id": str(uuid.uuid4()),
        "package_id": row["package_id"],
        "resource_id": row["id"],
        "resource_timestamp": row["last_modified"],
        "status_id": status_id,
        "is_broken": is_broken,
        "reason": details.get("reason") or None,
        "url_redirected_to": details.get("url_redirected_to") or None,
        "cache_filepath": path,
        "cache_url": row["cache_url"] or None,
        "size": row["size"],
        "mimetype": row["mimetype"],
        "hash": row["hash"] or None,
        "first_failure": failing_since,
        "last_success": last_success,
        "failure_count": max(_number(details.get("failure_count")), 1) if is_broken else 0,
        "created": min(times, default=None),
        "updated": updated,
        "source_url": links.shown_url(row["url"]),
        "verdict": _VERDICTS[is_broken].value,
        "cause": None if status_id is None else _CAUSES[status_id].value,
        "failing_since": failing_since,
        "broken_since": failing_since,
        "checked_at": updated,
        "cached_at": last_success if path else None,
    }


def cache_filepath(extras: str | None) -> str | None:
    """The path of the copy of 0.1, for a resource with these extras."""
    return _dict(extras).get("cache_filepath") or None


def _dict(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _time(text: Any) -> datetime.datetime | None:
    """A local time of 0.1 as naive UTC."""
    try:
        return clock.naive(datetime.datetime.fromisoformat(text)) if text else None
    except (TypeError, ValueError):
        return None


def _number(text: Any) -> int:
    try:
        return int(text or 0)
    except (TypeError, ValueError):
        return 0
