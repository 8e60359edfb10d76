"""kombu's transport for Redis with one client a channel: kombu (5.7) makes a new client object for each message that it
takes and for each that it acknowledges, which costs more than the command. A client hands out connections of a pool, so
one is enough."""

from __future__ import annotations

from typing import Any

from kombu.transport import redis


class Channel(redis.Channel):
    """Keeps the client of its commands. The clients that wait for messages are kombu's own, one each."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()
        return self._kept


class Transport(redis.Transport):
    """See the module's text."""

    Channel = Channel
