"""Requests: the table ``archiver_request`` is the truth about what is wanted, the broker only carries ids.

A request is put in the transaction of the edit that caused it, so that a rolled-back edit leaves none and a
committed one is never lost; the message goes out after the root commit (:mod:`~ckanext.archiver.queue.outbox`).

All times are the database's, so that a wrong clock on a worker cannot hurt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver.queue import outbox
from ckanext.archiver.queue.types import Queue, Reason

# The host of a resource's URL, for politeness: the same expression wherever requests are put. No name has more than
# 253 characters, and an index does not take a value of any length.
HOST_SQL = r"""
    CASE WHEN r.url_type = 'upload' THEN '' ELSE left(coalesce(rtrim(substring(lower(r.url) from
    '^\s*[a-z][a-z0-9+.-]*:[/\\]*(?:[^/?#\\]*@)?(\[[^]/?#]*\]|[^]:/?#\\\s[]*)'), '.'), ''), 255) END
"""

FROM_RESOURCES = """
    FROM resource r
    JOIN package p ON p.id = r.package_id
    LEFT JOIN archival a ON a.resource_id = r.id
    WHERE r.state = 'active'
"""

_INSERT = f"""
    INSERT INTO archiver_request (resource_id, package_id, queue, host, reason)
    SELECT r.id, r.package_id, :queue, {HOST_SQL}, :reason
    {FROM_RESOURCES}
"""  # noqa: S608 - constants only

# A second request changes nothing but the urgency of the first; one that is being worked on runs once more.
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
        ELSE a.source_url IS DISTINCT FROM r.url
            OR (r.url_type = 'upload' AND r.last_modified IS DISTINCT FROM a.resource_timestamp)
            OR (:url_changed AND EXISTS (SELECT 1 FROM archiver_request q WHERE q.resource_id = r.id))
        END)
    {_PROMOTE}
    RETURNING resource_id
"""  # noqa: S608 - constants only


# -- putting -----------------------------------------------------------------------------------------------


def put_changed(session: Any, resource_id: str, *, is_new: bool, url_changed: bool) -> bool:
    """Put a request for a resource that was just saved, if the edit is worth an archival.

    Runs in the caller's transaction. The message goes out after its root commit.

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
    """Put a request for one resource and commit. False when there is no such active resource."""
    if not model.Session.query(model.Resource.id).filter_by(id=resource_id, state="active").first():
        return False
    params = {"resource_id": resource_id, "queue": queue, "reason": reason}
    if queue == Queue.PRIORITY:
        model.Session.connection().execute(sa.text(f"{_INSERT} AND r.id = :resource_id {_PROMOTE}"), params)
        outbox.send_after_commit(model.Session, resource_id)
    else:
        put_selection("r.id = :resource_id", {"resource_id": resource_id}, queue, reason)
    model.Session.commit()
    return True


_PUT = """
    WITH put AS (
        INSERT INTO archiver_request (resource_id, package_id, queue, host, reason)
        SELECT id, package_id, :queue, host, :reason FROM ({source}) AS source ORDER BY id {conflict}
        RETURNING host
    ){wake}
    SELECT count(*) FROM put
"""

# Tells the dispatcher of the hosts, in an order, so that two who do it do not wait for each other.
_WAKE = """, woken AS (
        INSERT INTO archiver_host AS h (host, bulk_at) SELECT DISTINCT host, now() FROM put ORDER BY host
        ON CONFLICT (host) DO UPDATE SET bulk_at = EXCLUDED.bulk_at WHERE h.bulk_at IS NULL OR h.bulk_at > now()
    )"""


def selection_sql(where: str) -> str:
    """The statement that reads ``id``, ``package_id`` and ``host`` of the active resources that a condition selects.

    :param where: SQL over ``r`` (resource), ``p`` (package) and ``a`` (archival, may be missing)
    """
    return f"""
        SELECT r.id, r.package_id, {HOST_SQL} AS host {FROM_RESOURCES} AND p.state IN ('active', 'draft') AND ({where})
    """  # noqa: S608 - constants only


def put_selected(connection: Any, source: str, params: Mapping[str, Any], queue: str, reason: str) -> int:
    """Put requests for what a statement reads, in one statement; the caller commits.

    :param source: SQL that reads ``id``, ``package_id`` and ``host`` of resources
    :returns: how many requests were put or promoted
    """
    if queue == Queue.PRIORITY:
        # Promote what waits for the round; what is on its way already stays as it is.
        conflict, wake = _PROMOTE + " WHERE archiver_request.queue <> 'priority'", ""
    else:
        conflict, wake = "ON CONFLICT (resource_id) DO NOTHING", _WAKE
    statement = sa.text(_PUT.format(source=source, conflict=conflict, wake=wake))
    return int(connection.execute(statement, {**params, "queue": queue, "reason": reason}).scalar_one())


def put_selection(where: str, params: Mapping[str, Any], queue: str, reason: str) -> int:
    """Put requests for all active resources that a condition selects, in one statement; the caller commits.

    :param where: see :func:`selection_sql`
    :returns: how many requests were put or promoted
    """
    return put_selected(model.Session.connection(), selection_sql(where), params, queue, reason)


def cancel_resource(session: Any, resource_id: str) -> None:
    """Withdraw the request for a resource, in the caller's transaction. A run in flight writes nothing.

    When it was the last of its dataset, the others are done, and a worker tells so.
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


def cancel_package(session: Any, package_id: str) -> None:
    """Withdraw the requests for all resources of a dataset, in the caller's transaction."""
    session.connection().execute(sa.text("DELETE FROM archiver_request WHERE package_id = :id"), {"id": package_id})


def purge_resource(session: Any, resource_id: str) -> None:
    """Forget a purged resource: its request and archival go with it, its copy is removed by a worker.

    Also where there is no archival: a worker may have died between the copy and the row.
    """
    connection = session.connection()
    cancel_resource(session, resource_id)
    connection.execute(sa.text("DELETE FROM archival_check WHERE resource_id = :id"), {"id": resource_id})
    connection.execute(
        sa.text("""
            WITH gone AS (DELETE FROM archival WHERE resource_id = :id)
            INSERT INTO archiver_notice (operation, resource_id) VALUES ('purged', :id)
        """),
        {"id": resource_id},
    )
