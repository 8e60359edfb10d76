"""The interface through which other extensions subscribe to archivals."""

from __future__ import annotations

import logging
from typing import Any

import ckan.plugins as p
from ckan import model

log = logging.getLogger(__name__)


class IPipe(p.Interface):
    """Receive the events of archivals, each at least once.

    Implement it with ``p.implements(IPipe, inherit=True)``. The operations:

    ``archived``
        One resource was archived: ``resource_id``, ``queue``, ``cache_filepath`` (None where there is no copy).
    ``package-archived``
        All requests of a dataset are done: ``package_id``, ``queue``, ``cache_filepath`` (None).

    After a crash the same event may be delivered twice: handlers must be idempotent.
    """

    def receive_data(self, operation: str, queue: str, **params: Any) -> None:
        """Called for each event.

        :param operation: "archived" or "package-archived"
        :param queue: "priority" or "bulk": the urgency of any follow-up work
        :param params: depends on the operation
        """

    @classmethod
    def send_data(cls, operation: str, queue: str, **params: Any) -> int:
        """Deliver an event to every subscriber. One that raises is logged with its plugin's name; the others still
        receive the event.

        :returns: how many subscribers raised
        """
        failed = 0
        for observer in p.PluginImplementations(cls):
            try:
                observer.receive_data(operation, queue, **params)
            except Exception:
                failed += 1
                # It may have left the session in a failed transaction, in which no further statement works.
                model.Session.rollback()
                log.exception(
                    "Plugin %s failed on %s of %s",
                    observer.name,
                    operation,
                    params.get("resource_id") or params.get("package_id"),
                )
        return failed
