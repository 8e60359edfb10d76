"""The names of queues and of reasons, as the tables, the broker and other extensions have them."""

from __future__ import annotations

from enum import Enum

DIRECT = "direct"
"""Stands for a process that is not a worker and sends no heartbeat: a command, or other code that calls the tasks."""


class Queue(str, Enum):
    """The Celery queues, which are also the values of ``archiver_request.queue``."""

    PRIORITY = "priority"
    """A person is waiting: a resource was created or edited, or a command named it."""
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
