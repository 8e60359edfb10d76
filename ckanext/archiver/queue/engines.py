"""What ``broker_url`` and ``broker_transport_options`` mean to kombu, for Redis in its several ways and for RabbitMQ.

The options of redis-py's URLs work as they do in ``ckan.redis.url`` (``?db=1``, ``?socket_timeout=5``,
``?ssl_ca_certs=…``), which kombu does not understand. Certificates are verified unless ``ssl_cert_reqs=none`` says
otherwise; kombu verifies none where a URL has no options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from kombu import Connection
from kombu.exceptions import KombuError
from kombu.transport import TRANSPORT_ALIASES
from redis.connection import parse_url

from ckanext.archiver import config
from ckanext.archiver.errors import BrokerError, ConfigError
from ckanext.archiver.options import PREFIX

REDIS_SCHEMES = {"redis": "redis", "valkey": "redis", "rediss": "rediss", "valkeys": "rediss", "unix": "unix"}
"""Schemes of URLs → those of redis-py. ``redis+socket://`` is kombu's name for ``unix://``."""

OWN_SCHEME = "archiver-redis"
"""Our transport has a scheme of its own: other users of kombu in CKAN's process keep kombu's."""

TRANSPORT_ALIASES[OWN_SCHEME] = "ckanext.archiver.queue.redis_transport:Transport"

URL_OPTIONS = (
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "health_check_interval",
    "retry_on_timeout",
    "client_name",
)
"""Options of redis-py's URLs that kombu's transport has too. Others are for redis-py's clients and are left out, as is
``max_connections``: the number that suits a web process is too small for a worker."""

CLUSTER = (
    "The broker is a Redis Cluster, which kombu cannot use: name a Redis without cluster mode, or with Sentinel, in "
    f"{PREFIX}broker_url."
)
OTHER_QUEUE_TYPE = (
    "RabbitMQ has a queue of this name that is no quorum queue, as older releases made it: let their workers empty it, "
    'then delete it with "rabbitmqctl delete_queue NAME" ({error})'
)


@dataclass(frozen=True)
class Engine:
    """A broker as kombu is told of it.

    :ivar options: transport options
    :ivar ssl: TLS options; None without TLS
    """

    url: str
    options: Mapping[str, Any]
    ssl: Mapping[str, Any] | None = None

    @property
    def is_rabbitmq(self) -> bool:
        return "amqp" in self.url.partition(":")[0]

    def connect(self, timeout: float) -> Connection:
        """A connection for sending that fails after ``timeout`` seconds instead of trying for ever."""
        options = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0, **self.options}
        if self.is_rabbitmq:
            options.update(read_timeout=timeout, write_timeout=timeout)
        else:
            options.update(socket_timeout=timeout, socket_connect_timeout=timeout, retry_on_timeout=False)
        return Connection(self.url, connect_timeout=timeout, transport_options=options, ssl=self.ssl or False)


def current() -> Engine:
    """The engine that the configuration names.

    :raises ConfigError: for a URL or options that cannot be used
    """
    urls = [url.strip() for url in config.broker_url().split(";")]
    scheme = urlsplit(urls[0]).scheme.replace("redis+socket", "unix")
    if scheme in REDIS_SCHEMES:
        # Of several servers in a row, the first one's options hold for all.
        engines = [_redis(url) for url in urls]
        url, options, ssl = ";".join(engine.url for engine in engines), engines[0].options, engines[0].ssl
    elif scheme == "sentinel":
        url, options, ssl = ";".join(urls), {}, None
    else:
        (url, ssl), options = _rabbitmq(urls), {}
    options = {**options, **config.broker_transport_options()}
    if scheme == "sentinel" and "master_name" not in options:
        raise ConfigError(
            f'{PREFIX}broker_transport_options must have a "master_name" where {PREFIX}broker_url names Sentinels.'
        )
    return Engine(url, options, ssl)


def _redis(url: str) -> Engine:
    scheme, _, rest = url.replace("redis+socket:", "unix:").partition("://")
    try:
        parts: dict[str, Any] = parse_url(f"{REDIS_SCHEMES.get(scheme, scheme)}://{rest}")  # type: ignore[no-untyped-call]
    except ValueError as e:
        raise ConfigError(f"The broker's URL cannot be used: {e}") from e
    options = {name: parts[name] for name in URL_OPTIONS if name in parts}
    user, password = (quote(parts.get(name) or "", safe="") for name in ("username", "password"))
    login = f"{user}:{password}@" if user or password else ""
    database = parts.get("db", dict(parse_qsl(urlsplit(url).query)).get("virtual_host", 0))
    if "path" in parts:
        return Engine(f"{OWN_SCHEME}+socket://{login}{quote(parts['path'])}?virtual_host={database}", options)
    host = parts.get("host", "localhost")
    address = f"[{host}]" if ":" in host else host
    ssl = None
    if REDIS_SCHEMES[scheme] == "rediss":
        ssl = _verified({name: value for name, value in parts.items() if name.startswith("ssl_")})
    return Engine(f"{OWN_SCHEME}://{login}{address}:{parts.get('port', 6379)}/{database}", options, ssl)


def _verified(given: Mapping[str, Any]) -> dict[str, Any]:
    """TLS options with what is verified, whatever a client's own defaults are."""
    required = str(given.get("ssl_cert_reqs", "required")).lower().removeprefix("cert_")
    if required not in ("required", "optional", "none"):
        raise ConfigError("The broker's URL cannot be used: ssl_cert_reqs must be required, optional or none.")
    return {"ssl_check_hostname": required != "none", **given, "ssl_cert_reqs": required}


def _rabbitmq(urls: list[str]) -> tuple[str, dict[str, Any] | None]:
    parts = urlsplit(urls[0])
    url = ";".join(one.partition("?")[0] for one in urls)
    if parts.scheme != "amqps":
        return url, None
    given = _verified({name: unquote(value) for name, value in parse_qsl(parts.query) if name.startswith("ssl_")})
    # py-amqp's names and values. kombu makes 127.0.0.1 of "localhost", so the name to verify is given. Of several
    # servers in a row it takes each one's own.
    ssl = {name.removeprefix("ssl_"): value for name, value in given.items()}
    ssl["cert_reqs"] = {"none": 0, "optional": 1, "required": 2}[ssl["cert_reqs"]]
    if ssl.pop("check_hostname"):
        ssl["server_hostname"] = parts.hostname if len(urls) == 1 else None
    return url, ssl


# -- what goes wrong ---------------------------------------------------------------------------------------


def errors(connection: Connection) -> tuple[type[Exception], ...]:
    """What may be raised where a broker is used."""
    return (KombuError, OSError, *connection.connection_errors, *connection.channel_errors)


def failure(error: Exception) -> BrokerError:
    """What went wrong with the broker, in one sentence."""
    text = str(error)
    if any(word in text for word in ("MOVED ", "CROSSSLOT", "CLUSTERDOWN", "cluster mode")):
        return BrokerError(CLUSTER)
    if "x-queue-type" in text:
        return BrokerError(OTHER_QUEUE_TYPE.format(error=text))
    return BrokerError(f"The broker does not answer: {text}")


def refusal(timeout: float = 5) -> str | None:
    """Why the broker can never be used, in one sentence. None where it can, and where it does not answer now.

    :param timeout: seconds
    """
    connection = current().connect(timeout)
    try:
        channel = connection.default_channel
        if connection.transport.driver_type == "redis" and channel.client.info("cluster").get("cluster_enabled"):
            return CLUSTER
    except errors(connection) as e:
        text = str(failure(e))
        return text if text == CLUSTER else None
    finally:
        connection.release()
    return None


# -- publisher confirms ------------------------------------------------------------------------------------


class Confirms:
    """RabbitMQ's confirms of messages that are published on a channel: on disk, or with most of a quorum.

    The messages of a batch are confirmed together, so that each does not cost a trip.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.channel = connection.channel()
        self.channel.confirm_select()
        self.channel.events["basic_ack"].add(self._ack)
        self.channel.events["basic_nack"].add(self._nack)
        self._published = 0
        self._open: set[int] = set()
        self._refused = 0

    def expect(self) -> None:
        """Call before each message is published."""
        self._published += 1
        self._open.add(self._published)

    def wait(self) -> None:
        """Wait until each message is confirmed.

        :raises OSError: when one is not, in the connection's time
        :raises KombuError: when the broker refused one
        """
        while self._open:
            self._connection.drain_events()
        if self._refused:
            raise KombuError(f"{self._refused} messages were refused")

    def _ack(self, tag: int, multiple: bool) -> None:
        self._open -= {number for number in self._open if number <= tag} if multiple else {tag}

    def _nack(self, tag: int, multiple: bool) -> None:
        before = len(self._open)
        self._ack(tag, multiple)
        self._refused += before - len(self._open)
