"""The names of queues and of reasons: in the tables, at the broker, and for other extensions."""

from __future__ import annotations

from enum import Enum

DIRECT = "direct"
"""In the place of a worker's id: a process that sends no heartbeat, such as a command or code that calls the tasks."""


class Queue(str, Enum):
    """The Celery queues, which are also the values of ``archiver_request.queue``."""

    PRIORITY = "priority"
    """A person waits for the result: a resource was created or edited, or a command named it."""
    BULK = "bulk"
    """The regular round over everything."""

    __str__ = str.__str__


class Reason(str, Enum):
    """Why a request was put: the values of ``archiver_request.reason``."""

    CHANGED = "changed"
    """An edit created the resource or changed its link."""
    COMMAND = "command"
    """``ckan archiver update``."""
    CONFIRM = "confirm"
    """``ckan archiver update --confirm-now``: the first failure is shown at once."""
    ROUND = "round"
    """The schedule."""
    CALLED = "api"
    """Other code asked for one resource or dataset."""

    __str__ = str.__str__
