"""kombu's transports for Redis, for this extension's Celery app.

* One client a channel: kombu (5.7) makes a new client object for each message that it takes and for each that it
  acknowledges, which costs more than the command. A client hands out connections of a pool, so one is enough.
* An item of a queue that is no message is dropped with a line in the log. kombu raises, and Celery ends the worker.
* A Unix socket as a transport option: kombu knows it only by a URL, which names kombu's own transport.
"""

from __future__ import annotations

import logging
from typing import Any

from kombu.transport import redis
from redis import UnixDomainSocketConnection

log = logging.getLogger(__name__)


class _ChannelMixin:
    """What both channels add."""

    unix_socket: str | None = None
    _kept: Any = None

    def _create_client(self: Any, asynchronous: bool = False) -> Any:
        # The clients that wait for messages are kombu's own, one each.
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]
        return self._kept

    def _brpop_read(self: Any, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            # Not JSON, or JSON that is no message: from another program, or written by hand.
            log.warning("An item of a queue that is no message was dropped: %s: %s", type(e).__name__, str(e)[:200])
            return True


class Channel(_ChannelMixin, redis.Channel):
    """A channel to one server."""

    from_transport_options = (*redis.Channel.from_transport_options, "unix_socket")

    def _connparams(self, asynchronous: bool = False) -> Any:
        if not self.unix_socket:
            return super()._connparams(asynchronous)
        self.connection_class = UnixDomainSocketConnection
        params = super()._connparams(asynchronous)
        for name in ("host", "port", "socket_connect_timeout", "socket_keepalive", "socket_keepalive_options"):
            params.pop(name, None)
        return {**params, "path": self.unix_socket}


class SentinelChannel(_ChannelMixin, redis.SentinelChannel):
    """A channel to the master that sentinels name."""


class Transport(redis.Transport):
    """See the module's text."""

    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    """See the module's text."""

    Channel = SentinelChannel
