"""What the pages that ask, and the record, show of links: names, until when they are left alone, what was undone."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver.link_actions import Selection
from ckanext.archiver.report import reader

NAMED = 5
"""Links that a question names; of more it says how many there are."""


def names(who: reader.Reader, selection: Selection, *, only_snoozed: bool = False) -> list[dict[str, Any]]:
    """The first of the selected links, or of those of them that are left alone, in the order of their datasets.

    :returns: dicts with ``package_name``, ``package_title``, ``resource_id`` and ``resource_name``
    :raises ObjectNotFound: if there is no such organization
    """
    selected = selection.query(who)
    if only_snoozed:
        selected.conditions.append("s.resource_id IS NOT NULL")
    rows = model.Session.connection().execute(
        sa.text(f"""
            SELECT p.name AS package_name, coalesce(nullif(p.title, ''), p.name) AS package_title,
                r.id AS resource_id, r.name AS resource_name
            {selected.sql()} ORDER BY p.name, r.position, r.id LIMIT :named
        """),  # noqa: S608 - constants only
        {**selected.params, "named": NAMED},
    )
    return [dict(row) for row in rows.mappings()]


def left_alone(who: reader.Reader, selection: Selection) -> dict[str, str]:
    """Until when the selected links are left alone, and why, where that is the same for all of them.

    :returns: ``until`` (ISO 8601) and ``reason``; nothing where it is not
    """
    selected = selection.query(who)
    statement = f"SELECT DISTINCT s.until, s.reason {selected.sql()} LIMIT 2"  # noqa: S608 - constants only
    found = model.Session.connection().execute(sa.text(statement), selected.params).all()
    if len(found) != 1 or found[0].until is None:
        return {}
    return {"until": found[0].until.isoformat(), "reason": found[0].reason}


def undone(action_ids: Collection[int]) -> dict[int, int]:
    """``{action id: how many of its edits were undone}`` of those actions that were."""
    rows = model.Session.connection().execute(
        sa.text("""
            SELECT action_id, count(*) AS undone FROM archiver_action_link
            WHERE action_id = ANY(:ids) AND undone_at IS NOT NULL GROUP BY action_id
        """),
        {"ids": list(action_ids)},
    )
    return {row.action_id: row.undone for row in rows}
