"""Which requests go to the broker now: a bounded window, host by host, so that a million waiting resources are a
table in Postgres and not a full Redis.

``tick`` may be called by any worker and any command; an advisory lock lets one work at a time.
"""

from __future__ import annotations

import logging
from collections import defaultdict

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import config, outbox
from ckanext.archiver.worker import broker

log = logging.getLogger(__name__)

LOCK = 0x6172_6368  # "arch"

SENT_SECONDS = 600
"""How long a message is believed to wait in the broker before it is sent again."""

WORKER_DEAD_SECONDS = 30
"""A worker that was not seen for so long is dead; what it held is taken from it."""

PRIORITY_GRACE = 2
"""Seconds before an edit's message, which its web process sends itself, is sent by the dispatcher."""

_DUE_PRIORITY = """
    SELECT r.resource_id FROM archiver_request r LEFT JOIN archiver_host h USING (host)
    WHERE r.queue = 'priority' AND r.lease_token IS NULL AND r.not_before <= now()
      AND (r.sent_until IS NULL OR r.sent_until < now())
      AND r.requested_at < now() - :grace * interval '1 second'
      AND (r.host = '' OR h.host IS NULL OR h.next_at <= now() OR h.open_until > now())
    ORDER BY r.not_before LIMIT :room FOR UPDATE OF r SKIP LOCKED
"""

# The next due requests of each host that is free: as many as it may have running.
_DUE_BULK = """
    SELECT d.resource_id FROM archiver_host h CROSS JOIN LATERAL (
        SELECT r.resource_id, r.not_before FROM archiver_request r
        WHERE r.queue = 'bulk' AND r.host = h.host AND r.lease_token IS NULL AND r.not_before <= now()
          AND (r.sent_until IS NULL OR r.sent_until < now())
        ORDER BY r.not_before LIMIT :per_host FOR UPDATE SKIP LOCKED
    ) d
    WHERE (:unpaced OR h.next_at <= now() OR h.open_until > now() OR h.host = '')
      AND (:unpaced OR h.host = '' OR NOT EXISTS (
        SELECT 1 FROM archiver_request b WHERE b.host = h.host
          AND (b.sent_until > now() OR (b.lease_token IS NOT NULL AND b.leased_until > now()))))
    LIMIT :room
"""

_SEND = """
    UPDATE archiver_request SET sent_until = now() + :seconds * interval '1 second'
    WHERE resource_id IN ({due}) RETURNING resource_id
"""


def tick(*, fill: bool = False) -> int:
    """Send what is due, if no other dispatcher is at it.

    :param fill: fill the window whatever the hosts' pace, so that the queue can be seen while no worker runs
    :returns: how many messages were sent
    :raises BrokerError: when the broker does not take them; they are sent later
    """
    connection = model.Session.connection()
    if not connection.execute(sa.text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK}).scalar():
        model.Session.rollback()
        return 0
    due: dict[str, list[str]] = defaultdict(list)
    room = config.dispatch_window()
    due[outbox.PRIORITY] = _take(_DUE_PRIORITY, {"room": room, "grace": PRIORITY_GRACE})
    room = config.dispatch_window() - _in_broker()
    if room > 0:
        per_host, unpaced = _pace(room, fill)
        due[outbox.BULK] = _take(_DUE_BULK, {"room": room, "per_host": per_host, "unpaced": unpaced})
    sent = sum(len(ids) for ids in due.values())
    if not sent:
        model.Session.rollback()
        return 0
    # Before the messages: a message that arrives before the commit finds its request all the same.
    model.Session.commit()
    _send(due)
    return sent


def _take(due: str, params: dict[str, object]) -> list[str]:
    statement = sa.text(_SEND.format(due=due))
    rows = model.Session.connection().execute(statement, {**params, "seconds": SENT_SECONDS})
    return list(rows.scalars())


def _in_broker() -> int:
    statement = sa.text("SELECT count(*) FROM archiver_request WHERE sent_until > now() AND queue = 'bulk'")
    return int(model.Session.connection().execute(statement).scalar() or 0)


def _pace(room: int, fill: bool) -> tuple[int, bool]:
    """How many requests a host may have in the broker, and whether hosts are unpaced."""
    concurrency = config.host_concurrency()
    if fill or not (concurrency or config.host_interval()):
        return room, True
    return concurrency or 1, False


def _send(due: dict[str, list[str]]) -> None:
    connection = broker.connect(timeout=5)
    try:
        for queue, ids in due.items():
            broker.send(connection, ids, queue)
    except broker.BrokerError:
        # They are in the table: nothing is lost, and they are sent again when the broker is back.
        unsend([id for ids in due.values() for id in ids])
        raise
    finally:
        connection.release()


def unsend(resource_ids: list[str]) -> None:
    """Forget that messages were sent."""
    statement = sa.text("UPDATE archiver_request SET sent_until = NULL WHERE resource_id = ANY(:ids)")
    model.Session.connection().execute(statement, {"ids": resource_ids})
    model.Session.commit()


def worker_seen(queue: str) -> bool:
    """Whether a worker that reads this queue is alive."""
    statement = sa.text("""
        SELECT 1 FROM archiver_worker
        WHERE seen_at > now() - :dead * interval '1 second' AND :queue = ANY(string_to_array(queues, ','))
    """)
    row = model.Session.connection().execute(statement, {"dead": WORKER_DEAD_SECONDS, "queue": queue})
    return row.first() is not None
