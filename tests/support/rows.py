"""Fill and read the extension's tables by SQL in the test's own session."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from ckan import model


def run(sql: str, **values: Any) -> Any:
    """Execute and commit one statement. Returns its rows; None for a statement without rows."""
    result = model.Session.connection().execute(sa.text(sql), values)
    rows = result.all() if result.returns_rows else None
    model.Session.commit()
    return rows


def put(host: str, number: int = 1, queue: str = "bulk", **columns: str) -> list[str]:
    """Insert requests, as ``enqueue`` does, for resources that do not exist; returns the resources' ids.

    :param columns: other columns of ``archiver_request``, as SQL expressions
    """
    ids = [f"{host}-{uuid.uuid4().hex}" for _ in range(number)]
    names = "".join(f", {name}" for name in columns)
    values = "".join(f", {value}" for value in columns.values())
    run(
        f"INSERT INTO archiver_request (resource_id, package_id, queue, host, reason{names}) "
        f"SELECT id, 'p', :queue, :host, 'command'{values} FROM unnest(CAST(:ids AS text[])) id",
        ids=ids,
        queue=queue,
        host=host,
    )
    if queue == "bulk":
        run(
            "INSERT INTO archiver_host (host, bulk_at) VALUES (:host, now()) "
            "ON CONFLICT (host) DO UPDATE SET bulk_at = now()",
            host=host,
        )
    return ids


def requested(queue: str = "") -> set[str]:
    """The resources that have a request, in one queue or in any."""
    rows = run("SELECT resource_id FROM archiver_request WHERE :queue IN ('', queue)", queue=queue)
    return {row[0] for row in rows}
