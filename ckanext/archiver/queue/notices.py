"""Notices to other extensions: written with the archival, delivered after its commit, deleted when delivered.

A worker that is killed in between leaves them for another (``deliver_left``), so every subscriber hears of
everything at least once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ckan.plugins as p
import sqlalchemy as sa
from ckan import model

from ckanext.archiver import config
from ckanext.archiver.ckan_context import ckan_context
from ckanext.archiver.engine import store
from ckanext.archiver.interfaces import IPipe
from ckanext.archiver.queue import leases
from ckanext.archiver.queue.types import DIRECT

log = logging.getLogger(__name__)

LEASE_SECONDS = 300
"""Time to deliver what was taken, before another does."""

MOST_ATTEMPTS = 5
"""A notice that was not delivered so often, because who took it died, is given up."""

_ADD = sa.text("""
    INSERT INTO archiver_notice (operation, package_id, resource_id, queue, cache_filepath, lease_token, leased_by,
                                 leased_until)
    SELECT operation, package_id, resource_id, queue, cache_filepath, token, worker_id,
           now() + :lease * interval '1 second'
    FROM ROWS FROM (json_to_recordset(CAST(:notices AS json)) AS (
        operation text, package_id text, resource_id text, queue text, cache_filepath text, token text, worker_id text
    )) WITH ORDINALITY AS n (operation, package_id, resource_id, queue, cache_filepath, token, worker_id, number)
    ORDER BY number
""")


def wanted() -> bool:
    """Whether any extension listens."""
    return any(True for _ in p.PluginImplementations(IPipe))


@dataclass(frozen=True)
class Notice:
    """An event, held by ``token`` until it is delivered; None leaves it to any worker."""

    operation: str
    queue: str
    package_id: str
    token: str | None
    worker_id: str | None
    resource_id: str | None = None
    cache_filepath: str | None = None


def add(notices: Sequence[Notice]) -> None:
    """Write notices, in the caller's transaction, for who has their tokens in hand to deliver after its commit."""
    params = {"notices": json.dumps([asdict(notice) for notice in notices]), "lease": LEASE_SECONDS}
    model.Session.connection().execute(_ADD, params)


def deliver(token: str) -> int:
    """Deliver the notices that are held by a token, in their order, and delete each when it was delivered.

    :returns: how many
    """
    statement = sa.text("SELECT * FROM archiver_notice WHERE lease_token = :token ORDER BY id")
    rows = model.Session.connection().execute(statement, {"token": token}).mappings().all()
    model.Session.commit()
    with ckan_context():
        for row in rows:
            _tell(dict(row))
            # A subscriber may have left our session in any state.
            model.Session.rollback()
            model.Session.connection().execute(sa.text("DELETE FROM archiver_notice WHERE id = :id"), {"id": row["id"]})
            model.Session.commit()
    return len(rows)


_COUNT_FAILURES = """
    INSERT INTO archiver_state AS s (key, value) VALUES ('subscriber_failures', to_jsonb(CAST(:failed AS int)))
    ON CONFLICT (key) DO UPDATE SET value = to_jsonb(CAST(s.value AS int) + :failed), updated_at = now()
"""


def _tell(notice: dict[str, Any]) -> None:
    operation, queue = notice["operation"], notice["queue"]
    failed = 0
    if operation == "archived":
        failed = IPipe.send_data(
            operation, queue, resource_id=notice["resource_id"], cache_filepath=notice["cache_filepath"]
        )
    elif operation == "package-archived":
        failed = IPipe.send_data(operation, queue, package_id=notice["package_id"], cache_filepath=None)
    elif operation == "purged":
        archive_dir = config.archive_dir()
        if archive_dir:
            store.remove(archive_dir, notice["resource_id"])
    else:
        log.error("A notice of an unknown kind was dropped: %s", notice)
    if failed:
        # A subscriber may have left our session in any state.
        model.Session.rollback()
        model.Session.connection().execute(sa.text(_COUNT_FAILURES), {"failed": failed})
        model.Session.commit()


# What nobody holds, or somebody who is dead, or takes too long. Selected once, as in the dispatcher.
_TAKE = """
    WITH left_over AS MATERIALIZED (
        SELECT n.id FROM archiver_notice n LEFT JOIN archiver_worker w
            ON w.worker_id = n.leased_by AND w.seen_at > now() - :dead * interval '1 second'
        WHERE n.lease_token IS NULL
            OR n.leased_until < now()
            OR (w.worker_id IS NULL AND n.leased_by <> :direct
                AND n.leased_until < now() + (:lease - :dead) * interval '1 second')
        ORDER BY n.id LIMIT :limit FOR UPDATE OF n SKIP LOCKED
    )
    UPDATE archiver_notice SET lease_token = :token, leased_by = :worker, attempts = attempts + 1,
        leased_until = now() + :lease * interval '1 second'
    WHERE id IN (SELECT id FROM left_over)
    RETURNING id, attempts, operation, package_id, resource_id
"""


def deliver_left(limit: int = 100) -> int:
    """Deliver what a dead worker, or a web process, left behind.

    :returns: how many notices were delivered
    """
    token = leases.issue()
    try:
        params = {
            "token": token,
            "worker": leases.worker_id(),
            "direct": DIRECT,
            "limit": limit,
            "lease": LEASE_SECONDS,
            "dead": config.worker_dead_seconds(),
        }
        taken = model.Session.connection().execute(sa.text(_TAKE), params).mappings().all()
        for notice in taken:
            if notice["attempts"] > MOST_ATTEMPTS:
                log.error("A notice is given up, since who delivers it dies: %s", dict(notice))
                model.Session.connection().execute(
                    sa.text("DELETE FROM archiver_notice WHERE id = :id"), {"id": notice["id"]}
                )
        model.Session.commit()
        return deliver(token) if taken else 0
    finally:
        leases.discard(token)
