"""The numbers of the report: links by organization, verdict, cause and host, and their history by day.

At 1,000,000 archivals counting takes some seconds. So a worker counts into tables, and pages read those; a small
portal is counted when a page is shown.

Only active resources of active, public datasets count, for every reader.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

from ckanext.archiver import links, reports
from ckanext.archiver.engine.outcome import Verdict
from ckanext.archiver.queue import rounds, sql

Row = Mapping[str, Any]

PORTAL = "*"
"""Stands for all organizations in ``archiver_daily``."""

NEVER = "never"
"""The verdict of links without an archival."""

REFRESH_SECONDS = 60
REST = 50
"""A worker rests so many times as long as the last count took."""

CHART_DAYS = 365

GROUPS_SHOWN = 10

_GROUPS = f"""
    SELECT coalesce(p.owner_org, '') AS organization_id, v.verdict,
        CASE WHEN v.verdict IN ('ok', 'never') THEN '' ELSE coalesce(a.cause, '') END AS cause,
        CASE WHEN v.verdict IN ('ok', 'never') THEN '' ELSE {sql.HOST_OF_URL} END AS host,
        count(*) AS links, count(DISTINCT p.id) AS datasets,
        min(coalesce(a.broken_since, a.failing_since, a.checked_at)) AS since
    FROM resource r
    JOIN package p ON p.id = r.package_id
    LEFT JOIN archival a ON a.resource_id = r.id
    CROSS JOIN LATERAL (SELECT CASE
        WHEN a.resource_id IS NULL THEN '{NEVER}' WHEN a.verdict IS NOT NULL THEN a.verdict
        WHEN a.is_broken THEN 'broken' WHEN NOT a.is_broken THEN 'ok' ELSE 'not-sure' END AS verdict) v
    WHERE r.state = 'active' AND {reports.IS_COUNTED} AND {links.HAS_LINK_SQL}
    GROUP BY 1, 2, 3, 4
"""  # noqa: S608 - constants only


def refresh() -> None:
    """Count everything anew, in the caller's transaction, and note today's numbers.

    Readers see the counts of before until the commit.
    """
    sql.run("DELETE FROM archiver_summary")
    sql.run(f"INSERT INTO archiver_summary {_GROUPS}")  # noqa: S608 - constants only
    sql.run("DELETE FROM archiver_summary_organization")
    sql.run(f"""
        INSERT INTO archiver_summary_organization (organization_id, datasets, links, broken_datasets, broken_links)
        SELECT coalesce(id, ''), package_count, resource_count, broken_package_count, broken_resource_count
        FROM ({reports.COUNTS.format(which="")}) counts
    """)  # noqa: S608 - constants only
    sql.run("DELETE FROM archiver_daily WHERE day = current_date")
    sql.run(
        """
        INSERT INTO archiver_daily (day, organization_id, verdict, cause, links)
        SELECT current_date, coalesce(organization_id, :portal), verdict, cause, sum(links)
        FROM archiver_summary GROUP BY GROUPING SETS ((organization_id, verdict, cause), (verdict, cause))
        """,
        portal=PORTAL,
    )
    sql.run(
        """
        INSERT INTO archiver_state (key, value)
        VALUES ('summary', jsonb_build_object(
            'seconds', extract(epoch FROM clock_timestamp() - now()), 'changes', CAST(:changes AS jsonb)))
        ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = now()
        """,
        changes=json.dumps(_count_changes()),
    )


def refresh_if_due() -> bool:
    """Count anew if this worker's turn has come, in the caller's transaction.

    :returns: whether it counted
    """
    last = sql.run("SELECT CAST(value->>'seconds' AS float) FROM archiver_state WHERE key = 'summary'").scalar()
    if not rounds.is_my_turn("summary", max(REFRESH_SECONDS, REST * (last or 0))):
        return False
    refresh()
    return True


def _source() -> str:
    """The counts: the table that a worker keeps, or the count itself on a small portal."""
    return f"({_GROUPS})" if reports.is_small() else "archiver_summary"


def overview_of_portal() -> dict[str, Any]:
    """The numbers of :func:`overview`, and ``counted_at`` (aware ISO 8601), ``changes`` and ``chart``."""
    counted_at, changes = datetime.datetime.now(datetime.timezone.utc), None
    if not reports.is_small():
        row = sql.run(
            "SELECT updated_at, value->'changes' AS changes FROM archiver_state WHERE key = 'summary'"
        ).first()
        if row is not None:
            counted_at, changes = row.updated_at, row.changes
    return overview() | {
        "counted_at": counted_at.isoformat(),
        "changes": changes or _count_changes(),
        "chart": chart(),
    }


def overview(organization_ids: list[str] | None = None) -> dict[str, Any]:
    """The numbers of the portal or of organizations, in one statement.

    :param organization_ids: None for the portal
    :returns: ``verdicts`` (links by verdict), ``causes`` (of broken links: cause, links, largest first), ``groups`` (of
        broken links: cause, host, links, datasets, since, largest first) and ``links``
    """
    rows = (
        sql.run(
            f"""
        WITH counted AS MATERIALIZED (
            SELECT * FROM {_source()} s WHERE CAST(:ids AS text[]) IS NULL OR organization_id = ANY(:ids)
        )
        (SELECT 'verdict' AS kind, verdict AS name, '' AS host, sum(links) AS links, sum(datasets) AS datasets,
            NULL::timestamp AS since FROM counted GROUP BY verdict)
        UNION ALL
        (SELECT 'cause', cause, '', sum(links), sum(datasets), min(since) FROM counted
            WHERE verdict = 'broken' GROUP BY cause ORDER BY 4 DESC)
        UNION ALL
        (SELECT 'group', cause, host, sum(links), sum(datasets), min(since) FROM counted
            WHERE verdict = 'broken' GROUP BY cause, host ORDER BY 4 DESC, 2, 3 LIMIT :shown)
        """,  # noqa: S608 - constants only
            ids=organization_ids,
            shown=GROUPS_SHOWN,
        )
        .mappings()
        .all()
    )
    verdicts = {row["name"]: int(row["links"]) for row in rows if row["kind"] == "verdict"}
    return {
        "links": sum(verdicts.values()),
        "verdicts": {name: verdicts.get(name, 0) for name in (*(str(verdict) for verdict in Verdict), NEVER)},
        "causes": [_group(row) for row in rows if row["kind"] == "cause"],
        "groups": [_group(row) for row in rows if row["kind"] == "group"],
    }


def _group(row: Row) -> dict[str, Any]:
    return {
        "cause": row["name"],
        "host": row["host"],
        "links": int(row["links"]),
        "datasets": int(row["datasets"]),
        "since": row["since"].isoformat() if row["since"] else None,
    }


def _count_changes() -> dict[str, int]:
    """Links of public datasets that broke or were repaired in the last 7 and 30 days: ``broken_7``, ``repaired_30`` …

    A link counts as repaired when it works and a check found it broken within those days.
    """
    row = (
        sql.run(f"""
        SELECT
            count(*) FILTER (WHERE a.verdict = 'broken' AND a.broken_since > n.now - interval '7 days') AS broken_7,
            count(*) FILTER (WHERE a.verdict = 'broken') AS broken_30,
            count(*) FILTER (WHERE a.verdict = 'ok' AND c.last_broken > n.now - interval '7 days') AS repaired_7,
            count(*) FILTER (WHERE a.verdict = 'ok') AS repaired_30
        FROM (SELECT timezone('utc', now()) AS now) n
        CROSS JOIN LATERAL (
            SELECT resource_id, NULL::timestamp AS last_broken FROM archival
            WHERE verdict = 'broken' AND broken_since > n.now - interval '30 days'
            UNION ALL
            SELECT resource_id, max(checked_at) FROM archival_check
            WHERE verdict = 'broken' AND checked_at > n.now - interval '30 days' GROUP BY resource_id
        ) c
        JOIN archival a ON a.resource_id = c.resource_id AND (a.verdict = 'ok') = (c.last_broken IS NOT NULL)
        JOIN resource r ON r.id = a.resource_id AND r.state = 'active'
        JOIN package p ON p.id = r.package_id
        WHERE {reports.IS_COUNTED}
    """)  # noqa: S608 - constants only
        .mappings()
        .one()
    )
    return {name: int(value) for name, value in row.items()}


def broken_links_of(organization_id: str) -> int:
    """The broken links of an organization's public datasets, without those below it."""
    if reports.is_small():
        counts = reports.COUNTS.format(which="AND p.owner_org = :id")
        number = sql.run(f"SELECT broken_resource_count FROM ({counts}) counts", id=organization_id)  # noqa: S608 - constants only
    else:
        number = sql.run(
            "SELECT broken_links FROM archiver_summary_organization WHERE organization_id = :id", id=organization_id
        )
    return int(number.scalar() or 0)


def chart() -> list[dict[str, Any]]:
    """The share of broken links by day, oldest first: ``day`` (ISO), ``links``, ``broken``."""
    rows = (
        sql.run(
            """
        SELECT day, sum(links) AS links, coalesce(sum(links) FILTER (WHERE verdict = 'broken'), 0) AS broken
        FROM archiver_daily WHERE organization_id = :portal AND day > current_date - :days GROUP BY day ORDER BY day
        """,
            portal=PORTAL,
            days=CHART_DAYS,
        )
        .mappings()
        .all()
    )
    return [{"day": row["day"].isoformat(), "links": int(row["links"]), "broken": int(row["broken"])} for row in rows]
