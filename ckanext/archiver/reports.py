"""The Broken Links report as earlier releases gave it: the keys that other code reads, and ckanext-report's contract.

It counts and lists active resources of active, public datasets, the same for every reader: one report for all can be
cached. A link counts as broken when that is confirmed (``archival.is_broken``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from ckan import model

from ckanext.archiver.report import counts, exports, listing, organizations, reader
from ckanext.archiver.report.filters import LinkFilter


def broken_links(*, organization: str | None = None, include_sub_organizations: bool = False) -> dict[str, Any]:
    """The report, as data for JSON.

    :param organization: name or id; without it the report has one row per organization, with it one per
        broken link
    :param include_sub_organizations: count the organizations below an organization with it
    :raises ObjectNotFound: if there is no such organization
    """
    everybody = reader.everybody()
    if not organization:
        return index(everybody, include_sub_organizations)
    head = of_organization(everybody, organization, include_sub_organizations)
    wanted = LinkFilter(organization=organization, include_sub_organizations=include_sub_organizations)
    table = sorted(map(link, listing.stream(wanted, everybody)), key=_place)
    return {**head, "table": table}


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["organization_title"], row["package_title"] or "", row["package_name"], row["resource_position"]


def index(who: reader.Reader, include_sub_organizations: bool) -> dict[str, Any]:
    """One row per organization, and the totals.

    :param who: whose view it is
    """
    source = counts.source(who)
    rows = counts.by_organization(source, include_sub_organizations=include_sub_organizations)
    known = counts.summary(source)
    # Not the sum of the rows: with sub-organizations a dataset counts in several rows.
    total = {
        "package_count": known.all_datasets,
        "resource_count": known.all_resources,
        "broken_package_count": known.datasets.get("broken", 0),
        "broken_resource_count": known.count("broken"),
    }
    return {"table": [with_percents(row) for row in rows], **_totals(total)}


def of_organization(who: reader.Reader, name_or_id: str, include_sub_organizations: bool) -> dict[str, Any]:
    """The names and totals of one organization.

    :raises ObjectNotFound: if there is no such organization
    """
    group = organizations.get(name_or_id)
    rows = counts.by_organization(counts.source(who), include_sub_organizations=include_sub_organizations, top=group.id)
    return {
        "organization_name": group.name,
        "organization_title": group.title,
        **_totals(rows[0] if rows else {}),
    }


def with_percents(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the index with its shares, as earlier releases had it: of all resources, also those without a link."""
    return {
        **{key: value for key, value in row.items() if key not in ("failing_resource_count", "link_count")},
        "broken_package_percent": percent(row["broken_package_count"], row["package_count"]),
        "broken_resource_percent": percent(row["broken_resource_count"], row["resource_count"]),
    }


def _totals(row: Mapping[str, Any]) -> dict[str, Any]:
    packages, resources = row.get("package_count", 0), row.get("resource_count", 0)
    broken_packages, broken_resources = row.get("broken_package_count", 0), row.get("broken_resource_count", 0)
    return {
        "num_packages": packages,
        "num_resources": resources,
        "num_broken_packages": broken_packages,
        "num_broken_resources": broken_resources,
        "broken_package_percent": percent(broken_packages, packages),
        "broken_resource_percent": percent(broken_resources, resources),
    }


def link(row: Mapping[str, Any]) -> dict[str, Any]:
    """A link with the names of earlier releases beside those of now."""
    return {**row, "dataset_name": row["package_name"], "dataset_title": row["package_title"], "via": ""}


def percent(part: int, whole: int) -> float:
    """A percentage with one decimal; 0 of nothing."""
    return round(100 * part / whole, 1) if whole else 0.0


def as_csv(data: Mapping[str, Any]) -> str:
    """The report's table as CSV (RFC 4180)."""
    columns = exports.LINK_COLUMNS if "organization_name" in data else exports.INDEX_COLUMNS
    return "".join(exports.as_csv(columns, data["table"]))


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
