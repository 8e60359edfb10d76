"""The names of this portal's queues at the broker.

CKAN's default is database 0 of Redis for everybody, so two portals may share one. The first portal of a database has
the plain names that the 2016 README shows (``redis-cli LLEN bulk``); every other one has its ``ckan.site_id`` in front
(``LLEN my-portal.bulk``), and with the same ``site_id`` something random as well. ``ckan archiver status`` says which.

A key of the Redis database says whose a prefix is (:mod:`~ckanext.archiver.queue.portals`), and a row of the portal's
own database says which prefix it has: so a flushed Redis changes no names, unless another portal takes them before
this one is back. RabbitMQ has no such key: there the ``site_id`` is always in front.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import config, tables
from ckanext.archiver.queue import broker_settings, portals, sql
from ckanext.archiver.queue.types import Queue

log = logging.getLogger(__name__)

REMEMBERED_SECONDS = 60
"""For which a process believes what it read last."""

_lock = threading.Lock()
_known: tuple[str, str, float] | None = None
"""The broker, the prefix there, and until when (``time.monotonic``) that is believed."""
_read_by_worker: str | None = None
"""The prefix of the queues that this worker reads; None in a process that is no worker."""


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


def of_worker() -> str:
    """The prefix of the queues that this process is going to read, as a worker does until it ends."""
    global _read_by_worker
    _read_by_worker = prefix()
    return _read_by_worker


def keep() -> bool:
    """Claim the prefix again, as after the broker was flushed; for a worker, every few seconds.

    The other threads go on with what is known while the broker is asked.

    :returns: whether this worker reads the queues that are this portal's
    """
    global _known
    settings = broker_settings.read()
    if not settings.is_redis:
        return True
    found = _read_or_claim(settings, prefix())
    with _lock:
        _known = (settings.name, found, time.monotonic() + REMEMBERED_SECONDS)
    return _read_by_worker in (None, found)


def neighbours() -> list[portals.Neighbour]:
    """The other portals that share the Redis database, as far as they have been at work since yesterday."""
    settings = broker_settings.read()
    if not settings.is_redis:
        return []
    prefix()
    with model.meta.engine.begin() as connection:
        portal = tables.portal_id(connection)
    return portals.neighbours(settings, portal)


_REMEMBER = """
    INSERT INTO archiver_state AS s (key, value) VALUES (:key, to_jsonb(CAST(:prefix AS text)))
    ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = now()
"""


_BECOME_ANOTHER = """
    UPDATE archiver_state SET value = to_jsonb(CAST(:id AS text)), updated_at = now()
    WHERE key = 'portal' AND value #>> '{}' = :old
"""
_NO_MESSAGES = sql.update_unlocked("sent_until = NULL", f"{sql.IN_WINDOW} AND lease_token IS NULL AND {sql.WAS_SENT}")


def _read_or_claim(settings: broker_settings.BrokerSettings, last: str) -> str:
    # The broker is asked in no transaction: one that hangs would keep it open. The connections are others than the
    # caller's, who may be in the middle of an edit's transaction.
    key = f"names:{settings.name}"
    try:
        me, known = _read(key)
        try:
            found = portals.claim(settings, me, _candidates(me, known))
        except portals.CopiedError:
            _become_another(me.portal)
            me, known = _read(key)
            found = portals.claim(settings, me, _candidates(me, known))
        if found is None:
            return last if known is None else known
        if found != known:
            with model.meta.engine.begin() as connection:
                connection.execute(sa.text(_REMEMBER), {"key": key, "prefix": found})
            log.info("The queues of this portal at the broker: %s", ", ".join(found + queue for queue in Queue))
    except (sa.exc.SQLAlchemyError, portals.CopiedError) as e:
        log.debug("The names of the queues cannot be read: %s", e)
        return last
    return found


def _read(key: str) -> tuple[portals.Owner, str | None]:
    """Who this portal is, and the prefix it has by its own database."""
    with model.meta.engine.begin() as connection:
        me = portals.Owner(tables.portal_id(connection), portals.database_of(connection))
        return me, _state(connection, key)


def _become_another(portal: str) -> None:
    """Give this portal, whose database is a copy, an id of its own. The messages of its requests are the original's."""
    with model.meta.engine.begin() as connection:
        if connection.execute(sa.text(_BECOME_ANOTHER), {"id": uuid.uuid4().hex, "old": portal}).rowcount:
            connection.execute(sa.text("DELETE FROM archiver_state WHERE starts_with(key, 'names:')"))
            connection.execute(sa.text(_NO_MESSAGES))
            log.warning(
                "This database is a copy of one whose portal uses the same broker: its queues have other names now"
            )


def _state(connection: Any, key: str) -> str | None:
    statement = sa.text("SELECT value #>> '{}' FROM archiver_state WHERE key = :key")
    value = connection.execute(statement, {"key": key}).scalar()
    return None if value is None else str(value)


def _candidates(me: portals.Owner, known: str | None) -> list[str]:
    """The prefixes that this portal may have, best first: the one that it has."""
    site_id = config.site_id()
    own = [] if known is None else [known]
    return [*own, "", f"{site_id}.", f"{site_id}-{me.portal[:8]}."]
