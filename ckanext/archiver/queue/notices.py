"""Notices to other extensions: written with the archival, delivered after its commit, deleted when delivered.

A worker that is killed in between leaves them to another one (:func:`deliver_abandoned`), so each notice is delivered
to each subscriber at least once.
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
from ckanext.archiver.queue import leases, sql
from ckanext.archiver.queue.types import DIRECT

log = logging.getLogger(__name__)

LEASE_SECONDS = 300
"""Seconds to deliver claimed notices, before another worker claims them."""

MAX_ATTEMPTS = 5
"""Claims after which a notice is dropped: each of these workers died, or took too long, while it delivered."""

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
    """An event, claimed by ``token`` until it is delivered; None leaves it to any worker."""

    operation: str
    queue: str
    package_id: str
    token: str | None
    worker_id: str | None
    resource_id: str | None = None
    cache_filepath: str | None = None


def add(notices: Sequence[Notice]) -> None:
    """Write notices, in the caller's transaction. The holder of their tokens delivers them after its commit."""
    params = {"notices": json.dumps([asdict(notice) for notice in notices]), "lease": LEASE_SECONDS}
    model.Session.connection().execute(_ADD, params)


def deliver(token: str) -> int:
    """Deliver the notices claimed by a token, in their order, and delete each when it was delivered.

    In transactions of its own: subscribers run in none, and take any time.

    :returns: how many
    """
    with sql.transaction():
        rows = sql.run("SELECT * FROM archiver_notice WHERE lease_token = :token ORDER BY id", token=token)
        notices = [dict(row) for row in rows.mappings()]
    with ckan_context():
        for notice in notices:
            failed = _send(notice)
            # A subscriber may have left our session in any state.
            model.Session.rollback()
            with sql.transaction():
                if failed:
                    sql.run(_COUNT_FAILURES, failed=failed)
                sql.run(_DELETE, id=notice["id"])
    return len(notices)


_DELETE = "DELETE FROM archiver_notice WHERE id = :id"
_COUNT_FAILURES = """
    INSERT INTO archiver_state AS s (key, value) VALUES ('subscriber_failures', to_jsonb(CAST(:failed AS int)))
    ON CONFLICT (key) DO UPDATE SET value = to_jsonb(CAST(s.value AS int) + :failed), updated_at = now()
"""


def _send(notice: dict[str, Any]) -> int:
    """Returns how many subscribers failed."""
    operation, queue = notice["operation"], notice["queue"]
    failed = 0
    if operation == "archived":
        failed = IPipe.send_data(
            operation, queue, resource_id=notice["resource_id"], cache_filepath=notice["cache_filepath"]
        )
    elif operation == "package-archived":
        failed = IPipe.send_data(operation, queue, package_id=notice["package_id"], cache_filepath=None)
    elif operation in ("purged", "dropped"):
        _remove_copy(notice["resource_id"], only_unclaimed=operation == "dropped")
    else:
        log.error("A notice of an unknown kind was dropped: %s", notice)
    return failed


# A claim of the request waits until the file is gone. A run that holds it removes older copies itself.
_LOCK_REQUEST = "SELECT lease_token FROM archiver_request WHERE resource_id = :id FOR UPDATE"
_HAS_COPY = "SELECT 1 FROM archival WHERE resource_id = :id AND cache_filepath <> ''"


def _remove_copy(resource_id: str, *, only_unclaimed: bool) -> None:
    """Remove the files of a resource.

    :param only_unclaimed: leave them where the resource has a copy again, or is being archived
    """
    archive_dir = config.archive_dir()
    if not archive_dir:
        return
    with sql.transaction():
        if only_unclaimed and (
            sql.run(_LOCK_REQUEST, id=resource_id).scalar() or sql.run(_HAS_COPY, id=resource_id).scalar()
        ):
            return
        store.remove(archive_dir, resource_id)


# Notices that no worker holds, or a worker that is dead or takes too long. MATERIALIZED as in the dispatcher.
_CLAIM_ABANDONED = f"""
    WITH abandoned AS MATERIALIZED (
        SELECT n.id FROM archiver_notice n LEFT JOIN archiver_worker w
            ON w.worker_id = n.leased_by AND {sql.WORKER_IS_ALIVE}
        WHERE n.lease_token IS NULL
            OR n.leased_until < now()
            OR (w.worker_id IS NULL AND n.leased_by <> :direct
                AND n.leased_until < now() + (:lease - :dead) * interval '1 second')
        ORDER BY n.id LIMIT :limit FOR UPDATE OF n SKIP LOCKED
    )
    UPDATE archiver_notice SET lease_token = :token, leased_by = :worker, attempts = attempts + 1,
        leased_until = now() + :lease * interval '1 second'
    WHERE id IN (SELECT id FROM abandoned)
    RETURNING id, attempts, operation, package_id, resource_id
"""  # noqa: S608 - constants only


def deliver_abandoned(limit: int = 100) -> int:
    """Deliver notices of dead workers and of web processes, in transactions of its own.

    :returns: how many notices were delivered
    """
    token = leases.issue()
    try:
        with sql.transaction():
            claimed = _claim_abandoned(token, limit)
        return deliver(token) if claimed else 0
    finally:
        leases.discard(token)


def _claim_abandoned(token: str, limit: int) -> int:
    rows = sql.run(
        _CLAIM_ABANDONED,
        token=token,
        worker=leases.worker_id(),
        direct=DIRECT,
        limit=limit,
        lease=LEASE_SECONDS,
        dead=config.worker_dead_seconds(),
    )
    notices = rows.mappings().all()
    for notice in notices:
        if notice["attempts"] > MAX_ATTEMPTS:
            log.error("A notice is dropped, since workers die while they deliver it: %s", dict(notice))
            sql.run(_DELETE, id=notice["id"])
    return len(notices)
