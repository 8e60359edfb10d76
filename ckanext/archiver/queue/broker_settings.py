"""The broker's URL in kombu's terms: transport, transport options and TLS.

People write the URL as CKAN takes it for ``ckan.redis.url``, which redis-py reads: ``redis://…?socket_timeout=5``,
``?db=0``, ``unix://``, ``valkey://``. kombu takes none of these, and raises on a query that it does not know.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from kombu import Connection
from kombu.exceptions import KombuError

from ckanext.archiver import config
from ckanext.archiver.errors import ConfigError

SCHEMES = {"valkey": "redis", "valkeys": "rediss"}
"""Other names of schemes."""

TRANSPORTS = {
    "redis": "ckanext.archiver.queue.redis_transport:Transport",
    "rediss": "ckanext.archiver.queue.redis_transport:Transport",
    "sentinel": "ckanext.archiver.queue.redis_transport:SentinelTransport",
}
"""The transports of our own, named for this extension's app only: other Celery apps in CKAN's process keep kombu's."""

UNIX = ("unix", "redis+socket")


def _is_true(text: str) -> bool:
    return text.lower() not in ("false", "no", "off", "0", "")


_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "socket_timeout": float,
    "socket_connect_timeout": float,
    "socket_keepalive": _is_true,
    "retry_on_timeout": _is_true,
    "health_check_interval": float,
    "client_name": str,
}
"""redis-py's URL options that kombu takes as transport options. Others (``protocol``, ``decode_responses``) mean
nothing here, and are left out, as is ``max_connections``: the number that suits a web process is too small here."""

_CERTIFICATES = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


@dataclass(frozen=True)
class BrokerSettings:
    """What kombu needs to connect.

    :ivar url: without a query; several, separated by ";", where there are others to fall back to
    :ivar transport: the path of a class, None for kombu's own
    :ivar tls: arguments of redis-py's or amqp's TLS connection, None without TLS
    """

    url: str
    transport: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    tls: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The broker without a password."""
        return re.sub("//[^@/]*@", "//", self.url) + str(self.options.get("unix_socket", ""))

    @property
    def is_redis(self) -> bool:
        """Whether the broker speaks the protocol of Redis."""
        return self.transport is not None

    def connect(self, timeout: float, **more: Any) -> Connection:
        """A connection that fails after ``timeout`` seconds instead of trying for ever.

        :param more: further transport options
        """
        options: dict[str, Any] = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
        options.update(self.options)
        if self.is_redis:
            options.update(socket_timeout=timeout, socket_connect_timeout=timeout, retry_on_timeout=False)
        else:
            options.update(read_timeout=timeout, write_timeout=timeout)
        return Connection(
            self.url,
            transport=self.transport,
            ssl=self.tls,
            connect_timeout=timeout,
            transport_options={**options, **more},
        )


def errors_of(connection: Connection) -> tuple[type[Exception], ...]:
    """What using a connection may raise because of the broker."""
    return (KombuError, OSError, *connection.connection_errors, *connection.channel_errors)


def read() -> BrokerSettings:
    """The broker as the options name it.

    :raises ConfigError: for a URL or an option that cannot be used
    """
    urls: list[str] = []
    settings = BrokerSettings("")
    for url in reversed(config.broker_url().split(";")):
        settings = _parse(url.strip())
        urls.insert(0, settings.url)
    options = {**settings.options, **config.broker_transport_options()}
    if settings.transport == TRANSPORTS["sentinel"] and not options.get("master_name"):
        raise ConfigError(
            "A sentinel:// broker needs the name of the master: "
            'ckanext-archiver.broker_transport_options = {"master_name": "mymaster"}.'
        )
    return BrokerSettings(";".join(urls), settings.transport, options, settings.tls)


def _parse(url: str) -> BrokerSettings:
    parts = urlsplit(url)
    scheme = SCHEMES.get(parts.scheme, parts.scheme)
    query = dict(parse_qsl(parts.query))
    if scheme not in (*TRANSPORTS, *UNIX):
        return _rabbitmq(url, parts.hostname, _tls(query) if scheme == "amqps" else None)
    options = _options(query)
    if scheme in UNIX:
        return _unix(parts.netloc, parts.path, query, options)
    login, _, address = parts.netloc.rpartition("@")
    if query.keys() & {"username", "password"}:
        login = ":".join(quote(query.get(name, ""), safe="") for name in ("username", "password"))
    path = f"/{query['db']}" if query.get("db") else parts.path
    netloc = f"{login}@{address}" if login else address
    tls = _tls(query) if scheme == "rediss" else None
    # kombu decides by the scheme too: with "rediss" it would make up TLS options of its own.
    plain = "redis" if scheme == "rediss" else scheme
    return BrokerSettings(urlunsplit((plain, netloc, path, "", "")), TRANSPORTS[scheme], options, tls)


def _rabbitmq(url: str, host: str | None, tls: dict[str, Any] | None) -> BrokerSettings:
    if tls is not None:
        # amqp's names for redis-py's options. kombu makes 127.0.0.1 of "localhost", so the name to verify is given.
        tls = {name.removeprefix("ssl_"): value for name, value in tls.items()}
        if tls.pop("check_hostname", True):
            tls["server_hostname"] = host
    return BrokerSettings(url.partition("?")[0], tls=tls)


def _options(query: Mapping[str, str]) -> dict[str, Any]:
    options = {}
    for name, kind in _OPTIONS.items():
        if name in query:
            try:
                options[name] = kind(query[name])
            except ValueError as e:
                raise ConfigError(f"{name} in the broker's URL must be a number, not {query[name]!r}.") from e
    return options


def _unix(login: str, path: str, query: Mapping[str, str], options: dict[str, Any]) -> BrokerSettings:
    # ``redis+socket://`` is kombu's spelling, with the database as ``virtual_host``.
    database = query.get("db") or query.get("virtual_host") or "0"
    user = login.rpartition("@")[0]
    options["unix_socket"] = unquote(path)
    url = f"redis://{user}@localhost/{database}" if user else f"redis://localhost/{database}"
    return BrokerSettings(url, TRANSPORTS["redis"], options)


def _tls(query: Mapping[str, str]) -> dict[str, Any]:
    """As redis-py does by default, certificates are verified."""
    tls: dict[str, Any] = {name: value for name, value in query.items() if name.startswith("ssl_")}
    wanted = str(tls.get("ssl_cert_reqs", "required")).lower().removeprefix("cert_")
    if wanted not in _CERTIFICATES:
        raise ConfigError(f"ssl_cert_reqs in the broker's URL must be none, optional or required, not {wanted!r}.")
    tls["ssl_cert_reqs"] = _CERTIFICATES[wanted]
    if "ssl_check_hostname" in tls:
        tls["ssl_check_hostname"] = _is_true(tls["ssl_check_hostname"])
    else:
        # redis-py before 6 does not by default.
        tls["ssl_check_hostname"] = tls["ssl_cert_reqs"] != ssl.CERT_NONE
    return tls
