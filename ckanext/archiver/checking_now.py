"""Checks that an editor requests from a page or the API: at once and before the regular round."""

from __future__ import annotations

from typing import Any

from ckan import model

from ckanext.archiver.errors import ArchiverError
from ckanext.archiver.queue import enqueue, pauses, sql
from ckanext.archiver.queue.types import Queue, Reason

PAUSE_SECONDS = 60
"""The least time between two checks of one link that editors request."""

OF_RESOURCE = "r.id = :id"
_NOT_JUST_NOW = f"(a.checked_at IS NULL OR a.checked_at < timezone('utc', now()) - interval '{PAUSE_SECONDS} seconds')"
OF_DATASET = f"r.package_id = :id AND {_NOT_JUST_NOW}"
OF_ORGANIZATION = f"p.owner_org = :id AND {_NOT_JUST_NOW}"


class TooSoonError(ArchiverError):
    """The link was checked, or its check requested, less than a minute ago."""


def request(condition: str, object_id: str) -> tuple[str, int]:
    """Request checks of all links of an object, and commit.

    :param condition: one of the conditions of this module
    :returns: (queue, number of links)
    :raises TooSoonError: for a single resource that was checked or requested just now
    """
    if condition == OF_RESOURCE:
        if sql.run(_IS_TOO_SOON, id=object_id, seconds=PAUSE_SECONDS).scalar():
            raise TooSoonError(object_id)
        enqueue.put_resource(object_id, Queue.PRIORITY, Reason.CONFIRM)
        model.Session.commit()
        return Queue.PRIORITY.value, 1
    return request_selection(condition, {"id": object_id})


def pause(condition: str, object_id: str, queue: str) -> pauses.Pause | None:
    """The operator's pause that the requested checks of an object wait for, if there is one.

    :param condition: one of the conditions of this module
    """
    return pauses.of_resource(object_id) if condition == OF_RESOURCE else pauses.of_queue(queue)


def request_selection(condition: str, params: dict[str, Any]) -> tuple[str, int]:
    """Request checks of all links that a condition selects, in one statement, and commit.

    :param condition: see :func:`enqueue.selection_sql`
    :returns: (queue, number of links)
    """
    counted = (
        f"SELECT count(*) FROM ({enqueue.selection_sql(condition)} LIMIT {enqueue.MAX_ON_PRIORITY + 1}) AS counted"  # noqa: S608 - conditions of this package
    )
    count = int(sql.run(counted, **params).scalar())
    queue = Queue.PRIORITY if count <= enqueue.MAX_ON_PRIORITY else Queue.BULK
    put = enqueue.put_selection(condition, params, queue, Reason.COMMAND)
    model.Session.commit()
    return queue.value, count if queue is Queue.PRIORITY else put


_IS_TOO_SOON = """
    SELECT EXISTS (
        SELECT 1 FROM archival WHERE resource_id = :id
            AND checked_at > timezone('utc', now()) - :seconds * interval '1 second'
    ) OR EXISTS (
        SELECT 1 FROM archiver_request WHERE resource_id = :id AND queue = 'priority'
            AND requested_at > now() - :seconds * interval '1 second'
    )
"""
