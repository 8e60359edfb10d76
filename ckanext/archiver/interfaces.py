"""The interface by which other extensions hear about archivals."""

from __future__ import annotations

import logging
from typing import Any

import ckan.plugins as p
from ckan import model

log = logging.getLogger(__name__)


class IPipe(p.Interface):
    """Hear about data that passes along the pipe, at least once each.

    Implement it with ``p.implements(IPipe, inherit=True)``. The operations:

    ``archived``
        One resource was archived: ``resource_id``, ``queue``, ``cache_filepath`` (None where there is no copy).
    ``package-archived``
        All requests of a dataset are done: ``package_id``, ``queue``, ``cache_filepath`` (None).

    After a crash the same event may come twice: make what you do with it idempotent.
    """

    def receive_data(self, operation: str, queue: str, **params: Any) -> None:
        """Called for each event.

        :param operation: what happened
        :param queue: "priority" or "bulk": how urgent work that follows from it is
        :param params: depends on the operation
        """

    @classmethod
    def send_data(cls, operation: str, queue: str, **params: Any) -> int:
        """Tell every subscriber. One that raises is logged with its plugin's name and does not keep the others
        from hearing.

        :returns: how many subscribers raised
        """
        failed = 0
        for observer in p.PluginImplementations(cls):
            try:
                observer.receive_data(operation, queue, **params)
            except Exception:
                failed += 1
                # It may have left the session in a failed transaction, in which nobody can work.
                model.Session.rollback()
                log.exception(
                    "Plugin %s failed on %s of %s",
                    observer.name,
                    operation,
                    params.get("resource_id") or params.get("package_id"),
                )
        return failed
