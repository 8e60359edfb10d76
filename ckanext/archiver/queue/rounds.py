"""The regular round: looks at the schedule and puts requests, without any cron, and knows when it was last done.

A round begins when something is put on the empty queue ``bulk``, by the schedule or by a command, and is finished
when that queue is empty again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import config
from ckanext.archiver.queue import enqueue
from ckanext.archiver.queue.types import Queue, Reason

log = logging.getLogger(__name__)

DUE_AT_ONCE = 10_000
"""Links that one look at the schedule puts on the queue."""

BATCH = 20_000
"""Resources for which one transaction puts requests: an edit of a resource waits for the transaction that puts it."""

_DUE = """
    r.id IN (
        SELECT a.resource_id FROM archival a
        JOIN resource r ON r.id = a.resource_id JOIN package p ON p.id = r.package_id
        WHERE a.next_check_at <= timezone('utc', now()) AND r.state = 'active' AND p.state = 'active'
          AND NOT EXISTS (SELECT 1 FROM archiver_request q WHERE q.resource_id = a.resource_id)
        ORDER BY a.next_check_at LIMIT :due_at_once)
"""

# Resources that were there before the extension was, or that came while edits put no requests; and links of the
# releases before 3.0, which had no schedule.
_NEVER_PLANNED = """
    p.state = 'active' AND a.next_check_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM archiver_request q WHERE q.resource_id = r.id)
"""


class Selection:
    """Resources that a condition selects, however many, and putting requests for them with flat memory.

    What is selected is read once, into a temporary table, which keeps nobody from anything; the requests are put in
    set-based statements of ``BATCH`` resources, each its own commit. ::

        with Selection("a.resource_id IS NULL", {}) as wanted:
            print(wanted.count)
            for put in wanted.put(Queue.BULK, Reason.COMMAND):
                ...

    :param where: see :func:`enqueue.selection_sql`
    :param limit: how many resources at most: those that were looked at longest ago
    :ivar count: how many resources
    """

    def __init__(self, where: str, params: Mapping[str, Any], limit: int | None = None) -> None:
        self.where, self.params, self.limit = where, params, limit
        self.count = 0

    def __enter__(self) -> Selection:
        # A connection of our own, since the table belongs to it.
        self._connection = model.meta.engine.connect()
        try:
            with self._connection.begin():
                self.count = self._read()
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(self, failure: type[BaseException] | None, *details: object) -> None:
        if failure is None:
            with self._connection.begin():
                self._connection.execute(sa.text("DROP TABLE archiver_selection"))
        # After a failure the connection may be gone; asking it for more would hide what happened to it.
        self._connection.close()

    def _read(self) -> int:
        order = "ORDER BY a.checked_at NULLS FIRST, r.id LIMIT :limit"
        # A connection comes from a pool: whoever had it before may have been interrupted.
        self._connection.execute(sa.text("DROP TABLE IF EXISTS pg_temp.archiver_selection"))
        self._connection.execute(
            sa.text(f"""
                CREATE TEMPORARY TABLE archiver_selection AS
                SELECT row_number() OVER (ORDER BY id) AS number, selected.*
                FROM ({enqueue.selection_sql(self.where)} {order}) selected
            """),  # noqa: S608 - constants only
            {**self.params, "limit": self.limit},
        )
        self._connection.execute(sa.text("CREATE UNIQUE INDEX ON archiver_selection (number)"))
        return int(self._connection.execute(sa.text("SELECT count(*) FROM archiver_selection")).scalar_one())

    def hosts(self) -> int:
        """How many hosts the resources are on."""
        with self._connection.begin():
            found = self._connection.execute(
                sa.text("SELECT count(DISTINCT host) FROM archiver_selection WHERE host <> ''")
            )
            return int(found.scalar_one())

    def open(self) -> int:
        """For how many of the resources a request is open."""
        with self._connection.begin():
            found = self._connection.execute(
                sa.text("SELECT count(*) FROM archiver_selection JOIN archiver_request ON resource_id = id")
            )
            return int(found.scalar_one())

    def put(self, queue: str, reason: str) -> Iterator[int]:
        """Put requests, batch by batch; each that was yielded is safe.

        :returns: how many were put or promoted, of each batch
        """
        source = "SELECT * FROM archiver_selection WHERE number > :start AND number <= :start + :batch"
        for start in range(0, self.count, BATCH):
            with self._connection.begin():
                put = enqueue.put_selected(self._connection, source, {"start": start, "batch": BATCH}, queue, reason)
                if put and queue == Queue.BULK:
                    _begin(self._connection)
            yield put
        if self.count > BATCH:
            # The dispatcher's plans rest on this, and autovacuum may come a minute later.
            with self._connection.begin():
                self._connection.execute(sa.text("ANALYZE archiver_request"))


def put_due() -> int:
    """Put requests for what the schedule says is due.

    What a command or an edit has requested already is not requested twice, and every look at a link, whoever wanted
    it, moves its next regular one: so lines in a crontab do not double the work.

    :returns: how many
    """
    if config.recheck() == "off" or not my_turn("due", 60):
        return 0
    put = enqueue.put_selection(_DUE, {"due_at_once": DUE_AT_ONCE}, Queue.BULK, Reason.ROUND)
    if put:
        _begin(model.Session.connection())
    model.Session.commit()
    return put


def put_never_planned() -> int:
    """Put requests for resources that nobody looked at and that are in no schedule.

    :returns: how many
    """
    if config.recheck() == "off" or not my_turn("never-planned", 3600):
        return 0
    with Selection(_NEVER_PLANNED, {}) as wanted:
        count = sum(wanted.put(Queue.BULK, Reason.ROUND))
    if count:
        log.info("%s resources were not in the schedule; they are requested now", count)
    return count


def my_turn(job: str, seconds: float) -> bool:
    """Whether this worker does a job now that one of all workers does every so often; the others do not, then.

    :param seconds: how often
    """
    done = model.Session.connection().execute(
        sa.text("""
            INSERT INTO archiver_state AS s (key, value) VALUES (:key, '{}')
            ON CONFLICT (key) DO UPDATE SET updated_at = now()
            WHERE s.updated_at <= now() - :seconds * interval '1 second'
        """),
        {"key": f"turn:{job}", "seconds": seconds},
    )
    model.Session.commit()
    return bool(done.rowcount)


# -- bookkeeping -------------------------------------------------------------------------------------------


def _begin(connection: Any) -> None:
    """Note that a round is going on, in the caller's transaction."""
    connection.execute(
        sa.text("""
            INSERT INTO archiver_state AS s (key, value)
            VALUES ('round', jsonb_build_object('started_at', now()))
            ON CONFLICT (key) DO UPDATE SET updated_at = now(),
                value = EXCLUDED.value || jsonb_build_object('last', s.value->'last')
            WHERE NOT s.value ? 'started_at'
        """)
    )


def note_end() -> bool:
    """Note that the round is finished, when there is nothing left of it.

    :returns: whether it was finished now
    """
    ended = (
        model.Session.connection()
        .execute(
            sa.text("""
            UPDATE archiver_state s SET updated_at = now(), value = jsonb_build_object('last', jsonb_build_object(
                'started_at', s.value->'started_at', 'finished_at', now(),
                'checks', (SELECT count(*) FROM archival_check
                           WHERE checked_at >= timezone('utc', CAST(s.value->>'started_at' AS timestamptz)))))
            WHERE s.key = 'round' AND s.value ? 'started_at'
              AND NOT EXISTS (SELECT 1 FROM archiver_request WHERE queue = 'bulk')
            RETURNING s.value->'last'
        """)
        )
        .scalar()
    )
    model.Session.commit()
    if ended is not None:
        ended = json.loads(ended) if isinstance(ended, str) else ended
        log.info("The round that began at %s is finished: %s checks", ended["started_at"], ended["checks"])
    return ended is not None


def bookkeeping() -> Mapping[str, Any]:
    """``started_at`` of the round that is going on, if any, and ``last`` with ``started_at``, ``finished_at`` and
    ``checks`` of the last finished one, if any. Times are ISO 8601."""
    value = model.Session.connection().execute(sa.text("SELECT value FROM archiver_state WHERE key = 'round'")).scalar()
    found = json.loads(value) if isinstance(value, str) else value or {}
    return {key: one for key, one in found.items() if one is not None}
