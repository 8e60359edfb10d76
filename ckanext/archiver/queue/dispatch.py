"""The dispatcher: sends requests to the broker in a bounded window, host by host, so that a million waiting resources
are a table in Postgres and not a full Redis.

The queues ``priority`` and ``bulk`` are dispatched apart, each under an advisory lock of its own: any number of workers
and commands may call :func:`tick`, and one at a time does it. The transactions are short, and a process that is paused
in the middle of one loses it after ``LOCKED_SECONDS``.

For ``bulk``, each host has the time of its next look (``archiver_host.bulk_at``; empty while nothing waits). Putting
requests and leaving a host set it. So a tick reads the hosts that can go now and no others, for any number of
requests and hosts. Putting writes the requests first and locks the host then; the dispatcher locks the host first and
reads requests in the next statement. So it either sees the requests or has just cleared the time, which putting then
sets again: no host is forgotten.

Edits must not touch ``archiver_host``, since an edit's transaction may be long. The hosts of ``priority`` are read off
the index of the requests instead; they are few.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime

from ckanext.archiver import config
from ckanext.archiver.errors import BrokerError
from ckanext.archiver.queue import broker, claims, due_bulk, hosts, sql
from ckanext.archiver.queue.hosts import FRESH_SQL
from ckanext.archiver.queue.types import Queue

log = logging.getLogger(__name__)

LOCKS = {Queue.PRIORITY: 0x6172_6370, Queue.BULK: 0x6172_6362}  # "arcp", "arcb"

LOCKED_SECONDS = 10
"""Seconds after which a dispatcher that is paused within a transaction loses it, and its locks."""

SENT_SECONDS = 600
"""Seconds for which a message is assumed to wait in the broker before another is sent."""

PRIORITY_GRACE = 2
"""Seconds that the dispatcher leaves the web process to send an edit's message itself."""

MESSAGES_PER_TICK = 100
"""Messages of ``bulk`` that one tick sends: a tick is short, and the next one follows at once."""

MAX_TICKS_IN_A_ROW = 40
"""Ticks of ``bulk`` that follow each other without a pause."""

MAX_RESOURCES_PER_MESSAGE = 10
"""Resources that share a message while many are due, about. They are archived one after the other, so they are few."""

WAITING_SECONDS = 1.0
"""Least seconds between two counts of the waiting requests."""

REQUESTS_PER_EXTRA_RESOURCE = 100
"""Waiting requests for which a message gets one resource more, up to ``MAX_RESOURCES_PER_MESSAGE``."""


def tick(*, fill: bool = False) -> int:
    """Send what is due of both queues.

    :param fill: fill the window beyond the hosts' pace, so that the queue can be inspected while no worker runs
    :returns: for how many requests messages were sent
    :raises BrokerError: when the broker does not take them; they are sent later
    """
    sent = tick_priority()
    for _ in range(MAX_TICKS_IN_A_ROW):
        in_bulk = tick_bulk(fill=fill)
        sent += in_bulk
        if not in_bulk or (in_bulk < MESSAGES_PER_TICK and not fill):
            break
        # Edits do not wait until the window is full.
        sent += tick_priority()
    return sent


def take_due(queue: str, room: int) -> list[str]:
    """Take what is due of a queue for a worker whose broker is away, in the caller's transaction, as if it had received
    messages for it.

    :param room: how many requests at most
    :returns: the resources; none while another process dispatches
    """
    if not _begin(Queue(queue)):
        return []
    if queue == Queue.PRIORITY:
        return _due_priority(room, claims.IN_HAND_SECONDS)
    return due_bulk.take(min(room, MESSAGES_PER_TICK), claims.IN_HAND_SECONDS, _oldest_sent.get(queue))


def _begin(queue: Queue) -> bool:
    """Begin the transaction of a tick. False when another dispatcher has the lock, or an operator has paused the queue.

    The tick's statements use indexes, row by row, without regard to the statistics: these are missing just after a
    million requests were put, and a plan that reads the whole table takes seconds.
    """
    statement = f"""
        SELECT NOT {sql.is_paused(":queue", "''")} AND pg_try_advisory_xact_lock(:lock),
            set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true),
            set_config('enable_bitmapscan', 'off', true), set_config('enable_hashjoin', 'off', true),
            set_config('enable_mergejoin', 'off', true),
            set_config('idle_in_transaction_session_timeout', :silent, true),
            set_config('lock_timeout', '5s', true)
    """
    return bool(sql.run(statement, queue=str(queue), lock=LOCKS[queue], silent=f"{LOCKED_SECONDS}s").scalar())


def _send(resource_ids: list[str], queue: str, *, per_message: int = 1) -> int:
    """Send messages, in no transaction: it was committed before that they are sent. A message that is lost in between
    is sent again."""
    if not resource_ids:
        return 0
    try:
        return broker.on_kept_connection(
            lambda connection: broker.send(connection, resource_ids, queue, per_message=per_message)
        )
    except BrokerError:
        with sql.transaction():
            claims.unsend(resource_ids)
        raise


_oldest_sent: dict[str, datetime] = {}
"""The oldest message of each queue that the last count of this process found. What is older in the index is dead: only
the dispatcher sends, with later times, and one at a time. Else each tick would read every message of a round again
while another session holds a transaction open, since none of the dead entries can be removed then."""


def _room(queue: str) -> int:
    """How many more messages of a queue the broker may get, by the table; what a worker has in hand has left it.

    In the transaction that holds the dispatcher's lock of the queue.
    """
    statement = f"""
        SELECT count(*), coalesce(min(sent_until), now() + :sent * interval '1 second') FROM archiver_request
        WHERE queue = :queue AND {sql.IN_WINDOW} AND sent_until > now() + :in_hand * interval '1 second'
          AND sent_until >= coalesce(CAST(:oldest AS timestamptz), now())
    """  # noqa: S608 - constants only
    params = {"sent": SENT_SECONDS, "in_hand": claims.IN_HAND_SECONDS, "oldest": _oldest_sent.get(queue)}
    sent, _oldest_sent[queue] = sql.run(statement, queue=queue, **params).one()
    return config.dispatch_window() - int(sent)


_waiting: tuple[float, int] = (float("-inf"), 0)
"""When this process is to count the waiting requests again, and how many it found, of as many as matter."""


def _resources_per_message() -> int:
    """How many resources share a message: fewer towards the end, so that all workers end at about the same time."""
    global _waiting
    now = time.monotonic()
    if now > _waiting[0]:
        waiting = _count_waiting()
        # While another session holds a transaction open, a count reads what has died since: a twentieth of the time.
        _waiting = now + max(WAITING_SECONDS, 20 * (time.monotonic() - now)), waiting
    return max(1, _waiting[1] // REQUESTS_PER_EXTRA_RESOURCE)


def _count_waiting() -> int:
    statement = """
        SELECT count(*) FROM (
            SELECT 1 FROM archiver_request
            WHERE queue = 'bulk' AND lease_token IS NULL AND sent_until IS NULL LIMIT :enough) waiting
    """
    enough = MAX_RESOURCES_PER_MESSAGE * REQUESTS_PER_EXTRA_RESOURCE
    return int(sql.run(statement, enough=enough).scalar() or 0)


def _waiting_hosts(queue: Queue) -> str:
    """The recursive subquery ``waiting`` (host): the hosts with requests on a queue, by one index lookup each; at last
    NULL."""
    return f"""waiting AS (
        (SELECT host FROM archiver_request WHERE queue = '{queue}' ORDER BY host LIMIT 1)
        UNION ALL
        SELECT (SELECT r.host FROM archiver_request r WHERE r.queue = '{queue}' AND r.host > waiting.host
                ORDER BY r.host LIMIT 1)
        FROM waiting WHERE waiting.host IS NOT NULL
    )"""  # noqa: S608 - constants only


# -- priority ----------------------------------------------------------------------------------------------

# The web process sends an edit's first message. A request that was deferred since (its host was busy) has its
# ``not_before`` after its ``requested_at``.
_PRIORITY = f"""
    WITH RECURSIVE {_waiting_hosts(Queue.PRIORITY)}, due AS MATERIALIZED (
        SELECT d.resource_id FROM waiting w LEFT JOIN archiver_host h ON h.host = w.host
        CROSS JOIN LATERAL (
            SELECT r.resource_id, r.not_before FROM archiver_request r
            WHERE r.queue = 'priority' AND r.host = w.host AND r.lease_token IS NULL AND r.not_before <= now()
              AND (r.sent_until IS NULL OR r.sent_until < now())
              AND (r.not_before > r.requested_at OR r.requested_at < now() - :grace * interval '1 second')
            ORDER BY r.not_before
            LIMIT CASE
                WHEN w.host = '' OR (h.open_until > now() AND {FRESH_SQL}) THEN :unmetered
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
        WHERE w.host IS NOT NULL AND NOT {sql.is_paused("'priority'", "w.host")}
        ORDER BY d.not_before LIMIT :room
    )
    UPDATE archiver_request SET sent_until = now() + :sent * interval '1 second'
    WHERE resource_id IN (SELECT resource_id FROM due)
    RETURNING resource_id
"""  # noqa: S608 - constants only


def tick_priority() -> int:
    """Send messages of ``priority`` that a web process could not send, or whose requests were deferred.

    :returns: how many messages were sent
    :raises BrokerError: when the broker does not take them
    """
    with sql.transaction():
        due = _due_priority(_room(Queue.PRIORITY)) if _begin(Queue.PRIORITY) else []
    return _send(due, Queue.PRIORITY)


def _due_priority(room: int, sent: float = SENT_SECONDS) -> list[str]:
    per_host = hosts.per_host()
    if room <= 0:
        return []
    due = sql.run(
        _PRIORITY,
        room=room,
        grace=PRIORITY_GRACE,
        sent=sent,
        unmetered=due_bulk.UNMETERED_PER_TICK,
        unpaced=per_host is None,
        per_host=per_host or 0,
    )
    return list(due.scalars())


# -- bulk --------------------------------------------------------------------------------------------------


def tick_bulk(*, fill: bool = False) -> int:
    """Send the next requests of hosts that are free, until the window is full.

    :param fill: see :func:`tick`
    :returns: how many messages were sent
    :raises BrokerError: when the broker does not take them
    """
    per_message = 1
    # Asked before the transaction begins: a broker that hangs must not hold it.
    in_broker = broker.on_kept_connection(lambda connection: broker.queue_length(connection, Queue.BULK))
    with sql.transaction():
        due = _due_bulk(fill, in_broker) if _begin(Queue.BULK) else []
        # Where much is due, a message costs more than a download. While no worker runs, each resource has its own.
        if len(due) == MESSAGES_PER_TICK and not fill:
            per_message = _resources_per_message()
    return _send(due, Queue.BULK, per_message=per_message)


def _due_bulk(fill: bool, in_broker: int) -> list[str]:
    # By the table, and by the broker: a message that waits for long is assumed lost, and may be there all the same.
    room = min(_room(Queue.BULK), config.dispatch_window() - in_broker)
    # A window that is nearly full is filled up when there is room for a whole tick: few messages for many resources.
    enough = 1 if fill else max(1, min(MESSAGES_PER_TICK, config.dispatch_window() // 10))
    if room < enough:
        return []
    return due_bulk.take(min(room, MESSAGES_PER_TICK), SENT_SECONDS, _oldest_sent.get(Queue.BULK), fill=fill)


_WAKE_FORGOTTEN_HOSTS = f"""
    WITH RECURSIVE {_waiting_hosts(Queue.BULK)}
    INSERT INTO archiver_host AS h (host, bulk_at)
    SELECT w.host, now() FROM waiting w LEFT JOIN archiver_host k ON k.host = w.host
    WHERE w.host IS NOT NULL AND k.bulk_at IS NULL ORDER BY w.host {sql.WAKE_HOST}
"""  # noqa: S608 - constants only


def wake_forgotten_hosts() -> int:
    """Wake the hosts for which requests wait and that have no next look, in the caller's transaction: after a
    migration, or when other code wrote to the tables.

    :returns: how many
    """
    return int(sql.run(_WAKE_FORGOTTEN_HOSTS).rowcount)


def has_worker(queue: str) -> bool:
    """Whether a worker that reads this queue is alive."""
    statement = f"""
        SELECT 1 FROM archiver_worker w
        WHERE {sql.WORKER_IS_ALIVE} AND :queue = ANY(string_to_array(queues, ','))
    """  # noqa: S608 - constants only
    return sql.run(statement, dead=config.worker_dead_seconds(), queue=queue).first() is not None
