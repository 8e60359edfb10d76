"""Counts the links for the Broken Links report, every few minutes, in a worker: a page never counts a large portal."""

from __future__ import annotations

import json
import time
from datetime import date, timedelta

from ckanext.archiver import clock, config, monitoring
from ckanext.archiver.link_actions import UNDO_DAYS
from ckanext.archiver.queue import rounds, sql
from ckanext.archiver.report import counts, groups, reader
from ckanext.archiver.report.filters import LinkFilter
from ckanext.archiver.report_tables import WHOLE_PORTAL

SECONDS, SMALL_SECONDS = 300, 30
"""How often the links are counted; the second where a count takes less than a second."""

REST = 20
"""How many times longer than a count the pause after it is, at least."""

DAILY = 92
"""Days for which each day is kept; of older ones, the Mondays."""

BACK_FILLED = 90
"""Days before the first count that are made from the history of checks."""

BACK_SECONDS = 0.5
"""How long days before are made at a time: one on a large portal, many on a small one."""

_COLUMNS = "organization_id, day, verdict, cause, links, datasets"

_WHOLE = f"""
    INSERT INTO archiver_link_count ({_COLUMNS})
    SELECT '{WHOLE_PORTAL}', day, verdict, cause, sum(links), sum(datasets) FROM archiver_link_count
    WHERE day = :day GROUP BY day, verdict, cause
"""  # noqa: S608 - constants only


def refresh() -> bool:
    """Count the links of today, if it is time, in transactions of its own.

    :returns: whether they were counted
    """
    everybody = reader.everybody()
    with sql.transaction():
        last = sql.run("SELECT CAST(value->>'seconds' AS float) FROM archiver_state WHERE key = 'link-counts'").scalar()
        least = SMALL_SECONDS if last is not None and last < 1 else SECONDS
        is_my_turn = rounds.is_my_turn("link-counts", max(least, REST * (last or 0)))
    if not is_my_turn:
        return False
    day, round_ends, begun = clock.utc().date(), _round_ends(), time.monotonic()
    with sql.transaction():
        sql.run("DELETE FROM archiver_link_count WHERE day = :day", day=day)
        sql.run(_OF_TODAY.format(counted=counts.counted(everybody.condition())), day=day, **everybody.params())
        sql.run(_WHOLE, day=day)
        _forget(day)
        found = groups.largest(LinkFilter(), everybody, groups.KEPT)
        known = {
            "day": day.isoformat(),
            "round_ends": round_ends,
            "groups": groups.written(found),
            "seconds": round(time.monotonic() - begun, 1),
        }
        sql.run(_NOTE, value=json.dumps(known))
    return True


_OF_TODAY = f"""
    INSERT INTO archiver_link_count ({_COLUMNS})
    SELECT organization_id, CAST(:day AS date), verdict, cause, links, datasets
    FROM ({{counted}}) counts
"""  # noqa: S608 - constants only

_NOTE = """
    INSERT INTO archiver_state (key, value) VALUES ('link-counts', CAST(:value AS jsonb))
    ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = now()
"""


def _forget(day: date) -> None:
    """Delete what no page shows any more: days between Mondays, snoozes that are over, links that were checked again.

    What was done stays on record, and so do the addresses that it changed.
    """
    sql.run("DELETE FROM archiver_snooze WHERE until < :day", day=day)
    sql.run(
        """
        DELETE FROM archiver_action_link WHERE old_url IS NULL AND action_id IN (
            SELECT id FROM archiver_action WHERE at < now() - :days * interval '1 day')
        """,
        days=UNDO_DAYS,
    )
    sql.run(
        """
        DELETE FROM archiver_link_count WHERE day < :day - CAST(:kept AS int)
            OR (day < :day - CAST(:daily AS int) AND extract(isodow FROM day) <> 1)
        """,
        day=day,
        daily=DAILY,
        kept=config.history_days(),
    )


def _round_ends() -> str | None:
    seconds = monitoring.eta()
    return (clock.utc() + timedelta(seconds=seconds)).isoformat() if seconds else None


# -- the days before ----------------------------------------------------------------------------------------

# What the last check up to the end of a day said. The datasets and their owners are those of now.
_OF_DAY = f"""
    WITH last AS MATERIALIZED (
        SELECT DISTINCT ON (resource_id) resource_id, verdict, cause FROM archival_check
        WHERE checked_at < CAST(:day AS date) + 1 ORDER BY resource_id, checked_at DESC
    )
    INSERT INTO archiver_link_count ({_COLUMNS})
    SELECT coalesce(p.owner_org, ''), CAST(:day AS date), last.verdict, last.cause, count(*), 0
    FROM last JOIN resource r ON r.id = last.resource_id AND r.state = 'active' JOIN package p ON p.id = r.package_id
    WHERE {{is_public}}
    GROUP BY 1, 3, 4
    ON CONFLICT (organization_id, day, verdict, cause) DO NOTHING
"""  # noqa: S608 - constants only

_NOTHING = f"""
    INSERT INTO archiver_link_count ({_COLUMNS}) VALUES ('{WHOLE_PORTAL}', :day, 'none', '', 0, 0)
    ON CONFLICT (organization_id, day, verdict, cause) DO NOTHING
"""  # noqa: S608 - constants only

_NEXT_DAY = """
    SELECT min(day) - 1 FROM archiver_link_count
    HAVING min(day) - 1 >= CAST(:today AS date) - CAST(:days AS int)
        AND EXISTS (SELECT FROM archival_check WHERE checked_at < min(day))
"""


def fill_back() -> bool:
    """Make the counts of days before the first that was counted, from the history of checks, in the caller's
    transaction: one, and more while little time has passed.

    :returns: whether there was one to make
    """
    everybody = reader.everybody()  # may ask Solr: in no transaction
    begun, day = time.monotonic(), _next_day()
    if day is None or not rounds.is_my_turn("link-counts-back", 1):
        return False
    while day is not None:
        sql.run(_OF_DAY.format(is_public=everybody.condition()), day=day, **everybody.params())
        sql.run(_WHOLE, day=day)
        # Also where nothing of that day is left: the next look takes the day before it.
        sql.run(_NOTHING, day=day)
        day = _next_day() if time.monotonic() - begun < BACK_SECONDS else None
    return True


def _next_day() -> date | None:
    found: date | None = sql.run(_NEXT_DAY, today=clock.utc().date(), days=BACK_FILLED).scalar()
    return found
