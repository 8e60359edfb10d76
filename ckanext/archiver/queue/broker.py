"""Messages to the broker: ids only. A lost message costs nothing but time, since the table is the truth."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from kombu import Connection
from kombu.common import maybe_declare

from ckanext.archiver import config
from ckanext.archiver.errors import BrokerError
from ckanext.archiver.queue import broker_failures, broker_settings, names
from ckanext.archiver.queue.celery_app import app
from ckanext.archiver.queue.confirms import Confirms
from ckanext.archiver.queue.types import Queue

log = logging.getLogger(__name__)

T = TypeVar("T")

TASK = "archiver.update_resource"
TASK_FOR_MANY = "archiver.update_resources"

TIMEOUT = 0.5
"""Seconds that an edit waits for a broker that does not answer."""

PAUSE = 30
"""Seconds for which this process does not try a broker again that did not answer."""

KEPT_TIMEOUT = 5
"""Seconds that a worker or a command waits for a broker that does not answer."""

RETRY_SECONDS = 1
"""A broker that takes longer than this to fail is not asked a second time."""

_lock = threading.Lock()
_connection: Connection | None = None
_names = ""
"""What stood before the names of the queues when the connection was made."""
_down_until = 0.0


def connect(timeout: float = TIMEOUT) -> Connection:
    """A connection for sending that fails after ``timeout`` seconds instead of trying for ever."""
    settings = broker_settings.read()
    prefix = {"global_keyprefix": names.prefix()} if settings.is_redis else {}
    return settings.connect(timeout, **prefix)


def _batch(producer: Any) -> Any:
    """Sends many messages in one trip, where kombu can (since 5.7, with Redis)."""
    return producer.batch() if hasattr(producer, "batch") else contextlib.nullcontext()


def send(connection: Connection, resource_ids: Sequence[str], queue: str, *, per_message: int = 1) -> int:
    """Send messages for resources to a queue.

    :param per_message: how many resources share a message, about
    :returns: how many resources
    :raises BrokerError: when the broker does not take them
    """
    with _errors_named(connection), _publisher(connection, queue) as (producer, expect):
        for ids in _chunks(resource_ids, per_message):
            task, first = (TASK, ids[0]) if per_message == 1 else (TASK_FOR_MANY, ids)
            expect()
            app.send_task(task, (first, queue), queue=queue, producer=producer, retry=False)
    return len(resource_ids)


@contextlib.contextmanager
def _errors_named(connection: Connection) -> Iterator[None]:
    """Raise a :class:`BrokerError` for what the transport of a connection raises."""
    try:
        yield
    except broker_settings.errors_of(connection) as e:
        raise broker_failures.named(e) from e


@contextlib.contextmanager
def _publisher(connection: Connection, queue: str) -> Iterator[tuple[Any, Callable[[], None]]]:
    """A producer whose messages are with the broker at the end, and what to call before each."""
    if connection.transport.driver_type == "amqp":
        # An exchange that no worker has declared yet would refuse them.
        maybe_declare(app.amqp.queues[queue], connection.default_channel)
        confirms = Confirms(connection)
        with confirms.channel, app.amqp.Producer(confirms.channel, auto_declare=False) as producer:
            yield producer, confirms.expect
            confirms.wait()
    else:
        producer = app.amqp.Producer(connection.default_channel, auto_declare=False)
        with producer, _batch(producer):
            yield producer, _no_confirm


def _no_confirm() -> None:
    """Redis answers each command itself."""


def _chunks(resource_ids: Sequence[str], per_message: int) -> Iterator[Sequence[str]]:
    """Of uneven size, so that threads that begin at the same time do not all fetch their next message together."""
    begin = 0
    while begin < len(resource_ids):
        size = random.randint(max(1, per_message * 2 // 3), per_message * 4 // 3)  # noqa: S311 - not for security
        yield resource_ids[begin : begin + size]
        begin += size


def send_at_once(resource_ids: Sequence[str], queue: str) -> None:
    """Send from a web process. A broker that is down delays an edit by half a second once, and never fails it."""
    if time.monotonic() < _down_until:
        return
    try:
        # Loaded here once: it takes long in a process that has just started, and is no fault of the broker.
        app.amqp.queues  # noqa: B018 - a property that loads
    except (Exception, SystemExit) as e:  # noqa: BLE001 - as in _send_and_log
        _pause(e)
        return
    # A thread, since no timeout of the libraries below holds for the whole: a server that hangs is asked several things
    # when a connection is made, each with a time of its own.
    sender = threading.Thread(target=_send_and_log, args=(resource_ids, queue), name="archiver-sender", daemon=True)
    sender.start()
    sender.join(TIMEOUT)
    if sender.is_alive():
        _pause(BrokerError(f"The broker does not answer within {TIMEOUT} s"))


def _pause(error: BaseException) -> None:
    global _down_until
    _down_until = time.monotonic() + PAUSE
    text = (str(error) or type(error).__name__).rstrip(".")
    log.warning("%s. The requests are in the database and are sent when the broker is back.", text)


def _send_and_log(resource_ids: Sequence[str], queue: str) -> None:
    global _connection, _names, _down_until
    with _lock:
        try:
            if _connection is not None and _names != names.prefix():
                _discard()
            if _connection is None:
                _connection, _names = connect(), names.prefix()
            send(_connection, resource_ids, queue)
        except Exception as e:  # noqa: BLE001 - a bad URL, a library's defect: the edit is saved all the same
            _pause(e)
            _discard()
        else:
            # Also one that took longer than an edit waits.
            _down_until = 0.0


def _discard() -> None:
    global _connection
    if _connection is not None:
        with contextlib.suppress(Exception):
            _connection.release()
        _connection = None


def refusal() -> str | None:
    """Why the broker can never be used, in one sentence. None where it can, and where it does not answer now."""
    connection = connect(KEPT_TIMEOUT)
    try:
        channel = connection.default_channel
        if connection.transport.driver_type == "redis" and channel.client.info("cluster").get("cluster_enabled"):
            return broker_failures.CLUSTER
    except broker_settings.errors_of(connection) as e:
        return broker_failures.CLUSTER if broker_failures.is_cluster(e) else None
    finally:
        connection.release()
    return None


# -- a connection that lasts, one a thread -----------------------------------------------------------------

_kept = threading.local()


def on_kept_connection(work: Callable[[Connection], T]) -> T:
    """Do some work with this thread's lasting connection.

    A connection that was closed since its last use, as when the broker was restarted, is replaced once.

    :raises BrokerError: the broker does not answer
    """
    began = time.monotonic()
    try:
        return work(_kept_connection())
    except BrokerError:
        _drop_kept()
        if time.monotonic() - began > RETRY_SECONDS:
            # It hangs: a second try would only take as long again.
            raise
    try:
        return work(_kept_connection())
    except BrokerError:
        _drop_kept()
        raise


def _kept_connection() -> Connection:
    url = config.broker_url() + names.prefix()
    if getattr(_kept, "url", None) != url:
        _drop_kept()
        _kept.connection, _kept.url = connect(timeout=KEPT_TIMEOUT), url
    return _kept.connection


def _drop_kept() -> None:
    if getattr(_kept, "url", None) is not None:
        _kept.connection.release()
        _kept.url = None


def queue_length(connection: Connection, queue: str) -> int:
    """Messages waiting in a queue.

    :raises BrokerError: when the broker does not answer, or refuses
    """
    with _errors_named(connection):
        return int(app.amqp.queues[queue].bind(connection.default_channel).queue_declare().message_count)


PROBE = "archiver.probe"
PROBE_SECONDS = 60


def probe(connection: Connection) -> None:
    """Find out whether the broker takes messages.

    A Redis that is a replica or whose memory is full still answers when it is asked for a queue's length, so one key is
    written, which expires.

    :raises BrokerError: when the broker does not answer, or refuses
    """
    queue_length(connection, Queue.PRIORITY)
    if connection.transport.driver_type == "redis":
        with _errors_named(connection):
            connection.default_channel.client.set(PROBE, "1", ex=PROBE_SECONDS)
