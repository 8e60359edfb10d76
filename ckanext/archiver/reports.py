"""The Broken Links report.

It counts and lists active resources of active, public datasets only, for every reader: private datasets are not
revealed, and one report for all readers can be cached. A link counts as broken when that is confirmed
(``archival.is_broken``).

The keys are those of earlier releases, which other code reads. The same report serves our own page and
ckanext-report, where that is installed.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model

from ckanext.archiver import links
from ckanext.archiver.engine import urls
from ckanext.archiver.model import Status

# The datasets of the report. A dataset of type "harvest" describes a harvest source.
IS_COUNTED = "p.state = 'active' AND NOT p.private AND p.type <> 'harvest'"

# Each organization (``top``) with itself and, optionally, all organizations below it. UNION ends a circle of parents.
_TREE = """
    WITH RECURSIVE tree (top, id) AS (
        SELECT id, id FROM "group"
        WHERE is_organization AND state = 'active' AND (CAST(:top AS text) IS NULL OR id = :top)
        UNION
        SELECT tree.top, child.id
        FROM tree
        JOIN member m ON m.table_id = tree.id AND m.table_name = 'group' AND m.state = 'active'
        JOIN "group" child ON child.id = m.group_id AND child.is_organization AND child.state = 'active'
        WHERE :include_sub_organizations
    )
"""

# A dataset has one owner, so these counts may be summed over organizations.
COUNTS = f"""
    SELECT p.owner_org AS id,
        count(DISTINCT p.id) AS package_count,
        count(r.id) AS resource_count,
        count(DISTINCT p.id) FILTER (WHERE a.is_broken) AS broken_package_count,
        count(r.id) FILTER (WHERE a.is_broken) AS broken_resource_count
    FROM package p
    LEFT JOIN resource r ON r.package_id = p.id AND r.state = 'active'
    LEFT JOIN archival a ON a.resource_id = r.id AND {links.HAS_LINK_SQL}
    WHERE {IS_COUNTED} {{which}}
    GROUP BY p.owner_org
"""  # noqa: S608 - constants only

_COUNTED_BEFORE = """
    SELECT nullif(organization_id, '') AS id, datasets AS package_count, links AS resource_count,
        broken_datasets AS broken_package_count, broken_links AS broken_resource_count
    FROM archiver_summary_organization
"""
"""The same, as a worker counted it last."""

_BY_ORGANIZATION = f"""
    {_TREE}, counts AS ({{counts}}), owned AS (
        SELECT tree.top AS id, counts.package_count, counts.resource_count, counts.broken_package_count,
            counts.broken_resource_count
        FROM tree JOIN counts USING (id)
        UNION ALL
        SELECT NULL, package_count, resource_count, broken_package_count, broken_resource_count
        FROM counts
        WHERE CAST(:top AS text) IS NULL
            AND NOT EXISTS (SELECT FROM "group" WHERE id = counts.id AND is_organization AND state = 'active')
    )
    SELECT coalesce(g.name, '') AS organization_name,
        coalesce(nullif(g.title, ''), g.name, '') AS organization_title,
        CAST(sum(package_count) AS bigint) AS package_count,
        CAST(sum(resource_count) AS bigint) AS resource_count,
        CAST(sum(broken_package_count) AS bigint) AS broken_package_count,
        CAST(sum(broken_resource_count) AS bigint) AS broken_resource_count
    FROM owned LEFT JOIN "group" g USING (id)
    GROUP BY g.name, g.title
    ORDER BY broken_package_count DESC, broken_resource_count DESC, organization_title
"""  # noqa: S608 - constants only

_TOTAL = """
    SELECT CAST(coalesce(sum(package_count), 0) AS bigint) AS package_count,
        CAST(coalesce(sum(resource_count), 0) AS bigint) AS resource_count,
        CAST(coalesce(sum(broken_package_count), 0) AS bigint) AS broken_package_count,
        CAST(coalesce(sum(broken_resource_count), 0) AS bigint) AS broken_resource_count
    FROM ({counts}) counts
"""

SMALL = 20_000
"""Links that are counted for each page; of more, a worker counts the organizations from time to time."""


def is_small() -> bool:
    """Whether the portal is small enough to be counted for each page, by PostgreSQL's own estimate."""
    estimate = "SELECT reltuples FROM pg_class WHERE oid = CAST('archival' AS regclass)"
    return float(model.Session.execute(sa.text(estimate)).scalar() or 0) < SMALL


_BROKEN_LINKS = sa.text(f"""
    {_TREE}
    SELECT p.name AS package_name, p.title AS package_title, g.name AS organization_name,
        coalesce(nullif(g.title, ''), g.name) AS organization_title,
        r.id AS resource_id, r.name AS resource_name, r.position AS resource_position, {links.URL_SQL} AS resource_url,
        a.source_url, a.verdict, a.cause, a.detail, a.facts, a.reason, a.status_id, a.failure_count,
        a.first_failure, a.broken_since, a.last_success, coalesce(a.checked_at, a.updated) AS last_updated,
        a.url_redirected_to
    FROM tree
    JOIN package p ON p.owner_org = tree.id
    JOIN "group" g ON g.id = p.owner_org
    JOIN resource r ON r.package_id = p.id AND r.state = 'active'
    JOIN archival a ON a.resource_id = r.id AND a.is_broken AND {links.HAS_LINK_SQL}
    WHERE {IS_COUNTED}
    ORDER BY organization_title, p.title, p.name, r.position
""")  # noqa: S608 - constants only

INDEX_COLUMNS = (
    "organization_title",
    "organization_name",
    "package_count",
    "resource_count",
    "broken_package_count",
    "broken_package_percent",
    "broken_resource_count",
    "broken_resource_percent",
)

LINK_COLUMNS = (
    "organization_title",
    "organization_name",
    "package_title",
    "package_name",
    "resource_name",
    "resource_id",
    "resource_position",
    "resource_url",
    "url_up_to_date",
    "via",
    "status",
    "reason",
    "failure_count",
    "first_failure",
    "last_success",
    "last_updated",
    "url_redirected_to",
)


def broken_links(*, organization: str | None = None, include_sub_organizations: bool = False) -> dict[str, Any]:
    """The report, as data for JSON.

    :param organization: name or id; without it the report has one row per organization, with it one per
        broken link
    :param include_sub_organizations: count the organizations below an organization with it
    :raises ObjectNotFound: if there is no such organization
    """
    if organization:
        return _of_organization(get_organization(organization), include_sub_organizations)
    return _index(include_sub_organizations)


def get_organization(name_or_id: str) -> model.Group:
    """An active organization.

    :raises ObjectNotFound: there is none
    """
    group = model.Group.get(name_or_id)
    if group is None or not group.is_organization or group.state != model.State.ACTIVE:
        raise tk.ObjectNotFound(f"There is no organization {name_or_id!r}.")
    return group


def organization_ids(name_or_id: str, *, below: bool) -> list[str]:
    """Ids of an organization and, optionally, of all organizations below it.

    :raises ObjectNotFound: there is no such organization
    """
    group = get_organization(name_or_id)
    parameters = {"top": group.id, "include_sub_organizations": below}
    return list(model.Session.execute(sa.text(f"{_TREE} SELECT id FROM tree"), parameters).scalars())  # noqa: S608 - constants only


def _index(include_sub_organizations: bool) -> dict[str, Any]:
    parameters = {"top": None, "include_sub_organizations": include_sub_organizations}
    counts = COUNTS.format(which="") if is_small() else _COUNTED_BEFORE
    rows = model.Session.execute(sa.text(_BY_ORGANIZATION.format(counts=counts)), parameters).mappings()
    total = model.Session.execute(sa.text(_TOTAL.format(counts=counts))).mappings().one()
    # Not the sum of the rows: with sub-organizations a dataset counts in several rows.
    return {"table": [_with_percents(row) for row in rows], **_totals(total)}


def _of_organization(group: model.Group, include_sub_organizations: bool) -> dict[str, Any]:
    parameters = {"top": group.id, "include_sub_organizations": include_sub_organizations}
    # Only the organizations that are shown are counted, so this takes as long as they are large.
    counts = COUNTS.format(which="AND p.owner_org IN (SELECT id FROM tree)")
    total = model.Session.execute(sa.text(_BY_ORGANIZATION.format(counts=counts)), parameters).mappings().first()
    rows = model.Session.execute(_BROKEN_LINKS, parameters).mappings()
    return {
        "organization_name": group.name,
        "organization_title": group.title or group.name,
        "table": [link(row) for row in rows],
        **_totals(total or {}),
    }


def _with_percents(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "broken_package_percent": percent(row["broken_package_count"], row["package_count"]),
        "broken_resource_percent": percent(row["broken_resource_count"], row["resource_count"]),
    }


def _totals(row: Mapping[str, Any]) -> dict[str, Any]:
    packages, resources = row.get("package_count", 0), row.get("resource_count", 0)
    broken_packages, broken_resources = (
        row.get("broken_package_count", 0),
        row.get("broken_resource_count", 0),
    )
    return {
        "num_packages": packages,
        "num_resources": resources,
        "num_broken_packages": broken_packages,
        "num_broken_resources": broken_resources,
        "broken_package_percent": percent(broken_packages, packages),
        "broken_resource_percent": percent(broken_resources, resources),
    }


def link(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row about a link as the report has it: times as ISO 8601, the URL without credentials."""
    shown = {
        key: value.isoformat() if isinstance(value, datetime.datetime) else value
        for key, value in row.items()
        if key not in ("source_url", "status_id")
    }
    return {
        **shown,
        "resource_url": urls.redact(row["resource_url"] or ""),
        # The names of earlier releases.
        "dataset_name": row["package_name"],
        "dataset_title": row["package_title"],
        "status": None if row["status_id"] is None else Status._by_id.get(row["status_id"]),
        "url_up_to_date": row["source_url"] in (None, row["resource_url"]),
        "via": "",
    }


def percent(part: int, whole: int) -> float:
    """A percentage with one decimal; 0 of nothing."""
    return round(100 * part / whole, 1) if whole else 0.0


# -- files -------------------------------------------------------------------------------------------------


def as_json(data: Mapping[str, Any]) -> str:
    """The report as JSON."""
    return json.dumps(data)


def as_csv(data: Mapping[str, Any]) -> str:
    """The report's table as CSV (RFC 4180)."""
    columns: Sequence[str] = LINK_COLUMNS if "organization_name" in data else INDEX_COLUMNS
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([cell(row[column]) for column in columns] for row in data["table"])
    return out.getvalue()


def cell(value: Any) -> Any:
    """A value as a cell of CSV: text that a spreadsheet would run as a formula gets an apostrophe."""
    # A spreadsheet runs text that starts with one of these as a formula (CWE-1236).
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return "'" + value
    return value


# -- ckanext-report ----------------------------------------------------------------------------------------


def _option_combinations() -> Iterator[dict[str, Any]]:
    names = model.Session.query(model.Group.name).filter_by(is_organization=True, state="active").order_by("name")
    for name in [None, *(row.name for row in names)]:
        for include in (False, True):
            yield {"organization": name, "include_sub_organizations": include}


broken_links_report_info = {
    "name": "broken-links",
    "title": "Broken Links",
    "description": "Links of resources that are confirmed to be broken.",
    "option_defaults": OrderedDict((("organization", None), ("include_sub_organizations", False))),
    "option_combinations": _option_combinations,
    "generate": broken_links,
    "template": "report/broken_links.html",
}
