"""What of the queue ``bulk`` is due: the hosts whose time has come, their next requests, and when to look again.

Called by the dispatcher (:mod:`~ckanext.archiver.queue.dispatch`), in the transaction that holds its lock of ``bulk``.
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime
from typing import Any

from ckanext.archiver.queue import address_gate, hosts, sql
from ckanext.archiver.queue.hosts import FRESH_SQL

BUSY_SECONDS = 5
"""Seconds between two looks at a host with a request in flight; the end of the request wakes it earlier."""

ADDRESS_BUSY_SECONDS = 2
"""Seconds between two looks at a host whose IP address has its limit of requests."""

UNPACED_TOGETHER = 10
"""Requests that one tick sends to a host, about, where hosts have no pace."""

UNMETERED_PER_TICK = 50
"""Most messages of a tick for one host without a pace: uploads, links without a host, a host that is down."""

# The hosts whose time has come, the longest waiting first: whether they need a pace, whether a request may go now,
# and when to look again if not. Where an edit waits for the same host, the edit goes first.
_HOSTS = f"""
    SELECT h.host,
        h.host = '' OR coalesce(h.open_until > now() AND {FRESH_SQL}, false) AS unmetered,
        coalesce(h.open_until > now(), false) OR h.next_at > now()
            OR (NOT :unpaced AND EXISTS (
                SELECT 1 FROM archiver_request q WHERE q.queue = 'priority' AND q.host = h.host
                AND q.lease_token IS NULL AND q.not_before < now() + interval '1 second'
                AND NOT {sql.is_paused("'priority'", "h.host")})) AS is_closed,
        CASE WHEN h.open_until > now() THEN h.open_until
             WHEN h.next_at > now() THEN h.next_at
             ELSE now() + interval '1 second' END AS next_look,
        h.bulk_at,
        CASE WHEN h.address_at > now() - interval '1 day' THEN h.address END AS address,
        now() + :address_busy * interval '1 second' AS address_look
    FROM archiver_host h
    WHERE h.bulk_at <= now() AND h.bulk_at >= coalesce(CAST(:oldest AS timestamptz), '-infinity')
        AND NOT {sql.is_paused("'bulk'", "h.host")}
    ORDER BY h.bulk_at LIMIT :hosts FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - constants only

_BUDGETS = """
    unnest(CAST(:hosts AS text[]), CAST(:budgets AS int[]), CAST(:next_looks AS timestamptz[]), CAST(:free AS bool[]))
        AS f (host, budget, next_look, free)
"""

# A host's requests are read once, one more than may go now: whether there is another says when to look again. What has
# died since another session began its transaction stays in the index before them, so that each reading costs more.
#
# MATERIALIZED: PostgreSQL may run a plain subquery again for each row that it compares, and each time it would lock and
# return other rows.
_BULK = f"""
    WITH allowed AS MATERIALIZED (
        SELECT f.host, f.free, CASE WHEN f.free THEN f.budget ELSE greatest(0, f.budget
            - (SELECT count(*) FROM archiver_request b
               WHERE b.host = f.host AND b.lease_token IS NOT NULL AND b.leased_until > now())
            - (SELECT count(*) FROM archiver_request b WHERE b.host = f.host AND b.sent_until > now())) END AS most
        FROM {_BUDGETS} WHERE f.budget > 0
    ), found AS MATERIALIZED (
        SELECT f.host, f.free, f.most, d.resource_id, d.not_before FROM allowed f
        CROSS JOIN LATERAL (
            SELECT r.resource_id, r.not_before FROM archiver_request r
            WHERE r.queue = 'bulk' AND r.host = f.host AND r.lease_token IS NULL AND r.not_before <= now()
              AND (r.sent_until IS NULL OR r.sent_until < now())
            ORDER BY r.not_before LIMIT f.most + 1 FOR UPDATE SKIP LOCKED
        ) d
    ), due AS MATERIALIZED (
        SELECT *, row_number() OVER (PARTITION BY host ORDER BY not_before) > most AS is_left FROM found
    ), more AS (
        UPDATE archiver_host h SET bulk_at = CASE WHEN due.free THEN now() ELSE now() + :busy * interval '1 second' END
        FROM due WHERE due.is_left AND h.host = due.host RETURNING h.host
    ), sent AS (
        UPDATE archiver_request SET sent_until = now() + :sent * interval '1 second'
        WHERE resource_id IN (SELECT resource_id FROM due WHERE NOT is_left)
        RETURNING resource_id
    )
    SELECT 'sent', resource_id FROM sent UNION ALL SELECT 'more', host FROM more
"""  # noqa: S608 - constants only

# Of hosts whose last due request was sent, or is locked by another transaction.
#
# OFFSET 0: else PostgreSQL puts each subquery where its result is used, and runs it that often.
_SET_NEXT_LOOK = f"""
    UPDATE archiver_host h SET bulk_at = CASE
        WHEN f.budget = 0 THEN f.next_look
        WHEN first.not_before IS NOT NULL AND (f.free OR NOT busy.is_so)
            THEN greatest(first.not_before, now())
        WHEN first.not_before IS NOT NULL OR busy.is_so THEN now() + :busy * interval '1 second'
        END
    FROM {_BUDGETS}
    CROSS JOIN LATERAL (SELECT (
        SELECT r.not_before FROM archiver_request r
        WHERE r.queue = 'bulk' AND r.host = f.host AND r.lease_token IS NULL
          AND (r.sent_until IS NULL OR r.sent_until < now())
        ORDER BY r.not_before LIMIT 1) AS not_before OFFSET 0) first
    CROSS JOIN LATERAL (SELECT
        EXISTS (SELECT 1 FROM archiver_request b WHERE b.host = f.host AND b.sent_until > now())
        OR EXISTS (SELECT 1 FROM archiver_request b WHERE b.host = f.host AND b.lease_token IS NOT NULL) AS is_so
        OFFSET 0) busy
    WHERE h.host = f.host AND h.host <> ALL(:more)
"""  # noqa: S608 - constants only


FULL_LOOK_SECONDS, IDLE_LOOK_SECONDS = 10, 0.5
"""Seconds between two readings of the hosts from the beginning of their index; the second where no other host's time
has come."""

_full_look: tuple[float, datetime | None] = (float("-inf"), None)
"""When the hosts were last read from the beginning, and the ``bulk_at`` at which the last reading began. While another
session holds a transaction open, what is before it in the index is dead. The exception are hosts that a transaction
wakes which began before: they wait for the next full look."""


def _hosts(most: int, *, unpaced: bool) -> list[Any]:
    """The hosts whose time has come, locked, in the transaction that holds the dispatcher's lock of ``bulk``."""
    global _full_look
    looked_at, first = _full_look
    params = {"hosts": most, "unpaced": unpaced, "address_busy": ADDRESS_BUSY_SECONDS}
    now = time.monotonic()
    rows: list[Any] = []
    if now - looked_at < FULL_LOOK_SECONDS:
        rows = sql.run(_HOSTS, **params, oldest=first).all()
    if not rows and now - looked_at > IDLE_LOOK_SECONDS:
        looked_at, rows = now, sql.run(_HOSTS, **params, oldest=None).all()
    _full_look = looked_at, rows[0].bulk_at if rows else first
    return rows


def take(room: int, sent: float, oldest_sent: datetime | None, *, fill: bool = False) -> list[str]:
    """Take what is due, as sent.

    :param room: how many requests at most
    :param sent: seconds for which their messages are assumed to wait in the broker
    :param oldest_sent: see :func:`address_gate.taken`
    :param fill: without regard to the hosts' pace
    :returns: the resources
    """
    per_host = None if fill else hosts.per_host()
    # Without a pace, several requests of a host go at once: to find the next one costs as much as to find the next ten.
    most_hosts = room if per_host is not None else max(1, room // UNPACED_TOGETHER)
    rows = _hosts(most_hosts, unpaced=per_host is None)
    if not rows:
        return []
    share = max(room // len(rows), 1)
    budgets = []
    at_address = 0 if fill else address_gate.limit()
    taken = address_gate.taken(oldest_sent) if at_address and any(row.address for row in rows) else Counter()
    for host, unmetered, is_closed, next_look, _, address, address_look in rows:
        if room <= 0:
            # Hosts without room keep their place in the line.
            break
        free = unmetered or per_host is None
        if is_closed and not unmetered and not fill:
            budget = 0
        elif free:
            budget = share if per_host is None else min(share, UNMETERED_PER_TICK)
        else:
            budget = per_host or 0
        budget = min(budget, room)
        if at_address and address and budget and not unmetered:
            budget = max(min(budget, at_address - taken[address]), 0)
            taken[address] += budget
            next_look = next_look if budget else address_look
        budgets.append((host, budget, next_look, free))
        room -= budget
    names, limits, next_looks, unpaced_hosts = (list(column) for column in zip(*budgets, strict=True))
    params = {"hosts": names, "budgets": limits, "next_looks": next_looks, "free": unpaced_hosts}
    found = sql.run(_BULK, **params, sent=sent, busy=BUSY_SECONDS).all()
    # In another order than the hosts': resources that share a message are archived one after the other.
    due = sorted(id_ for kind, id_ in found if kind == "sent")
    more = [host for kind, host in found if kind == "more"]
    if len(more) < len(names):
        sql.run(_SET_NEXT_LOOK, **params, busy=BUSY_SECONDS, more=more)
    return due
