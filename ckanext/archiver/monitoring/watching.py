"""What ``ckan archiver status --watch`` shows beside the state: the progress of the round, hosts, and failures."""

from __future__ import annotations

from dataclasses import dataclass

from ckan import model

from ckanext.archiver.monitoring.state import Status, collect, number
from ckanext.archiver.queue import host_states, sql
from ckanext.archiver.queue.host_states import HostState
from ckanext.archiver.queue.types import Queue

HOUR = 3600
"""Seconds for which failures are counted."""


@dataclass(frozen=True)
class Watched:
    """The state at a moment.

    :ivar checked: checks since the round began; None while no round is going on
    :ivar left: requests of the round that are left
    :ivar hosts: those that most requests wait for
    :ivar failures: failed checks of the last hour by cause, the most frequent first
    """

    status: Status
    checked: int | None
    left: int
    hosts: list[HostState]
    failures: dict[str, int]


_CHECKED = "SELECT count(*) FROM archival_check WHERE checked_at >= timezone('utc', CAST(:since AS timestamptz))"
_FAILURES = """
    SELECT cause, count(*) AS number FROM archival_check
    WHERE checked_at > timezone('utc', now()) - :seconds * interval '1 second' AND verdict <> 'ok'
    GROUP BY cause ORDER BY number DESC, cause LIMIT 20
"""


def watch(hosts: int) -> Watched:
    """The state now.

    :param hosts: how many hosts at most
    :raises sqlalchemy.exc.SQLAlchemyError: the database is away
    """
    status = collect()
    try:
        bulk = status["queues"][Queue.BULK]
        since = status["round"].get("started_at")
        return Watched(
            status,
            None if since is None else number(_CHECKED, since=since),
            bulk["waiting"] + bulk["running"],
            host_states.top(hosts),
            dict(map(tuple, sql.run(_FAILURES, seconds=HOUR))),
        )
    finally:
        model.Session.rollback()
