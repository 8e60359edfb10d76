"""The regular round: puts requests by the schedule, without any cron, and records when a round began and ended.

A round begins when a request is put on the empty queue ``bulk``, by the schedule or by a command, and is finished
when that queue is empty again.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import compat, config
from ckanext.archiver.log_lines import LogLine
from ckanext.archiver.queue import enqueue, sql
from ckanext.archiver.queue.types import Queue, Reason

log = logging.getLogger(__name__)

DUE_AT_ONCE = 10_000
"""Links that one reading of the schedule puts on the queue."""

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

# Resources older than the extension, or created while edits put no requests; and links of the releases before 3.0,
# which had no schedule.
_NEVER_PLANNED = """
    p.state = 'active' AND a.next_check_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM archiver_request q WHERE q.resource_id = r.id)
"""


class Selection:
    """Resources that a condition selects, however many, and putting requests for them in flat memory.

    The selection is read once, into rows of its own of an ordinary table: a temporary one would belong to a session,
    which behind PgBouncer (transaction mode) lasts for a transaction. The requests are put in set-based statements of
    ``BATCH`` resources, each in its own transaction. ::

        with Selection("a.resource_id IS NULL", {}) as selection:
            print(selection.count)
            for put in selection.put(Queue.BULK, Reason.COMMAND):
                ...

    :param where: see :func:`enqueue.selection_sql`
    :param limit: how many resources at most: those checked longest ago
    :ivar count: how many resources
    """

    def __init__(self, where: str, params: Mapping[str, Any], limit: int | None = None) -> None:
        self.where, self.params, self.limit = where, params, limit
        self.run = uuid.uuid4().hex
        self.count = 0

    def __enter__(self) -> Selection:
        with self._transaction() as connection:
            self.count = self._read(connection)
        return self

    def __exit__(self, failure: type[BaseException] | None, *details: object) -> None:
        # After a failure the database may be gone; another statement would hide the error. The rows are deleted later.
        if failure is None:
            with self._transaction() as connection:
                connection.execute(sa.text("DELETE FROM archiver_selection WHERE run = :run"), {"run": self.run})

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Not of this thread's session, whose transaction the caller may be using."""
        with model.meta.engine.begin() as connection:
            yield connection

    def _read(self, connection: Any) -> int:
        order = "ORDER BY a.checked_at NULLS FIRST, r.id LIMIT :limit"
        read = connection.execute(
            sa.text(f"""
                INSERT INTO archiver_selection (run, number, id, package_id, host)
                SELECT :run, row_number() OVER (ORDER BY id), selected.id, selected.package_id, selected.host
                FROM ({enqueue.selection_sql(self.where)} {order}) selected
            """),  # noqa: S608 - constants only
            {**self.params, "limit": self.limit, "run": self.run},
        )
        return int(read.rowcount)

    def _number(self, statement: str) -> int:
        with self._transaction() as connection:
            return int(connection.execute(sa.text(statement), {"run": self.run}).scalar_one())

    def hosts(self) -> int:
        """How many hosts the resources are on."""
        return self._number("SELECT count(DISTINCT host) FROM archiver_selection WHERE run = :run AND host <> ''")

    def open(self) -> int:
        """For how many of the resources a request is open."""
        return self._number("""
            SELECT count(*) FROM archiver_selection s JOIN archiver_request q ON q.resource_id = s.id WHERE s.run = :run
        """)

    def put(self, queue: str, reason: str) -> Iterator[int]:
        """Put requests, batch by batch; each batch that was yielded is committed.

        :returns: of each batch, how many requests were put or promoted
        """
        source = """
            SELECT id, package_id, host FROM archiver_selection
            WHERE run = :run AND number > :start AND number <= :start + :batch
        """
        for start in range(0, self.count, BATCH):
            params = {"run": self.run, "start": start, "batch": BATCH}
            with self._transaction() as connection:
                put = enqueue.put_selected(connection, source, params, queue, reason)
                if put and queue == Queue.BULK:
                    _begin(connection)
            yield put
        if self.count > BATCH:
            # The dispatcher's plans rest on this, and autovacuum may run a minute later.
            with self._transaction() as connection:
                connection.execute(sa.text("ANALYZE archiver_request"))


def delete_old_selections() -> None:
    """Delete what commands left that failed, in the caller's transaction."""
    sql.run("DELETE FROM archiver_selection WHERE selected_at < now() - interval '1 day'")


def put_due() -> int:
    """Put requests for the links that are due by the schedule, in the caller's transaction.

    What a command or an edit has requested already is not requested twice, and every check of a link, for any
    reason, moves the next regular one: so lines in a crontab do not double the work.

    :returns: how many
    """
    if config.recheck() == "off" or not is_my_turn("due", 60):
        return 0
    put = enqueue.put_selection(_DUE, {"due_at_once": DUE_AT_ONCE}, Queue.BULK, Reason.ROUND)
    if put:
        _begin(model.Session.connection())
    return put


def put_never_planned() -> int:
    """Put requests for resources that are in no schedule, in transactions of its own.

    :returns: how many
    """
    if config.recheck() == "off":
        return 0
    # Committed at once: the other workers must not wait for the end of this.
    with sql.transaction():
        turn = is_my_turn("never-planned", 3600)
    if not turn:
        return 0
    with Selection(_NEVER_PLANNED, {}) as selection:
        count = sum(selection.put(Queue.BULK, Reason.ROUND))
    if count:
        log.info("%s resources were not in the schedule; they are requested now", count)
    return count


_TAKE_TURN = """
    INSERT INTO archiver_state AS s (key, value) VALUES (:key, '{}')
    ON CONFLICT (key) DO UPDATE SET updated_at = now()
    WHERE s.updated_at <= now() - :seconds * interval '1 second'
"""


def is_my_turn(chore: str, seconds: float) -> bool:
    """Whether this worker does a chore now that one of all workers does every so often, in the caller's transaction.

    :param seconds: how often
    """
    return bool(sql.run(_TAKE_TURN, key=f"turn:{chore}", seconds=seconds).rowcount)


# -- bookkeeping -------------------------------------------------------------------------------------------


def _begin(connection: Any) -> None:
    """Record that a round has begun, in the caller's transaction, unless one is going on."""
    connection.execute(
        sa.text("""
            INSERT INTO archiver_state AS s (key, value)
            VALUES ('round', jsonb_build_object('started_at', now()))
            ON CONFLICT (key) DO UPDATE SET updated_at = now(),
                value = EXCLUDED.value || jsonb_build_object('last', s.value->'last')
            WHERE NOT s.value ? 'started_at'
        """)
    )


_FINISH = """
    UPDATE archiver_state s SET updated_at = now(), value = jsonb_build_object('last', jsonb_build_object(
        'started_at', s.value->'started_at', 'finished_at', now(),
        'checks', (SELECT count(*) FROM archival_check
                   WHERE checked_at >= timezone('utc', CAST(s.value->>'started_at' AS timestamptz)))))
    WHERE s.key = 'round' AND s.value ? 'started_at'
      AND NOT EXISTS (SELECT 1 FROM archiver_request WHERE queue = 'bulk')
    RETURNING s.value->'last'
"""


def note_finished() -> bool:
    """Record, in the caller's transaction, that the round is finished, where no request of it is left.

    :returns: whether it was finished now
    """
    ended = sql.run(_FINISH).scalar()
    if ended is not None:
        log.info("%s", _summary(compat.parsed_json(ended)))
    return ended is not None


_VERDICTS = """
    SELECT verdict, count(*) AS number FROM archival_check
    WHERE checked_at >= timezone('utc', CAST(:began AS timestamptz)) GROUP BY verdict ORDER BY verdict
"""
_CHANGES = """
    SELECT (SELECT count(*) FROM archival WHERE is_broken AND broken_since >= began) AS newly_broken,
           (SELECT count(*) FROM archival WHERE repaired_at >= began) AS repaired
    FROM (SELECT timezone('utc', CAST(:began AS timestamptz)) AS began) AS round
"""


def _summary(ended: Mapping[str, Any]) -> LogLine:
    began = ended["started_at"]
    seconds = datetime.fromisoformat(ended["finished_at"]) - datetime.fromisoformat(began)
    verdicts = {row.verdict.replace("-", "_"): row.number for row in sql.run(_VERDICTS, began=began)}
    changes = sql.run(_CHANGES, began=began).mappings().one()
    return LogLine(
        "round-finished",
        began=began,
        seconds=round(seconds.total_seconds()),
        checks=ended["checks"],
        **verdicts,
        **changes,
    )


def bookkeeping() -> Mapping[str, Any]:
    """``started_at`` of the round that is going on, if any, and ``last`` with ``started_at``, ``finished_at`` and
    ``checks`` of the last finished one, if any. Times are ISO 8601."""
    value = sql.run("SELECT value FROM archiver_state WHERE key = 'round'").scalar()
    entries = compat.parsed_json(value) or {}
    return {key: entry for key, entry in entries.items() if entry is not None}
