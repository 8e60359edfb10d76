"""What keeps the table of requests true whatever dies: signs of life, leases of the dead, lost messages."""

from __future__ import annotations

import logging
import os
import socket
import time

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import config
from ckanext.archiver.engine import store
from ckanext.archiver.queue import broker, claims, dispatch, leases
from ckanext.archiver.queue.types import DIRECT, Queue

log = logging.getLogger(__name__)

DIRECT_SECONDS = 3600
"""Age at which a temporary file of a command is left over."""


_steady_since: float | None = None
"""Since when (``time.monotonic``) our own signs of life have reached the database without a break."""


def show_alive(worker_id: str, queues: list[str]) -> None:
    """Tell that a worker is alive."""
    global _steady_since
    try:
        model.Session.connection().execute(
            sa.text("""
                INSERT INTO archiver_worker (worker_id, hostname, pid, queues) VALUES (:id, :hostname, :pid, :queues)
                ON CONFLICT (worker_id) DO UPDATE SET seen_at = now()
            """),
            {
                "id": worker_id,
                "hostname": socket.gethostname(),
                "pid": os.getpid(),
                "queues": ",".join(queues),
            },
        )
        model.Session.commit()
    except sa.exc.SQLAlchemyError:
        _steady_since = None
        raise
    _steady_since = _steady_since or time.monotonic()


def _may_judge() -> bool:
    """Whether the silence of others means something: when the database was away, all were silent."""
    return _steady_since is not None and time.monotonic() - _steady_since > config.worker_dead_seconds()


def say_goodbye(worker_id: str) -> None:
    """Take a worker off the list and return what it still holds."""
    connection = model.Session.connection()
    connection.execute(sa.text(_RELEASE.format(condition="leased_by = :id")), {"id": worker_id, "died": 0})
    connection.execute(sa.text("DELETE FROM archiver_worker WHERE worker_id = :id"), {"id": worker_id})
    model.Session.commit()


def return_forgotten(worker_id: str) -> int:
    """Give back what this worker took and no longer has in hand: it lost the database before it could write.

    :returns: how many requests
    """
    connection = model.Session.connection()
    held = connection.execute(
        sa.text("""
            SELECT lease_token FROM archiver_request WHERE lease_token IS NOT NULL AND leased_by = :id
            UNION SELECT lease_token FROM archiver_notice WHERE leased_by = :id
        """),
        {"id": worker_id},
    )
    # Read before we look at what is in hand: what is taken from here on is not in it.
    forgotten = [token for token in held.scalars() if not leases.in_flight(token)]
    returned = 0
    if forgotten:
        condition = "lease_token = ANY(:tokens)"
        params = {"tokens": forgotten, "died": 0}
        returned = connection.execute(sa.text(_RELEASE.format(condition=condition)), params).rowcount
        connection.execute(
            sa.text(f"UPDATE archiver_notice SET lease_token = NULL, leased_by = NULL WHERE {condition}"),  # noqa: S608 - a constant
            {"tokens": forgotten},
        )
    model.Session.commit()
    return int(returned)


# What an edit has locked comes next time.
_RELEASE = (
    claims.update_free(
        "lease_token = NULL, leased_by = NULL, leased_until = NULL, sent_until = NULL, again = false, "
        "deaths = deaths + :died",
        "lease_token IS NOT NULL AND ({condition})",
    )
    + "RETURNING resource_id, deaths"
)

_DEAD = """
    leased_until < now()
    OR (leased_by <> 'direct' AND leased_until < now() + (:lease - :dead) * interval '1 second' AND NOT EXISTS (
        SELECT 1 FROM archiver_worker w
        WHERE w.worker_id = leased_by AND w.seen_at > now() - :dead * interval '1 second'))
"""


def take_from_the_dead() -> int:
    """Make what dead workers held available again. What has killed too many is set aside by who claims it next.

    :returns: how many requests were taken back
    """
    connection = model.Session.connection()
    taken = list(
        connection.execute(
            sa.text(_RELEASE.format(condition="leased_by = ANY(:gone)")),
            {"died": 1, "gone": _gone_neighbours()},
        )
    )
    if _may_judge():
        params = {"died": 1, "dead": config.worker_dead_seconds(), "lease": config.lease_seconds()}
        taken += connection.execute(sa.text(_RELEASE.format(condition=_DEAD)), params).all()
    connection.execute(
        sa.text("DELETE FROM archiver_worker WHERE seen_at < now() - interval '1 day'"),
    )
    model.Session.commit()
    if taken:
        log.warning("%s requests were taken from workers that died", len(taken))
    return len(taken)


def _gone_neighbours() -> list[str]:
    """Workers of this machine whose process is gone: they need not be waited for as long as silent ones elsewhere.

    They must have missed a sign of life too, since two containers may share a name and not see each other's processes.
    """
    silent = model.Session.connection().execute(
        sa.text("""
            SELECT worker_id, pid FROM archiver_worker
            WHERE hostname = :here AND seen_at < now() - :dead / 3.0 * interval '1 second'
        """),
        {"here": socket.gethostname(), "dead": config.worker_dead_seconds()},
    )
    gone = [worker_id for worker_id, pid in silent if not _runs(pid)]
    if gone:
        model.Session.connection().execute(
            sa.text("DELETE FROM archiver_worker WHERE worker_id = ANY(:gone)"), {"gone": gone}
        )
    return gone


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def find_lost_messages() -> int:
    """Send again what the broker has lost: the table says there are messages, and the queue is empty.

    A message that a worker has taken and not yet started is sent twice by this, which does no harm.

    :returns: how many messages were lost
    :raises BrokerError: when the broker does not answer
    """
    empty = broker.on_kept_connection(
        lambda connection: [queue for queue in Queue if broker.queue_length(connection, queue) == 0]
    )
    statement = sa.text(
        claims.update_free(
            "sent_until = NULL",
            """
        queue = ANY(:empty) AND lease_token IS NULL AND sent_until > now()
        AND sent_until < now() + (:sent - 10) * interval '1 second'""",
        )
    )
    lost = model.Session.connection().execute(statement, {"empty": empty, "sent": dispatch.SENT_SECONDS}).rowcount
    model.Session.commit()
    if lost:
        log.info("%s messages were lost by the broker and are sent again", lost)
    return int(lost)


def forget_old_checks() -> None:
    """Remove history that is too old."""
    model.Session.connection().execute(
        sa.text("DELETE FROM archival_check WHERE checked_at < timezone('utc', now()) - :days * interval '1 day'"),
        {"days": config.history_days()},
    )
    model.Session.commit()


def sweep() -> None:
    """Remove temporary files of dead workers."""
    archive_dir = config.archive_dir()
    if archive_dir is None:
        return
    dead = config.worker_dead_seconds()
    alive = model.Session.connection().execute(
        sa.text("SELECT worker_id FROM archiver_worker WHERE seen_at > now() - :dead * interval '1 second'"),
        {"dead": dead},
    )
    live = set(alive.scalars())
    model.Session.commit()
    store.sweep(archive_dir, dead, live | {DIRECT})
    # Processes that are no workers do not tell whether they live.
    store.sweep(archive_dir, DIRECT_SECONDS, live)
