"""Messages to the broker: ids only. Losing one costs nothing but time, since the table is the truth."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from kombu import Connection
from kombu.exceptions import KombuError

from ckanext.archiver import config
from ckanext.archiver.errors import BrokerError
from ckanext.archiver.queue.celery_app import app

log = logging.getLogger(__name__)

T = TypeVar("T")

TASK = "archiver.update_resource"
TASK_FOR_MANY = "archiver.update_resources"

TIMEOUT = 0.5
"""Seconds that a person who edits may have to wait for a broker that does not answer."""

PAUSE = 30
"""Seconds for which a broker that did not answer is not asked again by this process."""

_lock = threading.Lock()
_connection: Connection | None = None
_down_until = 0.0


def connect(timeout: float = TIMEOUT) -> Connection:
    """A connection for sending that gives up after ``timeout`` seconds instead of trying for ever."""
    options: dict[str, Any] = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
    url = config.broker_url()
    if url.startswith(("redis", "sentinel")):
        options.update(socket_timeout=timeout, socket_connect_timeout=timeout, retry_on_timeout=False)
    else:
        options.update(read_timeout=timeout, write_timeout=timeout)
    return Connection(url, connect_timeout=timeout, transport_options=options)


def _batch(producer: Any) -> Any:
    """Many messages in one go, where kombu can (since 5.7, with Redis)."""
    return producer.batch() if hasattr(producer, "batch") else contextlib.nullcontext()


def send(connection: Connection, resource_ids: Sequence[str], queue: str, *, together: int = 1) -> int:
    """Put messages for resources on a queue.

    :param together: how many resources share a message, about
    :returns: how many resources
    :raises BrokerError: when the broker does not take them
    """
    try:
        producer = app.amqp.Producer(connection.default_channel, auto_declare=False)
        with producer, _batch(producer):
            for ids in _lots(resource_ids, together):
                task, first = (TASK, ids[0]) if together == 1 else (TASK_FOR_MANY, ids)
                app.send_task(task, (first, queue), queue=queue, producer=producer, retry=False)
    except (KombuError, OSError, *connection.connection_errors, *connection.channel_errors) as e:
        raise BrokerError(f"The broker does not answer: {e}") from e
    return len(resource_ids)


def _lots(resource_ids: Sequence[str], together: int) -> Iterator[Sequence[str]]:
    """Of uneven size, so that threads that begin at the same time do not all come for their next message together."""
    begin = 0
    while begin < len(resource_ids):
        size = random.randint(max(1, together * 2 // 3), together * 4 // 3)  # noqa: S311 - not for security
        yield resource_ids[begin : begin + size]
        begin += size


def send_quickly(resource_ids: Sequence[str], queue: str) -> None:
    """Send from a web process. A broker that is down costs an editor half a second once, and never the edit."""
    global _connection, _down_until
    with _lock:
        if time.monotonic() < _down_until:
            return
        try:
            if _connection is None:
                _connection = connect()
            send(_connection, resource_ids, queue)
        except BrokerError as e:
            _down_until = time.monotonic() + PAUSE
            log.warning("%s. Archivals are kept in the database and start when it is back.", e)
            _discard()


def _discard() -> None:
    global _connection
    if _connection is not None:
        _connection.release()
        _connection = None


# -- for who sends all the time ----------------------------------------------------------------------------

_kept = threading.local()


def on_kept_connection(work: Callable[[Connection], T]) -> T:
    """Do something with a connection of this thread's own that lasts.

    One that was closed meanwhile, as when the broker was restarted, is made anew once.

    :raises BrokerError: the broker does not answer
    """
    try:
        return work(_kept_connection())
    except BrokerError:
        _drop_kept()
    try:
        return work(_kept_connection())
    except BrokerError:
        _drop_kept()
        raise


def _kept_connection() -> Connection:
    url = config.broker_url()
    if getattr(_kept, "url", None) != url:
        _drop_kept()
        _kept.connection, _kept.url = connect(timeout=5), url
    return _kept.connection


def _drop_kept() -> None:
    if getattr(_kept, "url", None) is not None:
        _kept.connection.release()
        _kept.url = None


def queue_length(connection: Connection, queue: str) -> int:
    """Messages waiting in a queue.

    :raises BrokerError: when the broker does not answer
    """
    try:
        return int(app.amqp.queues[queue].bind(connection.default_channel).queue_declare().message_count)
    except (KombuError, OSError, *connection.connection_errors, *connection.channel_errors) as e:
        raise BrokerError(f"The broker does not answer: {e}") from e
