"""The names of this portal's queues at the broker.

CKAN's default is database 0 of Redis for everybody, so two portals may share one. The first portal of a database has
the plain names that the 2016 README shows (``redis-cli LLEN bulk``); every other one has its ``ckan.site_id`` in front
(``LLEN my-portal.bulk``), and with the same ``site_id`` something random as well. ``ckan archiver status`` says which.

A key of the Redis database says whose a prefix is, and a row of the portal's own database says which prefix it has: so
a flushed Redis changes no names. RabbitMQ has no such key: there the ``site_id`` is always in front.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import config
from ckanext.archiver.queue import broker_settings
from ckanext.archiver.queue.types import Queue

log = logging.getLogger(__name__)

KEY = "archiver:portal:"
"""Of the key of a prefix in Redis; its value is the id of the portal that has it."""

REMEMBERED_SECONDS = 60
"""For which a process believes what it read last."""

CONNECT_SECONDS = 5

_lock = threading.Lock()
_known: tuple[str, str, float] | None = None
"""The broker, the prefix there, and until when (``time.monotonic``) that is believed."""


def prefix() -> str:
    """What stands before the names of the queues; empty where this is the first portal.

    While neither the database nor the broker answers, it is what was known last, or empty.
    """
    settings = broker_settings.read()
    if not settings.is_redis:
        return f"{config.site_id()}."
    global _known
    with _lock:
        now = time.monotonic()
        if _known is None or _known[0] != settings.name or now > _known[2]:
            last = _known[1] if _known is not None and _known[0] == settings.name else ""
            _known = (settings.name, _read_or_claim(settings, last), now + REMEMBERED_SECONDS)
        return _known[1]


def at_broker(queue: str) -> str:
    """The name of a queue at the broker: the key of its list in Redis."""
    return prefix() + queue


def all_at_broker() -> dict[str, str]:
    """The names of all queues at the broker, by their own."""
    return {queue.value: at_broker(queue.value) for queue in Queue}


def keep() -> bool:
    """Claim the prefix again, as after the broker was flushed; for a worker, every minute.

    :returns: whether it is still the one that this process has
    """
    global _known
    before = prefix()
    with _lock:
        if _known is not None:
            _known = (*_known[:2], float("-inf"))
    return prefix() == before


_PORTAL = """
    INSERT INTO archiver_state (key, value) VALUES ('portal', to_jsonb(CAST(:id AS text))) ON CONFLICT DO NOTHING
"""
_REMEMBER = """
    INSERT INTO archiver_state AS s (key, value) VALUES (:key, to_jsonb(CAST(:prefix AS text)))
    ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = now()
"""


def _read_or_claim(settings: broker_settings.BrokerSettings, last: str) -> str:
    # The broker is asked in no transaction: one that hangs would keep it open. The connections are others than the
    # caller's, who may be in the middle of an edit's transaction.
    key = f"names:{settings.name}"
    try:
        with model.meta.engine.begin() as connection:
            connection.execute(sa.text(_PORTAL), {"id": uuid.uuid4().hex})
            portal, known = (_state(connection, name) for name in ("portal", key))
        found = _claim(settings, str(portal), known)
        if found is None:
            return last if known is None else str(known)
        if found != known:
            with model.meta.engine.begin() as connection:
                connection.execute(sa.text(_REMEMBER), {"key": key, "prefix": found})
            log.info("The queues of this portal at the broker: %s", ", ".join(found + queue for queue in Queue))
    except sa.exc.SQLAlchemyError as e:
        log.debug("The names of the queues cannot be read: %s", e)
        return last
    return found


def _state(connection: Any, key: str) -> Any:
    return connection.execute(
        sa.text("SELECT value #>> '{}' FROM archiver_state WHERE key = :key"), {"key": key}
    ).scalar()


def _claim(settings: broker_settings.BrokerSettings, portal: str, known: Any) -> str | None:
    """The first prefix that this portal owns or no portal does, best the one that it has; None without an answer."""
    site_id = config.site_id()
    candidates = ["", f"{site_id}.", f"{site_id}-{portal[:8]}."]
    if known is not None:
        candidates.insert(0, str(known))
    connection = settings.connect(CONNECT_SECONDS)
    try:
        client = connection.default_channel.client
        for candidate in candidates:
            key = KEY + candidate
            if client.set(key, portal, nx=True) or _text(client.get(key)) == portal:
                return candidate
    except broker_settings.errors_of(connection) as e:
        log.debug("The names of the queues cannot be claimed: %s", e)
    finally:
        connection.release()
    return None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
