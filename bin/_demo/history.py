"""Sample history: 90 days of checks of each link before today, as :class:`Past` describes them.

A demo cannot wait for a link to age. The datasets say that the history is sample data. Like ``pictures.py`` this runs
as a process of the stack's environment, which has the database's driver.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _stack import postgres
from _stack.layout import Stack, StackError

DAYS = 90


@dataclass(frozen=True)
class Past:
    """The sample history of a link, in days before today.

    :ivar failing_for: days since which it fails; 0 for a link whose first failure is today's, all of them for one that
        never worked
    :ivar bad_days: earlier days on which it failed
    """

    failing_for: int = 0
    bad_days: tuple[int, ...] = ()


# Days on which the link fails now and then are those of an overloaded server; the present failure is what it is today.
_CHECKS = """
    INSERT INTO archival_check (resource_id, checked_at, verdict, cause, detail, http_status, size, seconds)
    SELECT a.resource_id,
        date_trunc('day', timezone('utc', now())) - day * interval '1 day'
            + (20000 + abs(hashtext(a.resource_id || day) %% 50000)) * interval '1 second',
        CASE WHEN fails THEN a.verdict WHEN was_bad THEN 'failing' ELSE 'ok' END,
        CASE WHEN fails THEN a.cause WHEN was_bad THEN 'server-error' ELSE 'ok' END,
        CASE WHEN fails THEN a.detail WHEN was_bad THEN 'http-status' ELSE ok.detail END,
        CASE WHEN fails THEN a.http_status WHEN was_bad THEN 503 ELSE 200 END,
        CASE WHEN fails OR was_bad THEN NULL ELSE a.size END,
        0.2
    FROM json_to_recordset(%(pasts)s) AS p (resource_id text, failing_for int, bad_days json)
    JOIN archival a USING (resource_id)
    CROSS JOIN (SELECT min(detail) AS detail FROM archival WHERE cause = 'ok') AS ok
    CROSS JOIN generate_series(1, %(days)s) AS day
    CROSS JOIN LATERAL (SELECT day <= p.failing_for AS fails,
        p.bad_days::jsonb @> to_jsonb(day) AS was_bad) AS state
    WHERE NOT EXISTS (
        SELECT 1 FROM archival_check c
        WHERE c.resource_id = a.resource_id AND c.checked_at < timezone('utc', now()) - interval '1 day')
    RETURNING resource_id
"""
# Today's check from before the link broke would contradict the days before.
_FORGET = """
    DELETE FROM archival_check c USING json_to_recordset(%(pasts)s) AS p (resource_id text, failing_for int)
    WHERE c.resource_id = p.resource_id AND c.resource_id = ANY(%(added)s) AND p.failing_for > 0 AND c.verdict = 'ok'
        AND c.checked_at > timezone('utc', now()) - interval '1 day'
"""
_ARCHIVALS = """
    UPDATE archival a SET
        first_failure = began, failing_since = began, failure_count = p.failing_for + 1,
        broken_since = CASE WHEN a.verdict = 'broken' THEN began END,
        cached_at = CASE WHEN a.cached_at IS NULL THEN NULL ELSE began - interval '1 day' END
    FROM json_to_recordset(%(pasts)s) AS p (resource_id text, failing_for int)
    CROSS JOIN LATERAL (SELECT min(c.checked_at) AS began FROM archival_check c WHERE c.resource_id = p.resource_id
        AND c.checked_at >= date_trunc('day', timezone('utc', now())) - p.failing_for * interval '1 day') AS t
    WHERE a.resource_id = p.resource_id AND a.resource_id = ANY(%(added)s)
        AND p.failing_for > 0 AND a.verdict IN ('failing', 'broken')
    RETURNING a.cache_filepath, extract(epoch FROM a.cached_at AT TIME ZONE 'UTC')
"""
_LAST_SUCCESSES = """
    UPDATE archival a SET last_success =
        (SELECT max(c.checked_at) FROM archival_check c WHERE c.resource_id = a.resource_id AND c.verdict = 'ok')
    WHERE a.resource_id = ANY(%(added)s) AND a.verdict <> 'ok'
"""
# Each of those checks found the redirect, too.
_MOVES = """
    UPDATE archival SET permanent_seen = permanent_seen + %(days)s
    WHERE resource_id = ANY(%(added)s) AND permanent_url IS NOT NULL
"""


def add(stack: Stack, pasts: Mapping[str, Past]) -> bool:
    """Add the sample history of links that have none.

    :param pasts: by resource id
    :returns: whether any was added
    :raises StackError: the database cannot be written
    """
    done = subprocess.run(
        [stack.python, "-m", "_demo.history", postgres.url(stack, "")],
        input=json.dumps([{"resource_id": resource_id, **asdict(past)} for resource_id, past in pasts.items()]),
        cwd=Path(__file__).resolve().parents[1],
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise StackError(f"the sample history could not be written:\n{done.stderr[-2000:]}")
    return done.stdout.strip() != "0"


def _add(url: str, pasts: Sequence[Mapping[str, Any]]) -> int:
    # Only the stack's environment has it.
    import psycopg2

    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        params: dict[str, Any] = {"pasts": json.dumps(pasts), "days": DAYS}
        cursor.execute(_CHECKS, params)
        added = sorted({row[0] for row in cursor.fetchall()})
        cursor.execute(_FORGET, {**params, "added": added})
        cursor.execute(_ARCHIVALS, {**params, "added": added})
        for path, cached_at in cursor.fetchall():
            if path and cached_at is not None:
                # The time of the file is that of the row, else the archiver would take it for a newer copy.
                os.utime(path, (float(cached_at), float(cached_at)))
        for statement in (_LAST_SUCCESSES, _MOVES):
            cursor.execute(statement, {"days": DAYS, "added": added})
    return len(added)


if __name__ == "__main__":
    sys.stdout.write(f"{_add(sys.argv[1], json.load(sys.stdin))}\n")
