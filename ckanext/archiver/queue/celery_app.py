"""The Celery app. Its settings come from CKAN's configuration when they are first needed, not at import."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
from typing import Any

from celery import Celery
from celery.loaders.app import AppLoader
from celery.worker.consumer import Consumer
from kombu import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES

from ckanext.archiver import ckan_context, config
from ckanext.archiver.errors import ConfigError
from ckanext.archiver.queue import types

log = logging.getLogger(__name__)

QUEUE_NAMES = tuple(str(queue) for queue in types.Queue)

# By the name that URLs have, so that it stands in the log as ever, and holds for the broker that another stands in for.
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "ckanext.archiver.queue.redis_transport:Transport"))


def settings() -> dict[str, Any]:
    """Celery's settings for this portal.

    :raises ConfigError: for a bad option
    """
    lease = config.lease_seconds()
    return {
        "broker_url": config.broker_url(),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A message may wait in a busy worker as long as a task may run; a copy that is sent again does nothing.
        "broker_transport_options": {
            "visibility_timeout": 2 * lease,
            "socket_keepalive": True,
            # Each thread acknowledges its own messages. kombu makes 10 at most, and an acknowledgement for which there
            # is none is lost: its message counts as under way for ever, and so many fewer are taken.
            "max_connections": 1_000,
        },
        "include": ["ckanext.archiver.tasks"],
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in QUEUE_NAMES],
        "task_default_queue": types.Queue.PRIORITY.value,
        "task_default_exchange": types.Queue.PRIORITY.value,
        "task_default_routing_key": types.Queue.PRIORITY.value,
        # A typing error in a queue name is an error, not a queue that nobody reads.
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "worker_consumer": "ckanext.archiver.queue.celery_app:PatientConsumer",
        "worker_prefetch_multiplier": 1,
        "worker_send_task_events": False,
        # CKAN's ini file configures logging.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "timezone": "UTC",
    }


def import_other_tasks() -> None:
    """Import the task modules of other extensions: what their ``ckan.celery_task`` entry points list.

    Those that cannot be imported (they were written for another CKAN) are left out: they must keep neither a worker
    from starting nor an edit from being saved.
    """
    for entry in importlib.metadata.entry_points(group="ckan.celery_task"):
        try:
            for module in entry.load()():
                importlib.import_module(module)
        except Exception as e:  # noqa: BLE001 - other people's code
            log.warning("Tasks of %s are left out: %s: %s", entry.value, type(e).__name__, e)


WAKE_SECONDS = 0.05


class PatientConsumer(Consumer):
    """Waits for a broker that answers with errors (its memory is full, it is read-only) as for one that is away.

    Celery's own ends the worker process then.
    """

    _ticking: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection_errors: tuple[type[Exception], ...] = (
            *self.connection_errors,
            *self.conninfo.channel_errors,
        )

    def register_with_event_loop(self, hub: Any) -> None:
        """Keep the loop going. kombu before 5.7 does not notice when a thread is done with a message: it would ask
        the broker for another only when some timer of Celery's fires, seconds later."""
        super().register_with_event_loop(hub)
        if self._ticking is not None:
            self._ticking.cancel()
        self._ticking = hub.call_repeatedly(WAKE_SECONDS, _nothing)


def _nothing() -> None:
    """Waking up is all."""


class CkanLoader(AppLoader):
    """Loads CKAN from ``CKAN_INI`` where nobody has yet (the ``celery`` command), then makes the settings."""

    def read_configuration(self, env: str = "CELERY_CONFIG_MODULE") -> dict[str, Any]:
        try:
            ckan_context.ensure_ckan(os.environ.get("CKAN_INI"))
            return settings()
        except ConfigError as e:
            raise SystemExit(str(e)) from e

    def on_worker_init(self) -> None:
        """Workers do other extensions' tasks too; who only sends messages does not need them."""
        import_other_tasks()


app = Celery("archiver", loader=CkanLoader)
