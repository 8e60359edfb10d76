"""What an operator has paused: everything, a queue, a host, or a host on one queue.

A pause is a row: it holds for the workers of all machines until it is ended. Restarts do not end it, and it needs no
broker. Requests are put as always. The dispatcher sends none that is paused, and a worker claims none: it
puts back what it has received. What is in flight ends.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from ckanext.archiver.queue import due_bulk, sql


@dataclass(frozen=True)
class Pause:
    """A pause.

    :ivar queue: empty for both
    :ivar host: empty for all
    :ivar paused_by: who paused it: a user of the operating system and a machine, or the name given to the command
    :ivar paused_at: aware, UTC
    """

    queue: str
    host: str
    paused_by: str
    reason: str
    paused_at: datetime

    @property
    def what(self) -> str:
        """What is paused, in English."""
        if not self.host:
            return f"the queue {self.queue}" if self.queue else "everything"
        return f"the host {self.host}" + (f" on the queue {self.queue}" if self.queue else "")

    @property
    def options(self) -> str:
        """The options of ``ckan archiver resume`` that end it."""
        return (f" --queue {self.queue}" if self.queue else "") + (f" --host {self.host}" if self.host else "")

    @property
    def by_whom(self) -> str:
        """By whom, since when and why, in English."""
        reason = f": {self.reason.rstrip('.')}" if self.reason else ""
        return f"paused by {self.paused_by} since {self.paused_at:%Y-%m-%d %H:%M} UTC{reason}"

    def as_dict(self) -> dict[str, str]:
        """As plain data: ``queue``, ``host``, ``by``, ``reason``, ``since`` (ISO 8601)."""
        return {
            "queue": self.queue,
            "host": self.host,
            "by": self.paused_by,
            "reason": self.reason,
            "since": self.paused_at.isoformat(timespec="seconds"),
        }

    def sentence(self) -> str:
        """In English, without a full stop at the end."""
        return f"{self.what[0].upper()}{self.what[1:]} is {self.by_whom}"


_COLUMNS = "p.queue, p.host, p.paused_by, p.reason, p.paused_at"


def _read(statement: str, **params: object) -> list[Pause]:
    rows = sql.run(statement, **params).mappings()
    return [Pause(**{**row, "paused_at": row["paused_at"].astimezone(timezone.utc)}) for row in rows]


def current(limit: int = 1000) -> list[Pause]:
    """All pauses, the widest first, in the caller's transaction.

    :param limit: how many at most
    """
    return _read(
        f"SELECT {_COLUMNS} FROM archiver_pause p ORDER BY p.host <> '', p.queue <> '', p.host, p.queue LIMIT :limit",  # noqa: S608 - constants only
        limit=limit,
    )


def of_resource(resource_id: str) -> Pause | None:
    """The widest pause that stops the request of a resource, if there is one."""
    found = _read(
        f"""
        SELECT {_COLUMNS} FROM archiver_request q JOIN archiver_pause p
            ON p.queue IN ('', q.queue) AND p.host IN ('', q.host)
        WHERE q.resource_id = :id ORDER BY p.host <> '', p.queue <> '' LIMIT 1
        """,  # noqa: S608 - constants only
        id=resource_id,
    )
    return found[0] if found else None


def of_queue(queue: str) -> Pause | None:
    """The widest pause that stops a whole queue, if there is one."""
    found = _read(
        f"""
        SELECT {_COLUMNS} FROM archiver_pause p
        WHERE p.host = '' AND p.queue IN ('', :queue) ORDER BY p.queue <> '' LIMIT 1
        """,  # noqa: S608 - constants only
        queue=queue,
    )
    return found[0] if found else None


_PAUSE = """
    INSERT INTO archiver_pause (queue, host, paused_by, reason)
    SELECT :queue, host, :paused_by, :reason FROM unnest(CAST(:hosts AS text[])) AS host ORDER BY host
    ON CONFLICT DO NOTHING
"""


def pause(queue: str, hosts: Sequence[str], paused_by: str, reason: str = "") -> bool:
    """Pause requests, in the caller's transaction.

    :param queue: empty for both
    :param hosts: the spellings of one host; [""] for all hosts
    :returns: False where it was paused already, which is left as it is
    """
    params = {"queue": queue, "hosts": list(hosts), "paused_by": paused_by, "reason": reason}
    return bool(sql.run(_PAUSE, **params).rowcount)


_WAKE = f"""
    UPDATE archiver_host SET bulk_at = now() WHERE host IN (
        SELECT host FROM archiver_host
        WHERE bulk_at > now() AND bulk_at <= now() + interval '{due_bulk.BUSY_SECONDS} seconds' FOR UPDATE SKIP LOCKED)
"""  # noqa: S608 - constants only


def resume(queue: str, hosts: Sequence[str]) -> bool:
    """End a pause, in the caller's transaction; the dispatcher goes on with its next tick.

    :returns: False where it was not paused in this way
    """
    ended = sql.run(
        "DELETE FROM archiver_pause WHERE queue = :queue AND host = ANY(:hosts)", queue=queue, hosts=list(hosts)
    ).rowcount
    if ended:
        # Hosts that had messages when the pause began: the messages may be gone.
        sql.run(_WAKE)
    return bool(ended)


def resume_all() -> list[Pause]:
    """End all pauses, in the caller's transaction.

    :returns: what was paused
    """
    ended = current()
    sql.run("DELETE FROM archiver_pause")
    if ended:
        sql.run(_WAKE)
    return ended


def in_flight(queue: str, hosts: Sequence[str]) -> int:
    """How many requests of what is paused workers have in flight."""
    statement = """
        SELECT count(*) FROM archiver_request WHERE lease_token IS NOT NULL AND leased_until > now()
          AND :queue IN ('', queue) AND ('' = ANY(:hosts) OR host = ANY(:hosts))
    """
    return int(sql.run(statement, queue=queue, hosts=list(hosts)).scalar())


def this_user() -> str:
    """The operating system's user of this process, and the machine; with ``sudo``, the user who called it."""
    user = os.environ.get("SUDO_USER")
    if not user:
        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a container whose user has no name
            user = f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()}"
