"""Which copies are removed: those of deleted resources after a while, and those over a quota.

A copy is dropped in two steps. One transaction takes it from the archival's row and writes a notice; the file is
removed when the notice is delivered (:mod:`~ckanext.archiver.queue.notices`), by another worker where this one dies.

A quota is measured once a minute. In between, a link without a copy is downloaded only where there was room (see
:func:`has_room`), so the quota may be exceeded for a minute by what the workers download in it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ckanext.archiver import compat, config
from ckanext.archiver.queue import rounds, sql
from ckanext.archiver.worst_link import WITHOUT_COPY_SQL

log = logging.getLogger(__name__)

BATCH = 300
"""Copies that one transaction drops: about as many as the workers remove until the next one."""

IS_PRESENT = """EXISTS (
    SELECT 1 FROM resource r JOIN package p ON p.id = r.package_id
    WHERE r.id = a.resource_id AND r.state <> 'deleted' AND p.state <> 'deleted')"""
"""A condition: the resource of the archival ``a`` is not deleted, nor is its dataset."""

# A run that is going on may be about to renew the copy.
_DROP = """
    WITH chosen AS MATERIALIZED (
        SELECT a.resource_id FROM archival a
        WHERE a.resource_id = ANY(:ids) AND a.cache_filepath <> ''
            AND NOT EXISTS (
                SELECT 1 FROM archiver_request q WHERE q.resource_id = a.resource_id AND q.lease_token IS NOT NULL)
        ORDER BY a.resource_id FOR UPDATE OF a SKIP LOCKED
    ), dropped AS (
        UPDATE archival a SET cache_filepath = NULL, cache_url = NULL, cached_at = NULL
        FROM chosen WHERE a.resource_id = chosen.resource_id RETURNING a.resource_id
    )
    INSERT INTO archiver_notice (operation, resource_id) SELECT 'dropped', resource_id FROM dropped
"""


_OF_RESOURCES = "package_id IN (SELECT o.package_id FROM archival o WHERE o.resource_id = ANY(:ids))"


def _drop(resource_ids: Sequence[str]) -> int:
    """Drop the copies of resources, in the caller's transaction, except of those that are being archived."""
    ids = list(resource_ids)
    dropped = int(sql.run(_DROP, ids=ids).rowcount)
    if dropped:
        sql.run(f"{WITHOUT_COPY_SQL} AND {_OF_RESOURCES}", ids=ids)
    return dropped


# -- deleted resources ---------------------------------------------------------------------------------------

_NOTE_DELETED = f"""
    UPDATE archival a SET deleted_since = timezone('utc', now())
    WHERE a.deleted_since IS NULL AND a.cache_filepath <> '' AND NOT {IS_PRESENT}
"""  # noqa: S608 - constants only
_NOTE_RESTORED = f"UPDATE archival a SET deleted_since = NULL WHERE a.deleted_since IS NOT NULL AND {IS_PRESENT}"  # noqa: S608


def note_deleted() -> int:
    """Record since when resources with a copy are deleted, and that restored ones are not, in the caller's transaction.
    Once an hour, by one of all workers.

    :returns: for how many resources it changed
    """
    if not rounds.is_my_turn("deleted", 3600):
        return 0
    return int(sql.run(_NOTE_DELETED).rowcount) + int(sql.run(_NOTE_RESTORED).rowcount)


_EXPIRED = f"""
    SELECT a.resource_id FROM archival a
    WHERE a.deleted_since <= timezone('utc', now()) - :days * interval '1 day' AND a.cache_filepath <> ''
        AND NOT {IS_PRESENT}
    ORDER BY a.deleted_since LIMIT :batch
"""  # noqa: S608 - constants only


def drop_expired() -> int:
    """Drop copies of resources that have been deleted for ``orphan_grace_days``, in the caller's transaction.

    :returns: how many
    """
    expired = sql.run(_EXPIRED, days=config.orphan_grace_days(), batch=BATCH).scalars().all()
    dropped = _drop(expired) if expired else 0
    if dropped:
        log.info("The copies of %s deleted resources are removed", dropped)
    return dropped


# -- quotas ----------------------------------------------------------------------------------------------------

_USED = """
    SELECT coalesce(g.name, '') AS organization, sum(a.size) AS bytes
    FROM archival a JOIN package p ON p.id = a.package_id LEFT JOIN "group" g ON g.id = p.owner_org
    WHERE a.cache_filepath <> '' GROUP BY 1
"""

# The first are the ones that are missed least: CKAN has uploads itself, what works can be fetched again, and a copy of
# a broken link may be the last there is.
_RANK = """
    CASE WHEN r.url_type = 'upload' THEN 0
        ELSE coalesce(array_position(ARRAY['ok', 'not-sure', 'failing', 'broken'], a.verdict), 1) END,
    a.size DESC, a.resource_id
"""
_LEAST_NEEDED = f"""
    SELECT resource_id, size FROM (
        SELECT a.resource_id, a.size, sum(a.size) OVER (ORDER BY {_RANK}) - a.size AS before
        FROM archival a JOIN package p ON p.id = a.package_id JOIN resource r ON r.id = a.resource_id
            LEFT JOIN "group" g ON g.id = p.owner_org
        WHERE a.cache_filepath <> '' AND a.size > 0 AND (:organization = '' OR g.name = :organization)
        ORDER BY {_RANK} LIMIT :batch
    ) AS ranked WHERE before < :bytes
"""  # noqa: S608 - constants only

_NOTE_ROOM = """
    INSERT INTO archiver_state (key, value) VALUES ('quota', CAST(:room AS jsonb))
    ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = now()
"""
_ROOM = "SELECT value FROM archiver_state WHERE key = 'quota'"


def enforce_quotas() -> int:
    """Measure what the copies take, and drop those over a quota, in transactions of its own. Once a minute, by one of
    all workers.

    :returns: how many copies were dropped
    """
    total, each = config.quota_bytes(), config.quota_bytes_per_organization()
    with sql.transaction():
        if not rounds.is_my_turn("quota", 60):
            return 0
        if not (total or each):
            sql.run("DELETE FROM archiver_state WHERE key = 'quota'")
            return 0
        used = {row.organization: int(row.bytes or 0) for row in sql.run(_USED)}
        sql.run(_NOTE_ROOM, room=json.dumps(_room(used, total, each)))
    dropped = 0
    over = {name: bytes_ - each for name, bytes_ in used.items() if each and name and bytes_ > each}
    for organization, excess in over.items():
        dropped += _drop_least_needed(excess, organization)
    excess = sum(used.values()) - total if total else 0
    # What was dropped just now is measured in a minute: never drop for both quotas at once.
    if excess > 0 and not dropped:
        dropped += _drop_least_needed(excess, "")
    return dropped


def _drop_least_needed(excess: int, organization: str) -> int:
    with sql.transaction():
        rows = sql.run(_LEAST_NEEDED, bytes=excess, organization=organization, batch=BATCH).all()
        dropped = _drop([row.resource_id for row in rows])
    if dropped:
        whose = f"organization {organization}" if organization else "the portal"
        log.warning("The copies of %s exceed its quota by %s bytes: %s are removed", whose, f"{excess:,}", dropped)
    return dropped


def _room(used: Mapping[str, int], total: int, each: int) -> dict[str, Any]:
    """The bytes left in total, and of those organizations where a file could be too large for what is left."""
    largest = config.limits().max_content_length
    left = {name: each - bytes_ for name, bytes_ in used.items() if each and name}
    return {
        "total": total - sum(used.values()) if total else None,
        "organizations": {name: bytes_ for name, bytes_ in left.items() if bytes_ < largest},
    }


ROOM_SECONDS = 5.0
_known: tuple[float, Mapping[str, Any]] = (float("-inf"), {})


def has_room(organization: str, size: int | None) -> bool:
    """Whether a link without a copy may get one, in a transaction of its own. Five seconds old at most.

    :param size: bytes of its file when there was a copy; None where there was none
    """
    if not (config.quota_bytes() or config.quota_bytes_per_organization()):
        return True
    global _known
    if time.monotonic() - _known[0] > ROOM_SECONDS:
        with sql.transaction():
            _known = time.monotonic(), compat.parsed_json(sql.run(_ROOM).scalar()) or {}
    room = _known[1]
    left = [room.get("total"), room.get("organizations", {}).get(organization)]
    return all(bytes_ is None or (bytes_ > 0 and bytes_ >= (size or 0)) for bytes_ in left)


def full_quotas() -> list[str]:
    """What has no room left, in the caller's transaction: names of organizations, and an empty one for the portal."""
    room = compat.parsed_json(sql.run(_ROOM).scalar()) or {}
    full = [name for name, bytes_ in room.get("organizations", {}).items() if bytes_ <= 0]
    total = room.get("total")
    return ([""] if total is not None and total <= 0 else []) + sorted(full)
