"""What keeps the table of requests true whatever dies: signs of life, leases of the dead, lost messages, the round."""

from __future__ import annotations

import logging
import os
import socket

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import archiving, config, dispatch, outbox
from ckanext.archiver.engine import store
from ckanext.archiver.worker import broker

log = logging.getLogger(__name__)

ROUND_BATCH = 10_000
"""Links that one look at the schedule puts on the queue."""


def show_alive(worker_id: str, queues: list[str]) -> None:
    """Tell that a worker is alive."""
    model.Session.connection().execute(
        sa.text("""
            INSERT INTO archiver_worker (worker_id, hostname, pid, queues) VALUES (:id, :hostname, :pid, :queues)
            ON CONFLICT (worker_id) DO UPDATE SET seen_at = now()
        """),
        {"id": worker_id, "hostname": socket.gethostname(), "pid": os.getpid(), "queues": ",".join(queues)},
    )
    model.Session.commit()


def say_goodbye(worker_id: str) -> None:
    """Take a worker off the list and return what it still holds."""
    connection = model.Session.connection()
    connection.execute(sa.text(_RELEASE.format(condition="leased_by = :id")), {"id": worker_id, "died": 0})
    connection.execute(sa.text("DELETE FROM archiver_worker WHERE worker_id = :id"), {"id": worker_id})
    model.Session.commit()


_RELEASE = """
    UPDATE archiver_request SET lease_token = NULL, leased_by = NULL, leased_until = NULL, sent_until = NULL,
        again = false, deaths = deaths + :died
    WHERE lease_token IS NOT NULL AND ({condition})
    RETURNING resource_id, deaths
"""

_DEAD = """
    leased_until < now()
    OR (leased_by LIKE '%:%:%' AND NOT EXISTS (
        SELECT 1 FROM archiver_worker w
        WHERE w.worker_id = leased_by AND w.seen_at > now() - :dead * interval '1 second'))
"""


def take_from_the_dead() -> int:
    """Make what dead workers held available again; set aside what has killed too many.

    :returns: how many requests were taken back
    """
    connection = model.Session.connection()
    params = {"died": 1, "dead": dispatch.WORKER_DEAD_SECONDS}
    taken = connection.execute(sa.text(_RELEASE.format(condition=_DEAD)), params).all()
    connection.execute(
        sa.text("DELETE FROM archiver_worker WHERE seen_at < now() - interval '1 day'"),
    )
    model.Session.commit()
    if taken:
        log.warning("%s requests were taken from workers that died", len(taken))
    for resource_id, deaths in taken:
        if deaths >= config.poison_deaths():
            _set_aside(resource_id, deaths)
    return len(taken)


def _set_aside(resource_id: str, deaths: int) -> None:
    claim = outbox.claim(resource_id, "", "housekeeping", at_once=True)
    if claim is None:
        model.Session.rollback()
        return
    archiving.set_aside(claim, deaths)
    outbox.finish(claim)
    model.Session.commit()
    log.error("Resource %s is set aside: %s workers died while they archived it", resource_id, deaths)


def find_lost_messages() -> int:
    """Send again what the broker has lost: the table says there are messages, and the queue is empty.

    A message that a worker has taken and not yet started is sent twice by this, which does no harm.

    :returns: how many messages were lost
    :raises BrokerError: when the broker does not answer
    """
    connection = broker.connect(timeout=5)
    try:
        empty = [queue for queue in outbox.QUEUES if broker.queue_length(connection, queue) == 0]
    finally:
        connection.release()
    statement = sa.text("""
        UPDATE archiver_request SET sent_until = NULL
        WHERE queue = ANY(:empty) AND lease_token IS NULL AND sent_until > now()
          AND sent_until < now() + (:sent - 10) * interval '1 second'
    """)
    lost = model.Session.connection().execute(statement, {"empty": empty, "sent": dispatch.SENT_SECONDS}).rowcount
    model.Session.commit()
    if lost:
        log.info("%s messages were lost by the broker and are sent again", lost)
    return int(lost)


def put_due() -> int:
    """Put requests for what the schedule says is due.

    :returns: how many
    """
    if config.recheck() == "off":
        return 0
    where = """
        r.id IN (SELECT resource_id FROM archival WHERE next_check_at <= timezone('utc', now())
                 ORDER BY next_check_at LIMIT :batch)
    """
    put = outbox.put_selection(where, {"batch": ROUND_BATCH}, outbox.BULK, "round")
    model.Session.commit()
    return put


def sweep() -> None:
    """Remove temporary files of dead workers and history that is too old."""
    alive = model.Session.connection().execute(
        sa.text("SELECT worker_id FROM archiver_worker WHERE seen_at > now() - interval '5 minutes'")
    )
    live = set(alive.scalars())
    model.Session.connection().execute(
        sa.text("DELETE FROM archival_check WHERE checked_at < timezone('utc', now()) - :days * interval '1 day'"),
        {"days": config.history_days()},
    )
    model.Session.commit()
    archive_dir = config.archive_dir()
    if archive_dir:
        store.sweep(archive_dir, 3600, live)
