"""How many links are in which state, and why: by organization, and over time.

A portal of some size is counted by a worker every few minutes (:mod:`ckanext.archiver.rollup`), a small one when the
page is read. Either way a count has the same columns, so that nothing here depends on which it is.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import compat, links
from ckanext.archiver.engine.outcome import Verdict
from ckanext.archiver.report import organizations, reader
from ckanext.archiver.report.filters import ANY, NEVER, SNOOZED, LinkFilter
from ckanext.archiver.report_tables import WHOLE_PORTAL
from ckanext.archiver.worst_link import VERDICT_SQL

COUNTED_WHEN_READ = 20_000
"""A portal with no more links than this is counted anew for each page."""

STALE = datetime.timedelta(hours=6)
"""Counts of a worker that are older than this are not shown."""

NO_LINK = "no-link"
"""Stands for resources without a link, and for datasets that have nothing else."""

# Which state of a dataset's links stands for the dataset.
_WEIGHT = {
    NEVER: 1,
    Verdict.OK.value: 2,
    SNOOZED: 3,
    Verdict.NOT_SURE.value: 4,
    Verdict.FAILING.value: 5,
    Verdict.BROKEN.value: 6,
}

STATE = f"""
    CASE WHEN s.resource_id IS NOT NULL THEN 'snoozed' WHEN a.resource_id IS NULL THEN 'none'
         ELSE {VERDICT_SQL} END
"""
"""SQL over ``a`` (archival) and ``s`` (archiver_snooze): a verdict, "snoozed" or "none"."""

TODAY = "CAST(timezone('utc', now()) AS date)"

_WEIGHT_SQL = " ".join(f"WHEN '{state}' THEN {weight}" for state, weight in _WEIGHT.items())
_STATE_SQL = " ".join(f"WHEN {weight} THEN '{state}'" for state, weight in _WEIGHT.items())


def counted(condition: str) -> str:
    """SQL that counts links and datasets: ``organization_id``, ``verdict``, ``cause``, ``links``, ``datasets``.

    :param condition: SQL over ``p`` (package)
    """
    return f"""
        SELECT organization_id, verdict, cause, CAST(sum(links) AS int) AS links,
            CAST(sum(datasets) AS int) AS datasets
        FROM (
            WITH parts AS MATERIALIZED (
                SELECT p.id, coalesce(p.owner_org, '') AS organization_id,
                    CASE WHEN r.id IS NULL OR NOT {links.HAS_LINK_SQL} THEN 0
                        ELSE CASE {STATE} {_WEIGHT_SQL} ELSE 4 END END AS weight,
                    coalesce(a.cause, '') AS cause, count(r.id) AS links
                FROM package p
                LEFT JOIN resource r ON r.package_id = p.id AND r.state = 'active'
                LEFT JOIN archival a ON a.resource_id = r.id AND {links.HAS_LINK_SQL}
                LEFT JOIN archiver_snooze s ON s.resource_id = r.id AND s.until > {TODAY}
                WHERE {condition}
                GROUP BY 1, 2, 3, 4
            )
            SELECT organization_id, CASE weight {_STATE_SQL} ELSE '{NO_LINK}' END AS verdict, cause, links,
                0 AS datasets
            FROM parts
            UNION ALL
            SELECT organization_id, CASE worst[1] {_STATE_SQL} ELSE '{NO_LINK}' END, worst_cause, 0, 1
            FROM (
                SELECT organization_id, ARRAY[max(weight)] AS worst,
                    substr(max(weight || cause), 2) AS worst_cause
                FROM parts GROUP BY id, organization_id
            ) datasets
        ) both_counts
        GROUP BY organization_id, verdict, cause
    """  # noqa: S608 - constants only


_ROLLED_UP = f"""
    SELECT organization_id, verdict, cause, links, datasets FROM archiver_link_count
    WHERE day = :counted_day AND organization_id <> '{WHOLE_PORTAL}'
"""  # noqa: S608 - constants only


@dataclass(frozen=True)
class Source:
    """Where counts come from.

    :ivar sql: a statement with the columns of :func:`counted`
    :ivar counted_at: when a worker counted, aware; None when the database counts now
    :ivar groups: those that a worker counted (see :func:`groups.of_portal`); None when the database counts now
    :ivar round_ends: when the round that is going on ends, aware, as a worker last estimated it
    """

    sql: str
    params: Mapping[str, Any]
    counted_at: datetime.datetime | None
    round_ends: datetime.datetime | None = None
    groups: Sequence[Any] | None = None


_STATE_OF_COUNTS = sa.text("""
    SELECT CAST(greatest(pg.reltuples, 0) AS bigint) AS links, s.updated_at AS counted_at,
        CAST(s.value->>'day' AS date) AS day, now() - s.updated_at AS age,
        CAST(s.value->>'round_ends' AS timestamptz) AS round_ends, s.value->'groups' AS groups
    FROM pg_class pg LEFT JOIN archiver_state s ON s.key = 'link-counts'
    WHERE pg.oid = CAST('archival' AS regclass)
""")


def source(who: reader.Reader) -> Source:
    """The counts that a reader may see."""
    known = model.Session.connection().execute(_STATE_OF_COUNTS).mappings().one()
    fresh = known["counted_at"] is not None and known["age"] < STALE
    if known["links"] <= COUNTED_WHEN_READ or not fresh:
        return Source(counted(who.condition()), who.params(), None, known["round_ends"] if fresh else None)
    sql = _ROLLED_UP
    if not who.sees_only_public:
        sql = f"({sql}) UNION ALL ({counted(who.private_condition())})"
    params = {**who.params(), "counted_day": known["day"]}
    groups = compat.parsed_json(known["groups"])
    return Source(sql, params, known["counted_at"], known["round_ends"], groups or ())


# -- numbers ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """Links and datasets by state and by cause.

    :ivar links: ``{state: links}``, with the resources that have none under ``NO_LINK``
    :ivar datasets: ``{state: datasets whose worst link is in it}``
    :ivar causes: ``{cause: links}`` of the broken ones, largest first
    """

    links: dict[str, int]
    datasets: dict[str, int]
    causes: dict[str, int]
    counted_at: datetime.datetime | None

    @property
    def all_links(self) -> int:
        return sum(self.links.values()) - self.count(NO_LINK)

    @property
    def all_resources(self) -> int:
        return sum(self.links.values())

    @property
    def all_datasets(self) -> int:
        return sum(self.datasets.values())

    def count(self, state: str) -> int:
        """Links in a state."""
        return self.links.get(state, 0)


def summary(counts: Source, organization_ids: list[str] | None = None) -> Summary:
    """The numbers of some organizations together, or of all."""
    condition = "" if organization_ids is None else "WHERE organization_id = ANY(CAST(:organizations AS text[]))"
    rows = (
        model.Session.connection()
        .execute(
            sa.text(f"""
                SELECT verdict, cause, CAST(sum(links) AS bigint) AS links, CAST(sum(datasets) AS bigint) AS datasets
                FROM ({counts.sql}) counts {condition} GROUP BY verdict, cause ORDER BY links DESC, cause
            """),  # noqa: S608 - constants only
            {**counts.params, "organizations": organization_ids},
        )
        .mappings()
    )
    by_state: dict[str, int] = {}
    datasets: dict[str, int] = {}
    causes: dict[str, int] = {}
    for row in rows:
        by_state[row["verdict"]] = by_state.get(row["verdict"], 0) + row["links"]
        datasets[row["verdict"]] = datasets.get(row["verdict"], 0) + row["datasets"]
        if row["verdict"] == Verdict.BROKEN and row["links"]:
            causes[row["cause"]] = causes.get(row["cause"], 0) + row["links"]
    return Summary(by_state, datasets, causes, counts.counted_at)


def known_total(wanted: LinkFilter, who: reader.Reader) -> int | None:
    """How many links a filter selects, as a worker counted them; None where none has, or for a filter that the counts
    do not know.

    :raises ObjectNotFound: if there is no such organization
    """
    names = ("organization", "include_sub_organizations", "verdict", "sort")
    if wanted != LinkFilter(**{name: getattr(wanted, name) for name in names}):
        return None
    counts = source(who)
    if counts.counted_at is None:
        return None
    of = wanted.organization
    known = summary(counts, organizations.ids(of, wanted.include_sub_organizations) if of else None)
    return known.all_links if wanted.verdict == ANY else known.count(wanted.verdict)


_BY_ORGANIZATION = """
    {tree}, counts AS MATERIALIZED ({counts}), owned AS (
        SELECT tree.top AS id, counts.* FROM tree JOIN counts ON counts.organization_id = tree.id
        UNION ALL
        SELECT NULL, counts.* FROM counts
        WHERE CAST(:top AS text) IS NULL
            AND NOT EXISTS (SELECT FROM "group" WHERE id = organization_id AND is_organization AND state = 'active')
    )
    SELECT coalesce(g.name, '') AS organization_name,
        coalesce(nullif(g.title, ''), g.name, '') AS organization_title,
        CAST(sum(datasets) AS bigint) AS package_count,
        CAST(sum(links) AS bigint) AS resource_count,
        CAST(coalesce(sum(links) FILTER (WHERE verdict <> '{no_link}'), 0) AS bigint) AS link_count,
        CAST(coalesce(sum(datasets) FILTER (WHERE verdict = 'broken'), 0) AS bigint) AS broken_package_count,
        CAST(coalesce(sum(links) FILTER (WHERE verdict = 'broken'), 0) AS bigint) AS broken_resource_count,
        CAST(coalesce(sum(links) FILTER (WHERE verdict = 'failing'), 0) AS bigint) AS failing_resource_count
    FROM owned LEFT JOIN "group" g USING (id)
    GROUP BY g.id, g.name, g.title
    ORDER BY broken_package_count DESC, broken_resource_count DESC, organization_title
"""


def by_organization(
    counts: Source, *, include_sub_organizations: bool, top: str | None = None
) -> list[Mapping[str, Any]]:
    """One row for each organization with datasets, most broken first.

    :param include_sub_organizations: count the organizations below an organization with it
    :param top: id of the only one
    """
    statement = _BY_ORGANIZATION.format(tree=organizations.TREE, counts=counts.sql, no_link=NO_LINK)
    params = {**counts.params, "top": top, "include_sub_organizations": include_sub_organizations}
    return list(model.Session.connection().execute(sa.text(statement), params).mappings())


# -- over time ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Day:
    """The state of the links on a day."""

    day: datetime.date
    links: int
    broken: int


def history(days: int, organization_ids: list[str] | None = None) -> list[Day]:
    """Links and broken links of public datasets, day by day, oldest first; days without a count are missing."""
    rows = model.Session.connection().execute(
        sa.text(f"""
            SELECT day, CAST(sum(links) FILTER (WHERE verdict NOT IN ('none', 'no-link')) AS bigint),
                CAST(coalesce(sum(links) FILTER (WHERE verdict = 'broken'), 0) AS bigint)
            FROM archiver_link_count
            WHERE organization_id = ANY(CAST(:organizations AS text[])) AND day > {TODAY} - CAST(:days AS int)
            GROUP BY day HAVING sum(links) FILTER (WHERE verdict NOT IN ('none', 'no-link')) > 0 ORDER BY day
        """),  # noqa: S608 - constants only
        {"organizations": [WHOLE_PORTAL] if organization_ids is None else organization_ids, "days": days},
    )
    return [Day(*row) for row in rows]


@dataclass(frozen=True)
class Changes:
    """Links that broke within the last days and are broken, and broken links that worked again and work."""

    broken_7: int
    broken_30: int
    repaired_7: int
    repaired_30: int


def changes(who: reader.Reader, organization_ids: list[str] | None = None) -> Changes:
    """What changed in the last 7 and 30 days."""
    within = ""
    if organization_ids is not None:
        within = "AND p.owner_org = ANY(CAST(:organizations AS text[]))"
    start = "timezone('utc', now()) - interval '{} days'"

    def since(column: str, condition: str) -> str:
        return f"""
            SELECT count(*) FILTER (WHERE a.{column} >= {start.format(7)}) AS week, count(*) AS month
            FROM archival a
            JOIN resource r ON r.id = a.resource_id AND r.state = 'active' AND {links.HAS_LINK_SQL}
            JOIN package p ON p.id = r.package_id
            LEFT JOIN archiver_snooze s ON s.resource_id = a.resource_id AND s.until > {TODAY}
            WHERE {condition} AND a.{column} >= {start.format(30)} AND s.resource_id IS NULL
                AND {who.condition()} {within}
        """  # noqa: S608 - constants only

    row = (
        model.Session.connection()
        .execute(
            sa.text(f"""
                SELECT b.week, b.month, r.week, r.month
                FROM ({since("broken_since", "a.is_broken")}) b CROSS JOIN (
                    {since("repaired_at", "a.is_broken IS FALSE")}) r
            """),  # noqa: S608 - constants only
            {**who.params(), "organizations": organization_ids},
        )
        .one()
    )
    return Changes(*row)
