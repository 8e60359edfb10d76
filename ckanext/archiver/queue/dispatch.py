"""Which requests go to the broker now: a bounded window, host by host, so that a million waiting resources are a
table in Postgres and not a full Redis.

Edits and the round are looked at apart, each under an advisory lock of its own, so that any number of workers and
commands may call :func:`tick` and one at a time does it. The transactions are short, and a process that is stopped
in the middle of one loses it after ``LOCKED_SECONDS``.

For the round each host has a time at which it is looked at next (``archiver_host.bulk_at``; empty while nothing
waits). Putting requests and leaving a host set it, so a tick looks at hosts that can go now and at no others,
whatever the number of requests and hosts. Who puts requests writes them first and locks the host then; the
dispatcher locks the host first and looks for requests in the next statement. So it sees either the requests or,
if it has just cleared the time, the other sets it again: no host is forgotten.

Edits must not touch ``archiver_host``, since an edit's transaction may be long, so the hosts that edits wait for
are read off the index of the requests instead. They are few.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import config
from ckanext.archiver.errors import BrokerError
from ckanext.archiver.queue import broker, claims
from ckanext.archiver.queue.hosts import FRESH_SQL
from ckanext.archiver.queue.types import Queue

log = logging.getLogger(__name__)

LOCKS = {Queue.PRIORITY: 0x6172_6370, Queue.BULK: 0x6172_6362}  # "arcp", "arcb"

LOCKED_SECONDS = 10
"""After this a dispatcher that fell silent in a transaction loses it, and its locks."""

SENT_SECONDS = 600
"""How long a message is believed to wait in the broker before it is sent again."""

PRIORITY_GRACE = 2
"""Seconds before an edit's message, which its web process sends itself, is sent by the dispatcher."""

BUSY_SECONDS = 5
"""How often a host is looked at that has a request in flight; it is woken when that is done."""

MOST = 100
"""Messages of the round that one tick sends: it is short, and the next one follows at once."""

LONGEST_RUN = 40
"""Ticks of the round that follow each other without a pause."""

TOGETHER = 10
"""Resources that share a message while many are due, about. They are archived one after the other, so they are few."""

LEFT_FOR_ONE = 100
"""For each so many requests that wait, a message has one resource more, up to TOGETHER."""

AT_ONCE = 50
"""Most messages a tick sends at once for what needs no visit: uploads, links without a host, hosts that are down."""

Params = Mapping[str, Any]


def tick(*, fill: bool = False) -> int:
    """Send what is due of both queues.

    :param fill: fill the window whatever the hosts' pace, so that the queue can be seen while no worker runs
    :returns: how many messages were sent
    :raises BrokerError: when the broker does not take them; they are sent later
    """
    sent = tick_priority()
    for _ in range(LONGEST_RUN):
        of_the_round = tick_bulk(fill=fill)
        sent += of_the_round
        if not of_the_round or (of_the_round < MOST and not fill):
            break
        # Edits do not wait until the window is full.
        sent += tick_priority()
    return sent


def _begin(queue: Queue) -> bool:
    """Begin the transaction of a tick. False when another dispatcher is at it.

    Its statements go through indexes, row by row, whatever the statistics say: they are missing just when a million
    requests have come, and a plan that reads the whole table takes seconds.
    """
    return bool(
        model.Session.connection()
        .execute(
            sa.text("""
                SELECT pg_try_advisory_xact_lock(:lock),
                    set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true),
                    set_config('enable_bitmapscan', 'off', true), set_config('enable_hashjoin', 'off', true),
                    set_config('enable_mergejoin', 'off', true),
                    set_config('idle_in_transaction_session_timeout', :silent, true),
                    set_config('lock_timeout', '5s', true)
            """),
            {"lock": LOCKS[queue], "silent": f"{LOCKED_SECONDS}s"},
        )
        .scalar()
    )


def _send(resource_ids: list[str], queue: str, *, together: int = 1) -> int:
    """Commit that messages are sent, then send them: one that arrives earlier would find its request all the same,
    and one that is lost is sent again."""
    if not resource_ids:
        model.Session.rollback()
        return 0
    model.Session.commit()
    try:
        return broker.on_kept_connection(
            lambda connection: broker.send(connection, resource_ids, queue, together=together)
        )
    except BrokerError:
        claims.unsend(resource_ids)
        raise


def _room(queue: str) -> int:
    """How many messages of a queue the broker may still get, by the table; what a worker has in hand has left it."""
    statement = sa.text("""
        SELECT count(*) FROM archiver_request
        WHERE sent_until > now() + :in_hand * interval '1 second' AND queue = :queue
    """)
    params = {"queue": queue, "in_hand": claims.IN_HAND_SECONDS}
    sent = int(model.Session.connection().execute(statement, params).scalar() or 0)
    return config.dispatch_window() - sent


def _room_in_broker(queue: str) -> int:
    """The same by the broker: messages that wait for long are believed lost, and are there all the same.

    :raises BrokerError: when it does not answer
    """
    length = broker.on_kept_connection(lambda connection: broker.queue_length(connection, queue))
    return config.dispatch_window() - length


def _together() -> int:
    """How many resources share a message: fewer towards the end, so that all workers end at about the same time."""
    statement = sa.text("""
        SELECT count(*) FROM (
            SELECT 1 FROM archiver_request
            WHERE queue = 'bulk' AND lease_token IS NULL AND sent_until IS NULL LIMIT :enough) waiting
    """)
    params = {"enough": TOGETHER * LEFT_FOR_ONE}
    waiting = int(model.Session.connection().execute(statement, params).scalar() or 0)
    return max(1, waiting // LEFT_FOR_ONE)


def _per_host() -> int | None:
    """How many requests to one host may be in flight, None for no limit."""
    if not (config.host_concurrency() or config.host_interval()):
        return None
    return config.host_concurrency() or 1


# -- edits -------------------------------------------------------------------------------------------------

# An edit's first message comes from the web process. One that was given back since (its host was busy) was due
# later than it was requested.
_PRIORITY = f"""
    WITH RECURSIVE waiting AS (
        (SELECT host FROM archiver_request WHERE queue = 'priority' ORDER BY host LIMIT 1)
        UNION ALL
        SELECT (SELECT r.host FROM archiver_request r WHERE r.queue = 'priority' AND r.host > waiting.host
                ORDER BY r.host LIMIT 1)
        FROM waiting WHERE waiting.host IS NOT NULL
    ), due AS MATERIALIZED (
        SELECT d.resource_id FROM waiting w LEFT JOIN archiver_host h ON h.host = w.host
        CROSS JOIN LATERAL (
            SELECT r.resource_id, r.not_before FROM archiver_request r
            WHERE r.queue = 'priority' AND r.host = w.host AND r.lease_token IS NULL AND r.not_before <= now()
              AND (r.sent_until IS NULL OR r.sent_until < now())
              AND (r.not_before > r.requested_at OR r.requested_at < now() - :grace * interval '1 second')
            ORDER BY r.not_before
            LIMIT CASE
                WHEN w.host = '' OR (h.open_until > now() AND {FRESH_SQL}) THEN :at_once
                WHEN h.next_at > now() THEN 0
                WHEN :unpaced THEN :room
                ELSE greatest(0, :per_host
                    - (SELECT count(*) FROM archiver_request b
                       WHERE b.host = w.host AND b.lease_token IS NOT NULL AND b.leased_until > now())
                    - (SELECT count(*) FROM archiver_request b
                       WHERE b.host = w.host AND b.queue = 'priority' AND b.sent_until > now()))
            END
            FOR UPDATE SKIP LOCKED
        ) d
        WHERE w.host IS NOT NULL
        ORDER BY d.not_before LIMIT :room
    )
    UPDATE archiver_request SET sent_until = now() + :sent * interval '1 second'
    WHERE resource_id IN (SELECT resource_id FROM due)
    RETURNING resource_id
"""  # noqa: S608 - constants only


def tick_priority() -> int:
    """Send what edits wait for: messages that a web process could not send, and requests that were given back.

    :returns: how many messages were sent
    :raises BrokerError: when the broker does not take them
    """
    if not _begin(Queue.PRIORITY):
        model.Session.rollback()
        return 0
    room = _room(Queue.PRIORITY)
    per_host = _per_host()
    due: list[str] = []
    if room > 0:
        params = {
            "room": room,
            "grace": PRIORITY_GRACE,
            "sent": SENT_SECONDS,
            "at_once": AT_ONCE,
            "unpaced": per_host is None,
            "per_host": per_host or 0,
        }
        due = list(model.Session.connection().execute(sa.text(_PRIORITY), params).scalars())
    return _send(due, Queue.PRIORITY)


# -- the round ---------------------------------------------------------------------------------------------

# The hosts whose time has come, the longest waiting first: whether they need a pace, whether they may be visited,
# and when to look again if not. Where an edit waits for the same host, it goes first.
_HOSTS = f"""
    SELECT h.host,
        h.host = '' OR coalesce(h.open_until > now() AND {FRESH_SQL}, false) AS unmetered,
        coalesce(h.open_until > now(), false) OR h.next_at > now()
            OR (NOT :unpaced AND EXISTS (
                SELECT 1 FROM archiver_request q WHERE q.queue = 'priority' AND q.host = h.host
                AND q.lease_token IS NULL AND q.not_before < now() + interval '1 second')) AS is_closed,
        CASE WHEN h.open_until > now() THEN h.open_until
             WHEN h.next_at > now() THEN h.next_at
             ELSE now() + interval '1 second' END AS later
    FROM archiver_host h WHERE h.bulk_at <= now()
    ORDER BY h.bulk_at LIMIT :hosts FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - constants only

_LOOKED_AT = """
    unnest(CAST(:hosts AS text[]), CAST(:budgets AS int[]), CAST(:laters AS timestamptz[]), CAST(:free AS bool[]))
        AS f (host, budget, later, free)
"""

# What is due is selected once: as a plain subquery, PostgreSQL may run it again for each row that it compares, and
# each time it would lock and give other rows.
_BULK = f"""
    WITH due AS MATERIALIZED (
        SELECT d.resource_id FROM {_LOOKED_AT}
        CROSS JOIN LATERAL (
            SELECT r.resource_id FROM archiver_request r
            WHERE r.queue = 'bulk' AND r.host = f.host AND r.lease_token IS NULL AND r.not_before <= now()
              AND (r.sent_until IS NULL OR r.sent_until < now())
            ORDER BY r.not_before
            LIMIT CASE WHEN f.free THEN f.budget ELSE greatest(0, f.budget
                - (SELECT count(*) FROM archiver_request b
                   WHERE b.host = f.host AND b.lease_token IS NOT NULL AND b.leased_until > now())
                - (SELECT count(*) FROM archiver_request b WHERE b.host = f.host AND b.sent_until > now())) END
            FOR UPDATE SKIP LOCKED
        ) d
        WHERE f.budget > 0
    )
    UPDATE archiver_request SET sent_until = now() + :sent * interval '1 second'
    WHERE resource_id IN (SELECT resource_id FROM due)
    RETURNING resource_id
"""  # noqa: S608 - constants only

_NEXT_LOOK = f"""
    UPDATE archiver_host h SET bulk_at = CASE
        WHEN f.budget = 0 THEN f.later
        WHEN first.not_before IS NOT NULL AND (f.free OR NOT busy.is_so)
            THEN greatest(first.not_before, now())
        WHEN first.not_before IS NOT NULL OR busy.is_so THEN now() + :busy * interval '1 second'
        END
    FROM {_LOOKED_AT}
    CROSS JOIN LATERAL (SELECT (
        SELECT r.not_before FROM archiver_request r
        WHERE r.queue = 'bulk' AND r.host = f.host AND r.lease_token IS NULL
          AND (r.sent_until IS NULL OR r.sent_until < now())
        ORDER BY r.not_before LIMIT 1) AS not_before) first
    CROSS JOIN LATERAL (SELECT
        EXISTS (SELECT 1 FROM archiver_request b WHERE b.host = f.host AND b.sent_until > now())
        OR EXISTS (SELECT 1 FROM archiver_request b WHERE b.host = f.host AND b.lease_token IS NOT NULL) AS is_so) busy
    WHERE h.host = f.host
"""  # noqa: S608 - constants only


def tick_bulk(*, fill: bool = False) -> int:
    """Send the next requests of hosts that are free, until the window is full.

    :param fill: see :func:`tick`
    :returns: how many messages were sent
    :raises BrokerError: when the broker does not take them
    """
    if not _begin(Queue.BULK):
        model.Session.rollback()
        return 0
    room = _room(Queue.BULK)
    # A window that is nearly full is filled up when there is room for a whole tick: few messages for many resources.
    enough = 1 if fill else max(1, min(MOST, config.dispatch_window() // 10))
    if room >= enough:
        try:
            room = min(room, _room_in_broker(Queue.BULK))
        except BrokerError:
            model.Session.rollback()
            raise
    due = _take(min(room, MOST), fill) if room >= enough else []
    if not due:
        # The hosts' next times are kept all the same.
        model.Session.commit()
        return 0
    # Where much is due, a message costs more than a download. While no worker runs, one for each can be seen.
    return _send(due, Queue.BULK, together=_together() if len(due) == MOST and not fill else 1)


def _take(room: int, fill: bool) -> list[str]:
    connection = model.Session.connection()
    per_host = None if fill else _per_host()
    params: Params = {"hosts": room, "unpaced": per_host is None}
    found = connection.execute(sa.text(_HOSTS), params).all()
    if not found:
        return []
    share = max(room // len(found), 1)
    looked_at = []
    for host, unmetered, is_closed, later in found:
        if room <= 0:
            # Hosts that there is no room for keep their place in the line.
            break
        free = unmetered or per_host is None
        if is_closed and not unmetered and not fill:
            budget = 0
        elif free:
            budget = share if per_host is None else min(share, AT_ONCE)
        else:
            budget = per_host or 0
        looked_at.append((host, min(budget, room), later, free))
        room -= budget
    hosts, budgets, laters, free_ones = (list(column) for column in zip(*looked_at, strict=True))
    params = {"hosts": hosts, "budgets": budgets, "laters": laters, "free": free_ones}
    due = list(connection.execute(sa.text(_BULK), {**params, "sent": SENT_SECONDS}).scalars())
    connection.execute(sa.text(_NEXT_LOOK), {**params, "busy": BUSY_SECONDS})
    return due


_LOST_HOSTS = """
    WITH RECURSIVE waiting AS (
        (SELECT host FROM archiver_request WHERE queue = 'bulk' ORDER BY host LIMIT 1)
        UNION ALL
        SELECT (SELECT r.host FROM archiver_request r WHERE r.queue = 'bulk' AND r.host > waiting.host
                ORDER BY r.host LIMIT 1)
        FROM waiting WHERE waiting.host IS NOT NULL
    )
    INSERT INTO archiver_host AS h (host, bulk_at)
    SELECT w.host, now() FROM waiting w LEFT JOIN archiver_host k ON k.host = w.host
    WHERE w.host IS NOT NULL AND k.bulk_at IS NULL ORDER BY w.host
    ON CONFLICT (host) DO UPDATE SET bulk_at = EXCLUDED.bulk_at WHERE h.bulk_at IS NULL
"""


def find_lost_hosts() -> int:
    """Have all hosts looked at for which requests wait: after a migration, or whatever else wrote to the tables.

    :returns: how many had been forgotten
    """
    found = model.Session.connection().execute(sa.text(_LOST_HOSTS)).rowcount
    model.Session.commit()
    return int(found)


def worker_seen(queue: str) -> bool:
    """Whether a worker that reads this queue is alive."""
    statement = sa.text("""
        SELECT 1 FROM archiver_worker
        WHERE seen_at > now() - :dead * interval '1 second' AND :queue = ANY(string_to_array(queues, ','))
    """)
    row = model.Session.connection().execute(statement, {"dead": config.worker_dead_seconds(), "queue": queue})
    return row.first() is not None
