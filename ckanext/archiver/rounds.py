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

from ckanext.archiver import config, outbox

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


def put(where: str, params: Mapping[str, Any], queue: str, reason: str, *,
        limit: int | None = None) -> Iterator[outbox.Batch]:  # fmt: skip
    """Put requests for what a condition selects, in set-based statements of ``BATCH`` resources, each its own commit.

    Memory stays flat whatever the number, and each batch that was yielded is safe.

    :param where: see :func:`outbox.put_batch`
    :param limit: how many resources at most
    """
    after, left = "", limit
    while left is None or left > 0:
        size = BATCH if left is None else min(BATCH, left)
        batch = outbox.put_batch(where, params, queue, reason, after=after, limit=size)
        if batch.put and queue == outbox.BULK:
            _begin()
        model.Session.commit()
        yield batch
        if batch.selected < size:
            return
        after = batch.last_id
        left = None if left is None else left - batch.selected


def put_due() -> int:
    """Put requests for what the schedule says is due.

    What a command or an edit has requested already is not requested twice, and every look at a link, whoever wanted
    it, moves its next regular one: so lines in a crontab do not double the work.

    :returns: how many
    """
    if config.recheck() == "off" or not my_turn("due", 60):
        return 0
    return sum(batch.put for batch in put(_DUE, {"due_at_once": DUE_AT_ONCE}, outbox.BULK, "round"))


def put_never_planned() -> int:
    """Put requests for resources that nobody looked at and that are in no schedule.

    :returns: how many
    """
    if config.recheck() == "off" or not my_turn("never-planned", 3600):
        return 0
    count = sum(batch.put for batch in put(_NEVER_PLANNED, {}, outbox.BULK, "round"))
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


def _begin() -> None:
    """Note that a round is going on, in the caller's transaction."""
    model.Session.connection().execute(
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
    ended = model.Session.connection().execute(
        sa.text("""
            UPDATE archiver_state s SET updated_at = now(), value = jsonb_build_object('last', jsonb_build_object(
                'started_at', s.value->'started_at', 'finished_at', now(),
                'checks', (SELECT count(*) FROM archival_check
                           WHERE checked_at >= timezone('utc', CAST(s.value->>'started_at' AS timestamptz)))))
            WHERE s.key = 'round' AND s.value ? 'started_at'
              AND NOT EXISTS (SELECT 1 FROM archiver_request WHERE queue = 'bulk')
            RETURNING s.value->'last'
        """)
    ).scalar()
    model.Session.commit()
    if ended is not None:
        ended = json.loads(ended) if isinstance(ended, str) else ended
        log.info("The round that began at %s is finished: %s checks", ended["started_at"], ended["checks"])
    return ended is not None


def bookkeeping() -> Mapping[str, Any]:
    """``started_at`` of the round that is going on, if any, and ``last`` with ``started_at``, ``finished_at`` and
    ``checks`` of the last finished one, if any. Times are ISO 8601."""
    value = model.Session.connection().execute(
        sa.text("SELECT value FROM archiver_state WHERE key = 'round'")
    ).scalar()  # fmt: skip
    found = json.loads(value) if isinstance(value, str) else value or {}
    return {key: one for key, one in found.items() if one is not None}
