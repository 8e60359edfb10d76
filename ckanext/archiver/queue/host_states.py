"""What is known of hosts, for the operator: what waits for them, whether they answer, how long they are left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ckanext.archiver.queue import sql


@dataclass(frozen=True)
class HostState:
    """A host. Times are aware.

    :ivar waiting: requests that no worker has
    :ivar in_flight: requests that workers have
    :ivar state: "paused" (by an operator), "down" (the breaker is open), "asked" (the server asked us to wait),
        "probe" (the breaker's pause has ended; the next request probes the host), "failing" or "ready"
    :ivar since: when the state began, where that is known
    :ivar until: when it ends, where that is known
    :ivar failures: network failures in a row
    :ivar next_at: when the host may be asked next; None for one that was never asked
    :ivar due_at: when the first waiting request is due; None where none waits
    """

    host: str
    waiting: int
    in_flight: int
    state: str
    since: datetime | None
    until: datetime | None
    failures: int
    next_at: datetime | None
    due_at: datetime | None
    last_checked_at: datetime | None
    address: str | None


_STATES = """
    WITH requests AS MATERIALIZED (
        SELECT host, count(*) FILTER (WHERE lease_token IS NULL) AS waiting,
            count(*) FILTER (WHERE lease_token IS NOT NULL AND leased_until > now()) AS in_flight,
            min(not_before) FILTER (WHERE lease_token IS NULL) AS due_at
        FROM archiver_request WHERE {requests} GROUP BY host
    ), known AS (
        SELECT host, coalesce(r.waiting, 0) AS waiting, coalesce(r.in_flight, 0) AS in_flight,
            (SELECT min(p.paused_at) FROM archiver_pause p WHERE p.host = coalesce(r.host, h.host)) AS paused_at,
            h.open_until, h.wait_until, h.failing_since, coalesce(h.network_failures, 0) AS failures, h.next_at,
            r.due_at, h.last_checked_at, h.address
        FROM requests r FULL JOIN (
            SELECT * FROM archiver_host h WHERE {hosts}
        ) h USING (host)
    )
    SELECT host, waiting, in_flight, failures, next_at, due_at, last_checked_at, address,
        CASE WHEN paused_at IS NOT NULL THEN 'paused' WHEN open_until > now() THEN 'down'
             WHEN wait_until > now() THEN 'asked' WHEN open_until IS NOT NULL THEN 'probe'
             WHEN failing_since IS NOT NULL THEN 'failing' ELSE 'ready' END AS state,
        CASE WHEN paused_at IS NOT NULL THEN paused_at
             WHEN open_until IS NOT NULL OR NOT coalesce(wait_until > now(), false) THEN failing_since END AS since,
        CASE WHEN paused_at IS NOT NULL THEN NULL WHEN open_until > now() THEN open_until
             WHEN wait_until > now() THEN wait_until END AS until
    FROM known ORDER BY waiting + in_flight DESC, open_until DESC NULLS LAST, host LIMIT :limit
"""

_TROUBLED = "h.open_until IS NOT NULL OR h.wait_until > now() OR h.failing_since IS NOT NULL"


def top(limit: int) -> list[HostState]:
    """The hosts that most requests wait for, then those that fail, in the caller's transaction.

    :param limit: how many at most
    """
    # The hosts of requests need their row too; those without one are joined as unknown.
    hosts = f"{_TROUBLED} OR EXISTS (SELECT 1 FROM requests r WHERE r.host = h.host)"  # noqa: S608 - constants only
    return _read(_STATES.format(requests="host <> ''", hosts=f"h.host <> '' AND ({hosts})"), limit=limit)


def named(hosts: Sequence[str]) -> list[HostState]:
    """The states of the spellings of one host, in the caller's transaction; empty where nothing is known of it."""
    of_host = "host = ANY(:hosts)"
    return _read(_STATES.format(requests=of_host, hosts=f"h.{of_host}"), hosts=list(hosts), limit=len(hosts))


def _read(statement: str, **params: Any) -> list[HostState]:
    return [HostState(**row) for row in sql.run(statement, **params).mappings()]


_LAST_FAILURES = """
    SELECT resource_id, checked_at, verdict, reason FROM archival
    WHERE host = ANY(:hosts) AND verdict <> 'ok' ORDER BY checked_at DESC NULLS LAST LIMIT :limit
"""


def last_failures(hosts: Sequence[str], limit: int = 5) -> list[dict[str, Any]]:
    """The links of a host that failed last: ``resource_id``, ``checked_at`` (naive, UTC), ``verdict``, ``reason``."""
    return [dict(row) for row in sql.run(_LAST_FAILURES, hosts=list(hosts), limit=limit).mappings()]


_FORGET = """
    UPDATE archiver_host SET open_until = NULL, opened = 0, network_failures = 0, failing_since = NULL,
        last_failed = false, failed_port = NULL, wait_until = NULL, next_at = now(), bulk_at = now()
    WHERE host IN (SELECT host FROM archiver_host WHERE host = ANY(:hosts) ORDER BY host FOR UPDATE)
"""
_DUE_NOW = sql.update_unlocked(
    "not_before = now()",
    "host = ANY(:hosts) AND lease_token IS NULL AND not_before > now()",
)


def resume(hosts: Sequence[str]) -> int:
    """Let requests go to a host again, in the caller's transaction: close its breaker, forget its Retry-After and the
    pauses that name it, and make its waiting requests due, also retries and held ones.

    :param hosts: the spellings of one host
    :returns: how many rows of hosts and pauses were changed; 0 where nothing is known of the host
    """
    params = {"hosts": list(hosts)}
    ended = sql.run("DELETE FROM archiver_pause WHERE host = ANY(:hosts)", **params).rowcount
    # Requests before hosts: the order of locks of every transaction.
    sql.run(_DUE_NOW, **params)
    return int(ended + sql.run(_FORGET, **params).rowcount)
