"""Notices to other extensions: written with the archival, delivered after its commit, deleted when delivered.

A worker that is killed in between leaves them for another (``deliver_left``), so every subscriber hears of
everything at least once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import sqlalchemy as sa
from ckan import model

import ckan.plugins as p
from ckanext.archiver import config
from ckanext.archiver.engine import store
from ckanext.archiver.interfaces import IPipe
from ckanext.archiver.worker.context import ckan_context

log = logging.getLogger(__name__)

LEASE_SECONDS = 300
"""Time a worker has to deliver what it took, before another tries."""

_ADD = """
    INSERT INTO archiver_notice (operation, package_id, resource_id, queue, cache_filepath, leased_until)
    VALUES (:operation, :package_id, :resource_id, :queue, :cache_filepath, now() + :lease * interval '1 second')
    RETURNING id
"""


def wanted() -> bool:
    """Whether any extension listens."""
    return any(True for _ in p.PluginImplementations(IPipe))


def add(operation: str, queue: str, *, package_id: str, resource_id: str | None = None,
        cache_filepath: str | None = None) -> int:  # fmt: skip
    """Write a notice, in the caller's transaction, for the caller to deliver after its commit.

    :returns: its id
    """
    params = {"operation": operation, "queue": queue, "package_id": package_id, "resource_id": resource_id,
              "cache_filepath": cache_filepath, "lease": LEASE_SECONDS}  # fmt: skip
    return int(model.Session.connection().execute(sa.text(_ADD), params).scalar_one())


def deliver(ids: Sequence[int]) -> None:
    """Deliver notices that this worker holds, in their order, and delete each when it was delivered."""
    if not ids:
        return
    statement = sa.text("SELECT * FROM archiver_notice WHERE id = ANY(:ids) ORDER BY id")
    rows = model.Session.connection().execute(statement, {"ids": list(ids)}).mappings().all()
    model.Session.commit()
    with ckan_context():
        for row in rows:
            _tell(dict(row))
            # A subscriber may have left our session in any state.
            model.Session.rollback()
            model.Session.connection().execute(sa.text("DELETE FROM archiver_notice WHERE id = :id"), {"id": row["id"]})
            model.Session.commit()


def _tell(notice: dict[str, str]) -> None:
    operation, queue = notice["operation"], notice["queue"]
    if operation == "archived":
        IPipe.send_data(operation, queue, resource_id=notice["resource_id"], cache_filepath=notice["cache_filepath"])
    elif operation == "package-archived":
        IPipe.send_data(operation, queue, package_id=notice["package_id"], cache_filepath=None)
    elif operation == "purged":
        archive_dir = config.archive_dir()
        if archive_dir:
            store.remove(archive_dir, notice["resource_id"])
    else:
        log.error("A notice of an unknown kind was dropped: %s", notice)


def deliver_left(limit: int = 100) -> int:
    """Deliver what a dead worker, or a web process, left behind.

    :returns: how many notices were delivered
    """
    ids = (
        model.Session.connection()
        .execute(
            sa.text("""
                UPDATE archiver_notice SET leased_until = now() + :lease * interval '1 second' WHERE id IN (
                    SELECT id FROM archiver_notice WHERE leased_until IS NULL OR leased_until < now()
                    ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED)
                RETURNING id
            """),
            {"lease": LEASE_SECONDS, "limit": limit},
        )
        .scalars()
        .all()
    )
    model.Session.commit()
    deliver(sorted(ids))
    return len(ids)
