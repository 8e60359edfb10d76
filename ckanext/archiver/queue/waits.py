"""What open requests wait for, in words for the operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ckanext.archiver.engine.reasons import REASONS
from ckanext.archiver.queue import enqueue, sql

MAX_WAITS = 20

# The first reason that is true. "asked" before "due later": a request that waits for its host is due later as well.
_WAITS = """
    SELECT why, host, held, paused_by, count(*) AS requests, max(until) AS until FROM (
        SELECT q.host, q.held, p.paused_by, CASE
            WHEN q.lease_token IS NOT NULL AND q.leased_until > now() THEN 'running'
            WHEN p.paused_by IS NOT NULL THEN 'paused'
            WHEN h.wait_until > now() THEN 'asked'
            WHEN h.open_until > now() THEN 'down'
            WHEN q.held IS NOT NULL THEN 'held'
            WHEN q.not_before > now() THEN 'later'
            ELSE 'worker' END AS why,
            CASE WHEN p.paused_by IS NOT NULL THEN NULL
                 WHEN h.wait_until > now() AND q.queue = 'priority' THEN least(h.wait_until, q.not_before)
                 WHEN h.wait_until > now() THEN h.wait_until
                 WHEN h.open_until > now() THEN h.open_until
                 WHEN q.not_before > now() THEN q.not_before END AS until
        FROM ({selection}) wanted JOIN archiver_request q ON q.resource_id = wanted.id
        LEFT JOIN archiver_host h ON h.host = q.host AND q.host <> ''
        LEFT JOIN LATERAL (
            SELECT paused_by FROM archiver_pause o WHERE o.queue IN ('', q.queue) AND o.host IN ('', q.host)
            ORDER BY o.host, o.queue LIMIT 1
        ) p ON true
    ) AS waits GROUP BY why, host, held, paused_by ORDER BY requests DESC, host LIMIT :max_waits
"""


@dataclass(frozen=True)
class Wait:
    """Requests that wait for the same thing.

    :ivar why: "running", "paused" (by an operator), "asked" (the server asked us to wait), "down" (the host does not
        respond), "held" (a fault of our own), "later" (a retry, or the host's interval) or "worker"
    :ivar held: the detail, where it is held
    :ivar until: aware; None where no time is known
    :ivar paused_by: the operator, where it is paused
    """

    why: str
    host: str
    held: str | None
    requests: int
    until: datetime | None
    paused_by: str | None = None

    def sentence(self) -> str:
        """In English, without the number of requests."""
        until = f" until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else ""
        if self.why == "running":
            return "being checked now"
        if self.why == "paused":
            return f"paused by {self.paused_by}"
        if self.why == "asked":
            return f"the server {self.host} asked us to wait{until}"
        if self.why == "down":
            return f"the server {self.host} does not respond; left alone{until}"
        if self.why == "held":
            reason = REASONS.get(self.held or "", "An outage of our own network is suspected.")
            return f"{reason} Tried again after {self.until:%H:%M} UTC." if self.until else reason
        if self.why == "later":
            return f"due later: waits{until}"
        return "waiting for a worker"


def of(where: str, params: Mapping[str, Any]) -> list[Wait]:
    """What the open requests of a selection wait for, in the caller's transaction.

    :param where: see :func:`enqueue.selection_sql`
    """
    statement = _WAITS.format(selection=enqueue.selection_sql(where))
    rows = sql.run(statement, **params, max_waits=MAX_WAITS)
    return [Wait(row.why, row.host, row.held, row.requests, row.until, row.paused_by) for row in rows]
