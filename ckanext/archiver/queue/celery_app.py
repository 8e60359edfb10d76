"""The Celery app. Its settings come from CKAN's configuration when they are first needed, not at import."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
from typing import Any, ClassVar

from celery import Celery
from celery.loaders.app import AppLoader
from celery.worker.consumer import Consumer
from kombu import VERSION, Exchange, Queue

from ckanext.archiver import ckan_context, config
from ckanext.archiver.errors import ConfigError
from ckanext.archiver.queue import broker_settings, names, types

log = logging.getLogger(__name__)


def settings() -> dict[str, Any]:
    """Celery's settings for this portal.

    :raises ConfigError: for a bad option
    """
    broker = broker_settings.read()
    return {
        "broker_url": broker.url,
        "broker_transport": broker.transport,
        "broker_use_ssl": broker.tls,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": _transport_options(broker),
        "include": ["ckanext.archiver.tasks"],
        "task_queues": [_queue(name.value, broker) for name in types.Queue],
        # RabbitMQ 4 refuses queues that are neither durable nor exclusive, which Celery before 5.7 makes for these.
        "control_queue_exclusive": True,
        "event_queue_exclusive": True,
        "task_default_queue": types.Queue.PRIORITY.value,
        "task_default_exchange": types.Queue.PRIORITY.value,
        "task_default_routing_key": types.Queue.PRIORITY.value,
        # A typing error in a queue name is an error, not a queue that no worker reads.
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


def _transport_options(broker: broker_settings.BrokerSettings) -> dict[str, Any]:
    if not broker.is_redis:
        return dict(broker.options)
    return {
        # A message may wait in a busy worker as long as a task may run; a copy that is sent again does nothing.
        "visibility_timeout": 2 * config.lease_seconds(),
        "socket_keepalive": True,
        # Each thread acknowledges its own messages. kombu opens 10 connections at most, and an acknowledgement that
        # finds none free is lost: its message counts as delivered for ever, and the worker takes one fewer.
        "max_connections": 1_000,
        **broker.options,
    }


def _queue(name: str, broker: broker_settings.BrokerSettings) -> Queue:
    if broker.is_redis:
        return Queue(name, Exchange(name), routing_key=name)
    # A virtual host may have several portals. Quorum queues: RabbitMQ 4 has no other replicated ones.
    own = f"{config.site_id()}.{name}"
    return Queue(own, Exchange(own), routing_key=own, alias=name, queue_arguments={"x-queue-type": "quorum"})


def import_other_tasks() -> None:
    """Import the task modules of other extensions: what their ``ckan.celery_task`` entry points list.

    A module that cannot be imported (it was written for another CKAN) is skipped: it must keep neither a worker from
    starting nor an edit from being saved.
    """
    for entry in importlib.metadata.entry_points(group="ckan.celery_task"):
        try:
            for module in entry.load()():
                importlib.import_module(module)
        except Exception as e:  # noqa: BLE001 - other people's code
            log.warning("Tasks of %s are skipped: %s: %s", entry.value, type(e).__name__, e)


WAKE_SECONDS = 1.0 if VERSION[:2] >= (5, 7) else 0.05
"""Seconds between two turns of a worker's event loop in which nothing happens. A thread that is done with a message
wakes the loop since kombu 5.7. Before, it would ask the broker for another message only when a timer of Celery's fires,
seconds later."""


class PatientConsumer(Consumer):
    """Waits for a broker that answers with errors (its memory is full, it is read-only) as for one that is away.

    Celery's own consumer ends the worker process then.
    """

    class Blueprint(Consumer.Blueprint):
        """Celery's, without the 28 queues that it declares beside quorum queues for messages with a delay: ours have
        none."""

        default_steps: ClassVar = [step for step in Consumer.Blueprint.default_steps if "DelayedDelivery" not in step]

    _ticking: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection_errors: tuple[type[Exception], ...] = (
            *self.connection_errors,
            *self.conninfo.channel_errors,
        )

    def register_with_event_loop(self, hub: Any) -> None:
        """Keep the event loop turning."""
        super().register_with_event_loop(hub)
        if self._ticking is not None:
            self._ticking.cancel()
        self._ticking = hub.call_repeatedly(WAKE_SECONDS, _nothing)


def _nothing() -> None:
    """The wake-up itself is the purpose."""


class CkanLoader(AppLoader):
    """Loads CKAN from ``CKAN_INI`` where it is not loaded yet (the ``celery`` command), then makes the settings."""

    def read_configuration(self, env: str = "CELERY_CONFIG_MODULE") -> dict[str, Any]:
        try:
            ckan_context.ensure_ckan(os.environ.get("CKAN_INI"))
            return settings()
        except ConfigError as e:
            raise SystemExit(str(e)) from e

    def on_worker_init(self) -> None:
        """Workers run other extensions' tasks too. Producers do not need them."""
        import_other_tasks()
        if broker_settings.read().is_redis:
            options = self.app.conf.broker_transport_options
            self.app.conf.broker_transport_options = {**options, "global_keyprefix": names.of_worker()}


app = Celery("archiver", loader=CkanLoader)
