"""Leaving links alone until a date."""

from __future__ import annotations

import datetime

import ckan.plugins.toolkit as tk

from ckanext.archiver import clock
from ckanext.archiver.link_actions.rights import must_edit
from ckanext.archiver.link_actions.selection import Selection, record, record_selected
from ckanext.archiver.queue import sql
from ckanext.archiver.report import reader
from ckanext.archiver.storable import is_storable

MAX_SNOOZE_DAYS = 366


def snooze(who: reader.Reader, selection: Selection, until: datetime.date, reason: str) -> int:
    """Leave the selected links alone until a day, and commit: they are shown as such and not counted.

    :returns: how many links
    :raises NotAuthorized: if the user may edit nothing
    :raises ValidationError: for a day that is past or too far away, or without a reason
    """
    must_edit(who)
    today = clock.utc().date()
    if not today < until <= today + datetime.timedelta(days=MAX_SNOOZE_DAYS):
        raise tk.ValidationError({"until": [tk._("The day must come after today, and within a year.")]})
    if not reason.strip() or len(reason) > 500 or not is_storable(reason):
        raise tk.ValidationError({"reason": [tk._("Say why, in at most 500 characters.")]})
    selected = selection.query(who)
    with sql.transaction():
        action_id = record(who, "snooze", selection.described(), f"{until.isoformat()}: {reason.strip()}")
        count = record_selected(action_id, selected)
        sql.run(
            """
            INSERT INTO archiver_snooze (resource_id, until, reason, user_id)
            SELECT resource_id, :until, :reason, :user_id FROM archiver_action_link WHERE action_id = :action_id
            ORDER BY resource_id
            ON CONFLICT (resource_id) DO UPDATE SET until = EXCLUDED.until, reason = EXCLUDED.reason,
                user_id = EXCLUDED.user_id, created_at = now()
            """,
            until=until,
            reason=reason.strip(),
            user_id=who.user_id,
            action_id=action_id,
        )
    return count


def wake(who: reader.Reader, selection: Selection) -> int:
    """Have the selected links counted again that were to be left alone, and commit.

    :returns: how many links
    :raises NotAuthorized: if the user may edit nothing
    """
    must_edit(who)
    selected = selection.query(who)
    selected.conditions.append("s.resource_id IS NOT NULL")
    with sql.transaction():
        action_id = record(who, "wake", selection.described())
        count = record_selected(action_id, selected)
        sql.run(
            """
            DELETE FROM archiver_snooze
            WHERE resource_id IN (SELECT resource_id FROM archiver_action_link WHERE action_id = :action_id)
            """,
            action_id=action_id,
        )
    return count
