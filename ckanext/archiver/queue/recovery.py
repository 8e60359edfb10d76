"""Keeps the table of requests true when processes die: heartbeats, leases of dead workers, lost messages."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Sequence

import sqlalchemy as sa

from ckanext.archiver import config
from ckanext.archiver.engine import store
from ckanext.archiver.queue import broker, claims, dispatch, leases, sql
from ckanext.archiver.queue.types import DIRECT, Queue

log = logging.getLogger(__name__)

DIRECT_SECONDS = 3600
"""Seconds after which a temporary file of a command counts as left behind."""


_steady_since: float | None = None
"""Since when (``time.monotonic``) each heartbeat of this process has reached the database."""
_last_heartbeat = float("-inf")

_HEARTBEAT = """
    INSERT INTO archiver_worker AS w (worker_id, hostname, pid, queues, polls_since)
    VALUES (:id, :hostname, :pid, :queues, CASE WHEN :polls THEN now() END)
    ON CONFLICT (worker_id) DO UPDATE SET seen_at = now(),
        polls_since = CASE WHEN :polls THEN coalesce(w.polls_since, now()) END
"""


def record_heartbeat(worker_id: str, queues: list[str]) -> None:
    """Record that a worker is alive, in the caller's transaction."""
    global _steady_since, _last_heartbeat
    try:
        sql.run(
            _HEARTBEAT,
            id=worker_id,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            queues=",".join(queues),
            polls=leases.current().polls,
        )
    except sa.exc.SQLAlchemyError:
        _steady_since = None
        raise
    now = time.monotonic()
    if _steady_since is None or now - _last_heartbeat > config.worker_dead_seconds() / 2:
        _steady_since = now
    _last_heartbeat = now


def _may_judge() -> bool:
    """Whether the silence of other workers means anything: while the database is away, all are silent."""
    return _steady_since is not None and time.monotonic() - _steady_since > config.worker_dead_seconds()


# What another transaction has locked is released the next time.
_RELEASE = (
    sql.update_unlocked(
        f"{sql.RELEASE_LEASE}, deaths = deaths + :died",
        "lease_token IS NOT NULL AND ({condition})",
    )
    + "RETURNING resource_id, deaths"
)
_RELEASE_WORKER = _RELEASE.format(condition="leased_by = :id")
_RELEASE_TOKENS = _RELEASE.format(condition="lease_token = ANY(:tokens)")
_RELEASE_GONE = _RELEASE.format(condition="leased_by = ANY(:gone)")
_RELEASE_DEAD = _RELEASE.format(
    condition=f"""
        leased_until < now()
        OR (leased_by <> '{DIRECT}' AND leased_until < now() + (:lease - :dead) * interval '1 second' AND NOT EXISTS (
            SELECT 1 FROM archiver_worker w WHERE w.worker_id = leased_by AND {sql.WORKER_IS_ALIVE}))
    """  # noqa: S608 - constants only
)


def deregister(worker_id: str) -> None:
    """Delete a worker's row and release what it still holds, in the caller's transaction."""
    sql.run(_RELEASE_WORKER, id=worker_id, died=0)
    sql.run("DELETE FROM archiver_worker WHERE worker_id = :id", id=worker_id)


_TOKENS = """
    SELECT lease_token FROM archiver_request WHERE lease_token IS NOT NULL AND leased_by = :id
    UNION SELECT lease_token FROM archiver_notice WHERE leased_by = :id
"""


def release_forgotten_leases(worker_id: str) -> int:
    """Release, in the caller's transaction, what this worker claimed and no longer has in flight: it lost the database
    before it could write.

    :returns: how many requests
    """
    # Read before the tokens in flight: what is claimed from here on is not in it.
    tokens = sql.run(_TOKENS, id=worker_id).scalars().all()
    forgotten = [token for token in tokens if not leases.in_flight(token)]
    if not forgotten:
        return 0
    released = sql.run(_RELEASE_TOKENS, tokens=forgotten, died=0).rowcount
    sql.run(
        "UPDATE archiver_notice SET lease_token = NULL, leased_by = NULL WHERE lease_token = ANY(:tokens)",
        tokens=forgotten,
    )
    return int(released)


def release_leases_of_the_dead() -> int:
    """Release what dead workers hold, in the caller's transaction. A request that has killed too many workers is set
    aside by the worker that claims it next.

    :returns: how many requests
    """
    released = sql.run(_RELEASE_GONE, died=1, gone=_gone_neighbours()).all()
    if _may_judge():
        dead, lease = config.worker_dead_seconds(), config.lease_seconds()
        released += sql.run(_RELEASE_DEAD, died=1, dead=dead, lease=lease).all()
    sql.run("DELETE FROM archiver_worker WHERE seen_at < now() - interval '1 day'")
    if released:
        log.warning("%s requests of workers that died are released", len(released))
    return len(released)


_SILENT_NEIGHBOURS = """
    SELECT worker_id, pid FROM archiver_worker
    WHERE hostname = :here AND seen_at < now() - :dead / 3.0 * interval '1 second'
"""


def _gone_neighbours() -> list[str]:
    """Workers of this machine whose process is gone: their leases are released earlier than those of silent workers
    elsewhere.

    They must have missed a heartbeat too: two containers may share a host name and not see each other's processes.
    """
    silent = sql.run(_SILENT_NEIGHBOURS, here=socket.gethostname(), dead=config.worker_dead_seconds())
    gone = [worker_id for worker_id, pid in silent if not _runs(pid)]
    if gone:
        sql.run("DELETE FROM archiver_worker WHERE worker_id = ANY(:gone)", gone=gone)
    return gone


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


_UNSEND_LOST = sql.update_unlocked(
    "sent_until = NULL",
    f"""
        queue = ANY(:empty) AND {sql.IN_WINDOW} AND lease_token IS NULL AND sent_until > now()
        AND sent_until < now() + (:sent - 10) * interval '1 second'
    """,
)


def forget_lost_messages() -> int:
    """Have messages sent again that the broker has lost: by the table they were sent, and the queue is empty.

    In a transaction of its own, after the broker was asked. A message that a worker has received and not yet claimed is
    sent twice by this, which does no harm.

    :returns: how many messages were lost
    :raises BrokerError: when the broker does not answer
    """
    empty = broker.on_kept_connection(
        lambda connection: [queue for queue in Queue if broker.queue_length(connection, queue) == 0]
    )
    with sql.transaction():
        lost = sql.run(_UNSEND_LOST, empty=empty, sent=dispatch.SENT_SECONDS).rowcount
    if lost:
        log.info("%s messages were lost by the broker and are sent again", lost)
    return int(lost)


_FORGET_MESSAGES = sql.update_unlocked(
    "sent_until = NULL",
    f"queue = ANY(:queues) AND {sql.IN_WINDOW} AND lease_token IS NULL "
    "AND sent_until > now() + :in_hand * interval '1 second'",
)


def forget_messages(queues: Sequence[str]) -> None:
    """Count all messages of these queues as lost, in the caller's transaction: the broker that holds them is away."""
    sql.run(_FORGET_MESSAGES, queues=list(queues), in_hand=claims.IN_HAND_SECONDS)


def delete_old_checks() -> None:
    """Delete history older than ``history_days``, in the caller's transaction."""
    sql.run(
        "DELETE FROM archival_check WHERE checked_at < timezone('utc', now()) - :days * interval '1 day'",
        days=config.history_days(),
    )


def sweep() -> None:
    """Delete temporary files of dead workers."""
    archive_dir = config.archive_dir()
    if archive_dir is None:
        return
    dead = config.worker_dead_seconds()
    # Its own transaction: to walk through the folders may take long.
    with sql.transaction():
        statement = f"SELECT worker_id FROM archiver_worker w WHERE {sql.WORKER_IS_ALIVE}"  # noqa: S608 - a constant
        # This process is alive, even if its heartbeat was not written.
        alive = {leases.worker_id(), *sql.run(statement, dead=dead).scalars()}
    store.sweep(archive_dir, dead, alive | {DIRECT})
    # Processes that are no workers send no heartbeat.
    store.sweep(archive_dir, DIRECT_SECONDS, alive)
