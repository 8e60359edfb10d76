"""Putting and cancelling requests: the table ``archiver_request`` is the truth, the broker only carries ids.

A request is put in the transaction of the edit that caused it, so that a rolled-back edit leaves none and a
committed one is never lost; the message is sent after the root commit (:mod:`~ckanext.archiver.queue.outbox`).

All times are the database's, so that a wrong clock on a worker does no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import links
from ckanext.archiver.queue import outbox, sql
from ckanext.archiver.queue.types import Queue, Reason

FROM_RESOURCES = f"""
    FROM resource r
    JOIN package p ON p.id = r.package_id
    LEFT JOIN archival a ON a.resource_id = r.id
    WHERE r.state = 'active' AND {links.HAS_LINK_SQL}
"""

_INSERT = f"""
    INSERT INTO archiver_request (resource_id, package_id, queue, host, reason)
    SELECT r.id, r.package_id, :queue, {sql.HOST_OF_URL}, :reason
    {FROM_RESOURCES}
"""  # noqa: S608 - constants only

# A second request only raises the urgency of the first; one that a worker holds runs once more.
_PROMOTE = """
    ON CONFLICT (resource_id) DO UPDATE SET
        queue = EXCLUDED.queue, host = EXCLUDED.host, reason = EXCLUDED.reason, requested_at = now(),
        not_before = now(), attempts = 0, holds = 0, deaths = 0, held = NULL, sent_until = NULL,
        again = archiver_request.lease_token IS NOT NULL
"""

# What was last archived decides whether an edit matters (see changes.py for the rule in words).
_CHANGED = f"""
    {_INSERT}
    AND r.id = :resource_id AND p.state IN ('active', 'draft')
    AND (CASE
        WHEN a.source_url IS NULL THEN :is_new OR :url_changed
        ELSE a.source_url IS DISTINCT FROM {links.URL_SQL}
            OR (r.url_type = 'upload' AND r.last_modified IS DISTINCT FROM a.resource_timestamp)
            OR (a.doubt_detail IS NOT NULL AND a.source_format IS DISTINCT FROM coalesce(r.format, ''))
            OR (:url_changed AND EXISTS (SELECT 1 FROM archiver_request q WHERE q.resource_id = r.id))
        END)
    {_PROMOTE}
    RETURNING resource_id
"""  # noqa: S608 - constants only


# -- putting -----------------------------------------------------------------------------------------------


MAX_ON_PRIORITY = 200
"""Links that one request of an editor may put on the queue ``priority``; a larger selection goes to ``bulk``."""


def put_changed(session: Any, resource_id: str, *, is_new: bool, url_changed: bool) -> bool:
    """Put a request for a resource that was just saved, if the edit is worth an archival.

    Runs in the caller's transaction. The message is sent after its root commit.

    :param is_new: the resource was created by this edit
    :param url_changed: CKAN says that its URL (or uploaded file) changed
    :returns: whether a request was put
    """
    params = {
        "resource_id": resource_id,
        "queue": Queue.PRIORITY,
        "reason": Reason.CHANGED,
        "is_new": is_new,
        "url_changed": url_changed,
    }
    put = session.connection().execute(sa.text(_CHANGED), params).first() is not None
    if put:
        outbox.send_after_commit(session, resource_id)
    return put


def put_resource(resource_id: str, queue: str, reason: str) -> bool:
    """Put a request for one resource, in the caller's transaction. False when there is no such active resource."""
    if not model.Session.query(model.Resource.id).filter_by(id=resource_id, state="active").first():
        return False
    params = {"resource_id": resource_id, "queue": queue, "reason": reason}
    if queue == Queue.PRIORITY:
        model.Session.connection().execute(sa.text(f"{_INSERT} AND r.id = :resource_id {_PROMOTE}"), params)
        outbox.send_after_commit(model.Session, resource_id)
    else:
        put_selection("r.id = :resource_id", {"resource_id": resource_id}, queue, reason)
    return True


_PUT = """
    WITH put AS (
        INSERT INTO archiver_request (resource_id, package_id, queue, host, reason)
        SELECT id, package_id, :queue, host, :reason FROM ({source}) AS source ORDER BY id {conflict}
        RETURNING host
    ){wake}
    SELECT count(*) FROM put
"""

_WAKE = f""", woken AS (
        INSERT INTO archiver_host AS h (host, bulk_at) SELECT DISTINCT host, now() FROM put ORDER BY host
        {sql.WAKE_HOST})"""  # noqa: S608 - constants only


def selection_sql(where: str) -> str:
    """The statement that reads ``id``, ``package_id`` and ``host`` of the active resources that a condition selects.

    :param where: SQL over ``r`` (resource), ``p`` (package) and ``a`` (archival, may be missing)
    """
    return f"""
        SELECT r.id, r.package_id, {sql.HOST_OF_URL} AS host {FROM_RESOURCES}
        AND p.state IN ('active', 'draft') AND ({where})
    """  # noqa: S608 - constants only


def put_selected(connection: Any, source: str, params: Mapping[str, Any], queue: str, reason: str) -> int:
    """Put requests for the resources that a statement reads, in one statement, in the caller's transaction.

    :param source: SQL that reads ``id``, ``package_id`` and ``host`` of resources
    :returns: how many requests were put or promoted
    """
    if queue == Queue.PRIORITY:
        # What waits for the round is promoted, and what runs now runs once more: it began before this request. What
        # waits on "priority" already stays as it is.
        waits_there = "archiver_request.queue = 'priority' AND archiver_request.lease_token IS NULL"
        conflict, wake = f"{_PROMOTE} WHERE NOT ({waits_there})", ""
    else:
        conflict, wake = "ON CONFLICT (resource_id) DO NOTHING", _WAKE
    statement = sa.text(_PUT.format(source=source, conflict=conflict, wake=wake))
    return int(connection.execute(statement, {**params, "queue": queue, "reason": reason}).scalar_one())


def put_selection(where: str, params: Mapping[str, Any], queue: str, reason: str) -> int:
    """Put requests for all active resources that a condition selects, in one statement, in the caller's transaction.

    :param where: see :func:`selection_sql`
    :returns: how many requests were put or promoted
    """
    return put_selected(model.Session.connection(), selection_sql(where), params, queue, reason)


def wake_resource(session: Any, resource_id: str) -> None:
    """Count a link again that is left alone, in the caller's transaction: the reason was about the URL that it had."""
    # Not one that is being left alone at this moment: it is locked in another order.
    locked = "SELECT resource_id FROM archiver_snooze WHERE resource_id = :id FOR UPDATE SKIP LOCKED"
    statement = f"DELETE FROM archiver_snooze WHERE resource_id IN ({locked})"  # noqa: S608 - constants only
    session.connection().execute(sa.text(statement), {"id": resource_id})


def cancel_resource(session: Any, resource_id: str) -> None:
    """Cancel the request for a resource, in the caller's transaction. A run in flight then writes nothing.

    When it was the last request of its dataset, all others are done: a notice says so.
    """
    session.connection().execute(
        sa.text("""
            WITH gone AS (DELETE FROM archiver_request WHERE resource_id = :id RETURNING package_id, queue)
            INSERT INTO archiver_notice (operation, package_id, queue)
            SELECT 'package-archived', package_id, queue FROM gone WHERE NOT EXISTS (
                SELECT 1 FROM archiver_request q WHERE q.package_id = gone.package_id AND q.resource_id <> :id)
        """),
        {"id": resource_id},
    )


_MOVE = """
    WITH moved AS (
        UPDATE archival a SET package_id = r.package_id,
            cache_url = replace(a.cache_url, '/dataset/' || a.package_id || '/', '/dataset/' || r.package_id || '/')
        FROM resource r, archival old
        WHERE r.id = a.resource_id AND old.id = a.id AND a.resource_id = :id AND a.package_id <> r.package_id
        RETURNING old.package_id AS old_id, r.package_id AS new_id
    ), request AS (
        UPDATE archiver_request q SET package_id = r.package_id
        FROM resource r WHERE r.id = q.resource_id AND q.resource_id = :id AND q.package_id <> r.package_id
    )
    SELECT old_id, new_id FROM moved
"""


def move_resource(session: Any, resource_id: str) -> list[str]:
    """Let the archival and the request of a resource follow it to another dataset, in the caller's transaction.

    :returns: the datasets whose links have changed: none where the resource was not moved
    """
    row = session.connection().execute(sa.text(_MOVE), {"id": resource_id}).first()
    return list(row) if row else []


def cancel_package(session: Any, package_id: str) -> None:
    """Cancel the requests for all resources of a dataset, in the caller's transaction."""
    session.connection().execute(sa.text("DELETE FROM archiver_request WHERE package_id = :id"), {"id": package_id})


def purge_resource(session: Any, resource_id: str) -> None:
    """Delete all that is known of a purged resource but the record of actions, in the caller's transaction; a worker
    removes its copy.

    Also where there is no archival: a worker may have died between the copy and the row.
    """
    connection = session.connection()
    cancel_resource(session, resource_id)
    for table in ("archival_check", "archiver_snooze"):
        connection.execute(sa.text(f"DELETE FROM {table} WHERE resource_id = :id"), {"id": resource_id})  # noqa: S608
    connection.execute(
        sa.text("""
            WITH gone AS (DELETE FROM archival WHERE resource_id = :id)
            INSERT INTO archiver_notice (operation, resource_id) VALUES ('purged', :id)
        """),
        {"id": resource_id},
    )
