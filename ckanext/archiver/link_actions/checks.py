"""Checking links again, and how far that is."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from ckan import model

from ckanext.archiver.link_actions.rights import must_edit
from ckanext.archiver.link_actions.selection import (
    UNDO_DAYS,
    Selection,
    record,
    record_links,
    record_selected,
)
from ckanext.archiver.queue import enqueue, outbox, sql
from ckanext.archiver.queue.types import Queue, Reason
from ckanext.archiver.report import reader
from ckanext.archiver.report.filters import NO_HOST
from ckanext.archiver.report.groups import Group

URGENT = enqueue.MAX_ON_PRIORITY
"""Up to so many links go to the queue ``priority``; more wait for their turn in ``bulk``."""


REQUESTS = 5
"""The latest requests for a group, whose links its progress counts."""


def check_again(who: reader.Reader, selection: Selection) -> int:
    """Request a check of the selected links, and commit.

    :returns: how many links
    :raises NotAuthorized: if the user may edit nothing
    """
    must_edit(who)
    selected = selection.query(who)
    with sql.transaction():
        action_id = record(who, "check", selection.described())
        count = record_selected(action_id, selected)
        queue = Queue.PRIORITY if count <= URGENT else Queue.BULK
        params = {"action_id": action_id}
        enqueue.put_selected(model.Session.connection(), _OF_ACTION, params, queue, Reason.CALLED)
        if queue == Queue.PRIORITY:
            ids = sql.run("SELECT resource_id FROM archiver_action_link WHERE action_id = :id", id=action_id)
            for resource_id in ids.scalars():
                outbox.send_after_commit(model.Session, resource_id)
    return count


_OF_ACTION = f"""
    SELECT r.id, r.package_id, {sql.HOST_OF_URL} AS host
    FROM archiver_action_link l JOIN resource r ON r.id = l.resource_id WHERE l.action_id = :action_id
"""  # noqa: S608 - constants only


def record_check(who: reader.Reader, condition: str, object_id: str) -> None:
    """Note that a user requested a check of all links of an object, and commit.

    :param condition: one of :mod:`~ckanext.archiver.checking_now`, over ``:id``
    """
    with sql.transaction():
        record_links(record(who, "check", {}), enqueue.selection_sql(condition), {"id": object_id})


def being_checked(resource_ids: Collection[str]) -> set[str]:
    """Ids of those resources whose check was requested, and is due within minutes or going on."""
    rows = model.Session.connection().execute(
        sa.text("SELECT resource_id FROM archiver_request WHERE resource_id = ANY(:ids) AND queue = 'priority'"),
        {"ids": list(resource_ids)},
    )
    return set(rows.scalars())


@dataclass(frozen=True)
class Progress:
    """How far a group is that was checked again.

    :ivar at: when that was last asked for, aware
    """

    at: datetime.datetime
    links: int
    checked: int
    working: int


def progress(groups: Sequence[Group], who: reader.Reader) -> dict[tuple[str, str], Progress]:
    """``{(cause, host): progress}`` of the groups that were checked again, as a whole, within 30 days: of all links
    whose check was requested with the group, by any user. Links that the reader may not see are left out."""
    rows = model.Session.connection().execute(
        sa.text(f"""
            SELECT asked.cause, asked.host, max(asked.at) AS at, count(*) AS links,
                count(*) FILTER (WHERE a.checked_at >= timezone('utc', asked.at)) AS checked,
                count(*) FILTER (WHERE a.checked_at >= timezone('utc', asked.at) AND a.is_broken IS FALSE) AS working
            FROM (
                SELECT c.selection->>'cause' AS cause, c.selection->>'host' AS host, l.resource_id, max(c.at) AS at
                FROM unnest(CAST(:causes AS text[]), CAST(:hosts AS text[])) AS wanted (cause, host)
                CROSS JOIN LATERAL (
                    SELECT id, at, selection FROM archiver_action
                    WHERE kind = 'check' AND at > now() - :days * interval '1 day'
                        AND selection - 'cause' - 'host' = CAST('{{}}' AS jsonb)
                        AND selection->>'cause' = wanted.cause AND selection->>'host' = wanted.host
                    ORDER BY id DESC LIMIT :requests
                ) AS c
                JOIN archiver_action_link l ON l.action_id = c.id
                GROUP BY 1, 2, 3
            ) asked
            JOIN resource r ON r.id = asked.resource_id AND r.state = 'active'
            JOIN package p ON p.id = r.package_id AND ({who.condition()})
            LEFT JOIN archival a ON a.resource_id = r.id
            GROUP BY asked.cause, asked.host
        """),  # noqa: S608 - constants only
        {
            **who.params(),
            "days": UNDO_DAYS,
            "requests": REQUESTS,
            "causes": [group.cause for group in groups],
            "hosts": [group.host or NO_HOST for group in groups],
        },
    )
    return {(row[0], "" if row[1] == NO_HOST else row[1]): Progress(*row[2:]) for row in rows}
