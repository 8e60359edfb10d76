"""Options of the broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckanext.archiver import ini_file, options
from ckanext.archiver.errors import ConfigError
from ckanext.archiver.options import PREFIX, option, scheme, text, without_password

BROKERS = ("redis", "rediss", "valkey", "valkeys", "unix", "redis+socket", "sentinel", "amqp", "amqps", "pyamqp")

_NUMBER, _SWITCH = ((int, float), "a number"), (bool, "true or false")
_WORD, _OBJECT = (str, "a text"), (dict, "an object")
BROKER_OPTIONS: Mapping[str, tuple[Any, str]] = {
    **dict.fromkeys(("socket_timeout", "socket_connect_timeout", "health_check_interval"), _NUMBER),
    **dict.fromkeys(("visibility_timeout", "max_connections", "min_other_sentinels"), _NUMBER),
    **dict.fromkeys(("socket_keepalive", "retry_on_timeout"), _SWITCH),
    **dict.fromkeys(("master_name", "client_name", "login_method"), _WORD),
    **dict.fromkeys(("sentinel_kwargs", "socket_keepalive_options", "ssl"), _OBJECT),
}
"""What ``broker_transport_options`` may have: those of kombu's options that cannot break the queue."""


@option
def broker_url() -> str:
    """The broker: our option, else the section [app:celery] of the ini file, else ``ckan.redis.url``."""
    name, url = _first()
    if scheme(url) not in BROKERS or not url.lower().startswith(f"{scheme(url)}://"):
        raise ConfigError(
            f"{name} must be a redis://, valkey://, unix:// or amqp:// URL, not {without_password(url)!r}."
        )
    return url


@option
def broker_transport_options() -> dict[str, Any]:
    """kombu's options for the broker, beside those in its URL. A bad value is not shown: it may hold a password."""
    return options.json_object("broker_transport_options", BROKER_OPTIONS, example='{"master_name": "mymaster"}')


def broker_option() -> str:
    """Where :func:`broker_url` is set."""
    return _first()[0]


def _first() -> tuple[str, str]:
    return next(((name, url) for name, url in _brokers() if url), ("ckan.redis.url", ""))


def site_id() -> str:
    """``ckan.site_id``: what this portal is called in servers that several share."""
    return text("ckan.site_id") or "default"


def _brokers() -> Iterator[tuple[str, str]]:
    """(where it is set, URL) of every possible setting, best first; the URL is empty where it is not set."""
    yield f"{PREFIX}broker_url", text("broker_url")
    yield from ini_file.celery_brokers()
    yield "ckan.redis.url", text("ckan.redis.url")
