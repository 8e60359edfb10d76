"""The links that a person acts on, and the record of what was done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import compat
from ckanext.archiver.link_actions import rights
from ckanext.archiver.report import listing, reader
from ckanext.archiver.report.filters import ANY, LinkFilter

EXAMPLES = 5
"""Links of an action that its record names."""

UNDO_DAYS = 30
"""Days for which an edit can be undone, and a check of a group shows its progress."""


@dataclass(frozen=True)
class Selection:
    """The links that a user acts on: some that were ticked, or all that a filter selects.

    :ivar resource_ids: the ticked ones; None for the whole filter
    """

    wanted: LinkFilter
    resource_ids: tuple[str, ...] | None = None

    def query(self, who: reader.Reader) -> listing.Query:
        """The links, as far as the user may edit them.

        :raises ObjectNotFound: if there is no such organization
        :raises ValidationError: see :func:`rights.restrict`
        """
        if self.resource_ids is None:
            selected = listing.query(self.wanted, who)
        else:
            selected = listing.query(LinkFilter(verdict=ANY), who)
            selected.conditions.append("r.id = ANY(CAST(:ticked AS text[]))")
            selected.params["ticked"] = list(self.resource_ids)
        rights.restrict(selected, who)
        return selected

    def count(self, who: reader.Reader, *, only_snoozed: bool = False) -> int:
        """How many links; or how many of them are left alone."""
        selected = self.query(who)
        if only_snoozed:
            selected.conditions.append("s.resource_id IS NOT NULL")
        statement = sa.text(f"SELECT count(*) {selected.sql()}")  # noqa: S608 - constants only
        return int(model.Session.connection().execute(statement, selected.params).scalar_one())

    def described(self) -> dict[str, str]:
        """The filter for the record; empty for single links."""
        return self.wanted.parameters() if self.resource_ids is None else {}


# -- the record ---------------------------------------------------------------------------------------------


def record(who: reader.Reader, kind: str, selection: Mapping[str, str], note: str = "") -> int:
    """Note an action, in the caller's transaction.

    :returns: its id
    """
    assert who.user is not None  # noqa: S101 - nothing is selected for a reader who may edit nothing
    statement = sa.text("""
        INSERT INTO archiver_action (user_id, user_name, kind, selection, note, links)
        VALUES (:user_id, :user_name, :kind, CAST(:selection AS jsonb), :note, 0) RETURNING id
    """)
    values = {
        "user_id": who.user.id,
        "user_name": who.user.name,
        "kind": kind,
        "selection": json.dumps(dict(selection)),
        "note": note,
    }
    return int(model.Session.connection().execute(statement, values).scalar_one())


def record_selected(action_id: int, selected: listing.Query) -> int:
    """Note the links of an action.

    :returns: how many
    """
    return record_links(action_id, f"SELECT r.id {selected.sql()}", selected.params)  # noqa: S608 - constants only


def record_links(action_id: int, ids: str, params: Mapping[str, Any]) -> int:
    """Note the links of an action; an action without links is not kept.

    :param ids: SQL that reads ``id`` of resources
    :returns: how many
    """
    statement = sa.text(f"""
        WITH noted AS (
            INSERT INTO archiver_action_link (action_id, resource_id) SELECT :action_id, chosen.id FROM ({ids}) chosen
            RETURNING 1
        )
        UPDATE archiver_action SET links = (SELECT count(*) FROM noted) WHERE id = :action_id RETURNING links
    """)  # noqa: S608 - constants only
    execute = model.Session.connection().execute
    count = int(execute(statement, {**params, "action_id": action_id}).scalar_one())
    if not count:
        execute(sa.text("DELETE FROM archiver_action WHERE id = :id"), {"id": action_id})
    return count


def history(who: reader.Reader, before: int | None = None, size: int = 50) -> list[dict[str, Any]]:
    """What was done, newest first: everything for sysadmins, for others what they did themselves.

    :param before: id of the last action of the page before
    :returns: also ``examples``: a few of the links that the reader may see, with their addresses before and after
    """
    rows = model.Session.connection().execute(
        sa.text(f"""
            SELECT a.id, a.at, a.user_name, coalesce(nullif(u.fullname, ''), a.user_name) AS user_title, a.kind,
                a.selection, a.note, a.links, {_can_undo(who)} AS can_undo, coalesce(few.examples, '[]') AS examples
            FROM archiver_action a LEFT JOIN "user" u ON u.id = a.user_id
            LEFT JOIN LATERAL (
                SELECT json_agg(json_build_object('package_name', name, 'package_title', title, 'resource_id', id,
                    'resource_name', resource_name, 'old_url', old_url, 'new_url', new_url)) AS examples
                FROM (
                    SELECT p.name, coalesce(nullif(p.title, ''), p.name) AS title, r.id, r.name AS resource_name,
                        l.old_url, l.new_url
                    FROM archiver_action_link l JOIN resource r ON r.id = l.resource_id AND r.state = 'active'
                    JOIN package p ON p.id = r.package_id
                    WHERE l.action_id = a.id AND ({who.condition()})
                    ORDER BY l.resource_id LIMIT :examples
                ) AS link
            ) AS few ON true
            WHERE (:is_sysadmin OR a.user_id = :user_id) AND (CAST(:before AS bigint) IS NULL OR a.id < :before)
            ORDER BY a.id DESC LIMIT :size
        """),  # noqa: S608 - constants only
        {
            **who.params(),
            **rights.params(who),
            "days": UNDO_DAYS,
            "examples": EXAMPLES,
            "is_sysadmin": who.is_sysadmin,
            "user_id": who.user_id,
            "before": before,
            "size": size,
        },
    )
    return [
        {**row, **{name: compat.parsed_json(row[name]) for name in ("selection", "examples")}}
        for row in rows.mappings()
    ]


def _can_undo(who: reader.Reader) -> str:
    # Where an extension decides, it is asked on the page that asks before.
    may_edit = "true" if rights.extension_decides() else rights.condition(who)
    return f"""a.kind IN ('redirect', 'replace') AND a.at > now() - :days * interval '1 day'
        AND EXISTS (SELECT FROM archiver_action_link l JOIN resource r ON r.id = l.resource_id AND r.url = l.new_url
            JOIN package p ON p.id = r.package_id
            WHERE l.action_id = a.id AND l.undone_at IS NULL AND r.state = 'active'
                AND ({who.condition()}) AND ({may_edit}))"""  # noqa: S608 - constants only
