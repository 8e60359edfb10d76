"""Which portals share a Redis database, and which names each has there: kept in that database itself.

The key of a prefix says which portal has it, and which database that portal's tables are in. A copy of a database, such
as one restored for staging, has the same portal id as its original: the two differ by the database. A second key is
there for as long as the owner is at work, so a portal that has moved to another database is not taken for a copy.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from ckanext.archiver import config
from ckanext.archiver.queue import broker_settings

log = logging.getLogger(__name__)

T = TypeVar("T")

KEY = "archiver:portal:"
"""Of the key of a prefix in Redis; its value is the id of the portal that has it, and its database."""

AT_WORK_KEY = "archiver:portal-at-work:"
"""Of the key of a prefix whose owner is at work; it expires."""

AT_WORK_SECONDS = 120
"""Seconds after its last sign for which a portal counts as being at work; a worker gives one every few seconds."""

PORTALS = "archiver:portals"
"""A hash with what the portals say of themselves, by their ids."""

SHOWN_SECONDS = 24 * 3600
"""Seconds for which a portal that gives no sign is still a neighbour."""

CONNECT_SECONDS = 5


class CopiedError(Exception):
    """This database is a copy of another one, whose portal is at work at the same broker."""


@dataclass(frozen=True)
class Owner:
    """Who has a prefix.

    :ivar portal: the id in the portal's own tables
    :ivar database: what tells the database from its copies
    """

    portal: str
    database: str

    @classmethod
    def parse(cls, value: Any) -> Owner:
        """The owner that a key names."""
        return cls(*_text(value).partition(" ")[::2])

    def __str__(self) -> str:
        return f"{self.portal} {self.database}"


@dataclass(frozen=True)
class Neighbour:
    """What a portal says of itself.

    :ivar seen: when it was last at work, in seconds since 1970
    """

    site_url: str
    site_id: str
    prefix: str
    seen: float


def database_of(connection: Any) -> str:
    """What tells the database of a connection from its copies: the identifier of the server's files, and its name.

    A copy of the files themselves has the same. Empty where the server does not say.
    """
    statement = "SELECT system_identifier || '/' || current_database() FROM pg_control_system()"
    try:
        with connection.begin_nested():
            return str(connection.execute(sa.text(statement)).scalar())
    except sa.exc.ProgrammingError:
        return ""  # the function is not public on this server


def claim(settings: broker_settings.BrokerSettings, me: Owner, candidates: Sequence[str]) -> str | None:
    """Take the first prefix that this portal owns or no portal does.

    :returns: None without an answer of the broker
    :raises CopiedError: another database has this portal's id
    """
    return _ask(settings, lambda client: _claim(client, me, candidates))


def _claim(client: Any, me: Owner, candidates: Sequence[str]) -> str | None:
    for prefix in candidates:
        if _take(client, me, prefix):
            client.set(AT_WORK_KEY + prefix, "1", ex=AT_WORK_SECONDS)
            said = Neighbour(config.site_url(), config.site_id(), prefix, time.time())
            client.hset(PORTALS, me.portal, json.dumps(asdict(said)))
            return prefix
    return None


def _take(client: Any, me: Owner, prefix: str) -> bool:
    if client.set(KEY + prefix, str(me), nx=True):
        return True
    owner = Owner.parse(client.get(KEY + prefix))
    if owner == me:
        return True
    is_copy = owner.portal == me.portal
    if not is_copy and not (me.database and owner.database == me.database):
        return False
    if client.exists(AT_WORK_KEY + prefix):
        if is_copy and owner.database and me.database:
            raise CopiedError(f"Another database has the id of this portal, and the queues {prefix}bulk, …")
        if not is_copy:
            return False
    # The portal has moved to this database, or this database was restored and forgot its former id.
    client.set(KEY + prefix, str(me))
    if not is_copy:
        client.hdel(PORTALS, owner.portal)
    return True


def neighbours(settings: broker_settings.BrokerSettings, portal: str) -> list[Neighbour]:
    """The other portals in this Redis database that were at work lately; none without an answer."""
    said = _ask(settings, lambda client: client.hgetall(PORTALS)) or {}
    found = (Neighbour(**json.loads(value)) for key, value in said.items() if _text(key) != portal)
    return sorted((one for one in found if time.time() - one.seen < SHOWN_SECONDS), key=lambda one: one.prefix)


def _ask(settings: broker_settings.BrokerSettings, question: Callable[[Any], T]) -> T | None:
    """What the broker's Redis answers; None where it does not."""
    connection = settings.connect(CONNECT_SECONDS)
    try:
        return question(connection.default_channel.client)
    except broker_settings.errors_of(connection) as e:
        log.debug("The broker does not say which portals use it: %s", e)
    finally:
        connection.release()
    return None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
