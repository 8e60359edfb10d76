"""Datasets that a harvester writes: the next harvest would undo an edit of them."""

from __future__ import annotations

from collections.abc import Iterable

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model

KEYS = ("harvest_object_id", "harvest_source_id")
"""Extras that ckanext-harvest gives to such a dataset."""


def _has_harvests() -> bool:
    return sa.inspect(model.meta.engine).has_table("harvest_object")


def is_harvested() -> str:
    """SQL over ``p`` (package) that is true for such datasets."""
    # NULL, where CKAN 2.12 has not saved the dataset since its upgrade.
    found = " OR ".join(f"coalesce(p.extras->>'{key}', '') <> ''" for key in KEYS)
    if hasattr(model, "PackageExtra"):  # CKAN 2.11
        of_dataset = "e.package_id = p.id AND e.state = 'active' AND e.value <> ''"
        found = f"EXISTS (SELECT FROM package_extra e WHERE {of_dataset} AND e.key = ANY(ARRAY{list(KEYS)}))"  # noqa: S608
    if _has_harvests():
        found += " OR EXISTS (SELECT FROM harvest_object o WHERE o.package_id = p.id AND o.current)"
    return found


def sources(package_ids: Iterable[str]) -> dict[str, str]:
    """``{package id: name of the harvest source}`` of those datasets that a harvester writes."""
    found: dict[str, str] = {}
    for package in model.Session.query(model.Package).filter(model.Package.id.in_(list(package_ids))):
        extras = package.extras or {}
        if any(map(extras.get, KEYS)):
            found[package.id] = str(extras.get("harvest_source_title") or extras.get("harvest_source_id") or "")
    if not _has_harvests():
        return found
    rows = model.Session.connection().execute(
        sa.text("""
            SELECT o.package_id, coalesce(nullif(s.title, ''), s.url) FROM harvest_object o
            JOIN harvest_source s ON s.id = o.harvest_source_id
            WHERE o.package_id = ANY(CAST(:ids AS text[])) AND o.current
        """),
        {"ids": list(package_ids)},
    )
    return {**found, **{row[0]: row[1] for row in rows}}


def obstacle(source: str) -> str:
    """Why an address is not edited here, as a sentence.

    :param source: name of the harvest source; empty where it is not known
    """
    where = source or tk._("the harvest source")
    return tk._("The dataset is harvested: correct the address at {source}.").format(source=where)
