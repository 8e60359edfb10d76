"""One typed reader per option: the only place that spells option names.

``check()`` runs all of them, so that a bad value is told at start-up in one sentence that names the option.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from configparser import ConfigParser, Error, InterpolationError
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlsplit

import ckan.plugins.toolkit as tk

from ckanext.archiver.engine import addresses, urls
from ckanext.archiver.engine.outcome import Limits, Policy
from ckanext.archiver.errors import ConfigError
from ckanext.archiver.verdict import Rules

PREFIX = "ckanext-archiver."

MODES = ("archive", "check")
RECHECKS = ("adaptive", "weekly", "off")
T = TypeVar("T")

OVERRIDE_KINDS = ("dataset", "organization", "host", "format")

BROKERS = ("redis", "rediss", "valkey", "valkeys", "unix", "redis+socket", "sentinel", "amqp", "amqps", "pyamqp")

# Beyond these a number is a typing error, and nothing that it is given to could hold it: neither a socket's timeout,
# nor a time span of the database, nor a column.
MAX_SECONDS = 1_000_000
MAX_HOURS = MAX_DAYS = 100_000
MAX_COUNT = 1_000_000_000
MAX_BYTES = 10**18

_remembered: dict[str, Any] = {}


def _option(reader: Callable[[], T]) -> Callable[[], T]:
    """A reader whose value a worker remembers (see :func:`remember`)."""

    @functools.wraps(reader)
    def read() -> T:
        if reader.__name__ in _remembered:
            return cast("T", _remembered[reader.__name__])
        return reader()

    return read


def remember() -> None:
    """Read every option now and never again: for a worker, which uses most of them for each link.

    :raises ConfigError: for the first bad value
    """
    _remembered.update({reader.__name__: reader() for reader in CHECKS})


def _raw(name: str) -> Any:
    return tk.config.get(name if name.startswith("ckan.") else PREFIX + name)


def _text(name: str) -> str:
    return str(_raw(name) or "").strip()


def _number(name: str, kind: type, minimum: float, maximum: float, zero_means: str = "") -> Any:
    value = _raw(name)
    try:
        number = kind(str(value).strip())
    except (TypeError, ValueError):
        number = None
    if number is None or not math.isfinite(number) or not minimum <= number <= maximum:
        what = "a whole number" if kind is int else "a number"
        extra = f" (0 for {zero_means})" if zero_means else ""
        raise ConfigError(f"{PREFIX}{name} must be {what} from {minimum} to {maximum}{extra}, not {value!r}.")
    return number


def _integer(name: str, minimum: int = 1, maximum: int = MAX_COUNT, zero_means: str = "") -> int:
    return int(_number(name, int, minimum, maximum, zero_means))


def _seconds(name: str, minimum: float = 0, maximum: float = MAX_SECONDS, zero_means: str = "") -> float:
    return float(_number(name, float, minimum, maximum, zero_means))


def _boolean(name: str) -> bool:
    # These are declared without CKAN's type "bool", which takes every word that it does not know for false.
    value = _raw(name)
    try:
        return tk.asbool(value)
    except ValueError as e:
        raise ConfigError(f"{PREFIX}{name} must be true or false, not {value!r}.") from e


def _choice(name: str, choices: tuple[str, ...]) -> str:
    value = _text(name)
    if value not in choices:
        raise ConfigError(f"{PREFIX}{name} must be one of {', '.join(choices)}, not {value!r}.")
    return value


def _scheme(url: str) -> str:
    """The scheme of a URL; empty for one that cannot be read, or that needs a host and has none."""
    try:
        # Of several brokers in a row, the first.
        parts = urlsplit(url.partition(";")[0])
        _ = parts.port
    except ValueError:
        return ""
    if parts.scheme in ("http", "https") and not parts.hostname:
        return ""
    return parts.scheme


def _without_password(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//***@", url)


# -- the archive -------------------------------------------------------------------------------------------


@_option
def archive_dir() -> str | None:
    """Absolute path of the directory of cached copies; None when no place was configured."""
    path = _text("archive_dir")
    if not path:
        storage = _text("ckan.storage_path")
        path = os.path.join(storage, "archiver") if storage else ""
    if not path:
        return None
    if not os.path.isabs(path):
        raise ConfigError(f"{PREFIX}archive_dir must be an absolute path, not {path!r}.")
    return path


@_option
def cache_url_root() -> str | None:
    """URL under which the web server publishes the archive, without the last slash; None when CKAN serves it."""
    root = _text("cache_url_root").rstrip("/")
    if root and _scheme(root) not in ("http", "https"):
        raise ConfigError(f"{PREFIX}cache_url_root must start with http:// or https://, not {root!r}.")
    return root or None


@_option
def min_free_bytes() -> int:
    """Free bytes on the archive's disk below which nothing is downloaded."""
    return _integer("min_free_bytes", 0, MAX_BYTES)


@_option
def mode() -> str:
    """Either "archive" or "check"."""
    return _choice("mode", MODES)


@_option
def mode_overrides() -> dict[tuple[str, str], str]:
    """``{(kind, lower-case name): mode}``; kinds are those of ``OVERRIDE_KINDS``."""
    overrides = {}
    for word in _text("mode_overrides").split():
        what, equals, value = word.rpartition("=")
        kind, colon, name = what.partition(":")
        if not (equals and colon and name) or kind not in OVERRIDE_KINDS or value not in MODES:
            raise ConfigError(
                f"{PREFIX}mode_overrides must be words like format:geotiff=check "
                f"(dataset, organization, host or format; archive or check), not {word!r}."
            )
        overrides[kind, name.lower()] = value
    return overrides


def mode_for(*, dataset: str, organization: str, host: str, format: str) -> str:
    """The mode for one resource, overrides taken into account."""
    overrides = mode_overrides()
    names = {"dataset": dataset, "organization": organization, "host": host, "format": format}
    for kind in OVERRIDE_KINDS:
        found = overrides.get((kind, (names[kind] or "").lower()))
        if found:
            return found
    return mode()


# -- fetching ----------------------------------------------------------------------------------------------


def user_agent() -> str:
    """How we introduce ourselves to servers; one line of visible ASCII."""
    text = _text("user_agent_string")
    if not text:
        return f"Mozilla/5.0 (compatible; open data archive of {_site_in_ascii()})"
    if not (text.isascii() and text.isprintable()):
        raise ConfigError(f"{PREFIX}user_agent_string must be one line of plain ASCII text, not {text!r}.")
    return text


def _site_in_ascii() -> str:
    site = urls.normalise(_text("ckan.site_url"))
    return "a CKAN data portal" if isinstance(site, urls.BadUrl) else site.url.rstrip("/")


@_option
def limits() -> Limits:
    """How much one fetch may cost."""
    return Limits(
        max_content_length=_integer("max_content_length", 1, MAX_BYTES),
        max_ratio=_integer("max_ratio"),
        max_header_bytes=_integer("max_header_bytes", 1024),
        max_headers=_integer("max_headers"),
        max_redirects=_integer("max_redirects", 0),
        connect_timeout=_seconds("connect_timeout", 1),
        first_byte_timeout=_seconds("first_byte_timeout", 1),
        read_timeout=_seconds("read_timeout", 1),
        floor_rate=_integer("floor_rate", 0, zero_means="no floor"),
        floor_seconds=_seconds("floor_seconds", 1),
        total_timeout=_seconds("total_timeout", 1),
        min_free_bytes=min_free_bytes(),
    )


@_option
def policy() -> Policy:
    """Where fetches may go and how they introduce themselves."""
    allowed = tuple(_text("allowed_addresses").replace(",", " ").split())
    try:
        addresses.Guard(allowed)
    except ValueError as e:
        raise ConfigError(f"{PREFIX}allowed_addresses: {e}") from e
    return Policy(
        user_agent=user_agent(),
        allowed_addresses=allowed,
        verify_https=_boolean("verify_https"),
        ca_bundle=_ca_bundle(),
        allow_ftp=_boolean("allow_ftp"),
        proxy=proxy(),
    )


def _ca_bundle() -> str | None:
    path = _text("ca_bundle")
    if not path:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as e:
        raise ConfigError(f"{PREFIX}ca_bundle must be a file of PEM certificates, not {path!r}: {e}.") from e
    return path


def proxy() -> str | None:
    """``ckan.download_proxy``: the operator's own proxy, which then decides where one may go."""
    url = _text("ckan.download_proxy")
    if url and _scheme(url) != "http":
        raise ConfigError(f"ckan.download_proxy must start with http://, not {_without_password(url)!r}.")
    return url or None


def site_url() -> str:
    """The portal's public URL, with ``ckan.root_path`` where it has no language, without the last slash."""
    root = _text("ckan.root_path").replace("/{{LANG}}", "").rstrip("/")
    return _text("ckan.site_url").rstrip("/") + root


@_option
def site_url_internally() -> str:
    """The URL under which workers reach CKAN for uploads that a plugin keeps, without the last slash."""
    url = _text("ckan.site_url_internally").rstrip("/")
    if url and _scheme(url) not in ("http", "https"):
        raise ConfigError(f"ckan.site_url_internally must start with http:// or https://, not {url!r}.")
    return url or _text("ckan.site_url").rstrip("/")


# -- verdicts ----------------------------------------------------------------------------------------------


@_option
def retry_delays() -> tuple[int, ...]:
    """Seconds before each retry within one run."""
    words = _text("retry_delays").split()
    if not all(re.fullmatch("[0-9]{1,6}", word) for word in words):
        raise ConfigError(
            f"{PREFIX}retry_delays must be whole numbers of at most six digits, separated by spaces, "
            f"not {' '.join(words)!r}."
        )
    return tuple(int(word) for word in words)


@_option
def rules() -> Rules:
    """When a failing link is called broken."""
    return Rules(
        runs=_integer("confirm_runs"),
        hours=_seconds("confirm_hours", 0, MAX_HOURS),
        runs_dns=_integer("confirm_runs_dns"),
        hours_dns=_seconds("confirm_hours_dns", 0, MAX_HOURS),
    )


@_option
def outage() -> tuple[int, int, int]:
    """(hosts, percent, minutes) of the own-fault guard."""
    return (
        _integer("outage_hosts"),
        _integer("outage_percent", 1, 100),
        _integer("outage_minutes", 1, MAX_HOURS),
    )


@_option
def history_days() -> int:
    """Days for which single checks are remembered."""
    return _integer("history_days", 1, MAX_DAYS)


# -- requests and queues -----------------------------------------------------------------------------------


@_option
def archive_on_change() -> bool:
    """Whether edits put requests."""
    return _boolean("archive_on_change")


@_option
def recheck() -> str:
    """Kind of the regular round: "adaptive", "weekly" or "off"."""
    return _choice("recheck", RECHECKS)


@_option
def dispatch_window() -> int:
    """Largest number of bulk messages in the broker."""
    return _integer("dispatch_window")


@_option
def host_interval() -> float:
    """Seconds between two requests to one host."""
    return _seconds("host_interval", zero_means="none")


@_option
def host_concurrency() -> int:
    """Requests to one host at a time; 0 for no limit."""
    return _integer("host_concurrency", 0, zero_means="no limit")


@_option
def slow_transfers() -> int:
    """Transfers of edits that a worker may have under way beside its threads; 0 for none."""
    return _integer("slow_transfers", 0, 10_000, zero_means="none")


@_option
def lease_seconds() -> int:
    """Seconds for which a worker owns a request."""
    seconds = _integer("lease_seconds", 1, MAX_SECONDS)
    total = _seconds("total_timeout", 1)
    if seconds <= total:
        raise ConfigError(f"{PREFIX}lease_seconds must be more than {PREFIX}total_timeout ({total:g}), not {seconds}.")
    return seconds


@_option
def breaker_failures() -> int:
    """Network failures in a row that open a host's breaker."""
    return _integer("breaker_failures")


@_option
def worker_dead_seconds() -> int:
    """Seconds of silence after which a worker is taken for dead."""
    return _integer("worker_dead_seconds", 2, MAX_SECONDS)


@_option
def hold_seconds() -> int:
    """Seconds that a request waits after a fault of our own."""
    return _integer("hold_seconds", 1, MAX_SECONDS)


@_option
def poison_deaths() -> int:
    """Worker deaths after which a request is set aside."""
    return _integer("poison_deaths")


@_option
def broker_url() -> str:
    """The broker: our option, else the section [app:celery] of the ini file, else ``ckan.redis.url``."""
    name, url = next(((name, url) for name, url in _brokers() if url), ("ckan.redis.url", ""))
    if _scheme(url) not in BROKERS:
        raise ConfigError(
            f"{name} must be a redis://, valkey://, unix:// or amqp:// URL, not {_without_password(url)!r}."
        )
    return url


@_option
def broker_transport_options() -> dict[str, Any]:
    """kombu's transport options beside those in the broker's URL."""
    text = _text("broker_transport_options")
    try:
        options = json.loads(text) if text else {}
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise ConfigError(
            f'{PREFIX}broker_transport_options must be a JSON object like {{"master_name": "mymaster"}}, not {text!r}.'
        )
    return options


def site_id() -> str:
    """``ckan.site_id``: what this portal is called in servers that several share."""
    return _text("ckan.site_id") or "default"


def _brokers() -> Iterator[tuple[str, str]]:
    """(where it is told, URL) of every broker that is told, best first."""
    yield f"{PREFIX}broker_url", _text("broker_url")
    section = celery_section()
    for name in ("broker_url", "celery_broker_url"):
        yield f"{name.upper()} in [app:celery]", section.get(name, "").strip()
    yield "BROKER_HOST in [app:celery]", _broker_of_parts(section)
    yield "ckan.redis.url", _text("ckan.redis.url")


def _broker_of_parts(section: Mapping[str, str]) -> str:
    """``BROKER_HOST`` held a whole URL (``redis://localhost/1``), or the name of a host beside other options."""
    host = section.get("broker_host", "").strip()
    if not host or "://" in host:
        return host
    scheme = section.get("broker_transport") or section.get("broker_backend") or "redis"
    user, password = (quote(section.get(f"broker_{name}", ""), safe="") for name in ("user", "password"))
    login = f"{user}:{password}@" if user or password else ""
    port = f":{section['broker_port']}" if section.get("broker_port") else ""
    return f"{scheme}://{login}{host}{port}/{section.get('broker_vhost', '')}"


def celery_section() -> Mapping[str, str]:
    """The options of [app:celery] in the ini file, lower-case; empty where there is none.

    Also from the file that this one is built on (``use = config:other.ini``), as CKAN reads its own options.
    """
    found: dict[str, str] = {}
    path = tk.config.get("__file__")
    while path:
        parser = ConfigParser({"here": os.path.dirname(path)}, strict=False)
        try:
            parser.read(path, encoding="utf-8")
            found = {**_items(parser, "app:celery"), **found}
            scheme, _, other = _items(parser, "app:main").get("use", "").partition(":")
        except Error as e:
            raise ConfigError(f"[app:celery] of {path} cannot be read: {e}") from e
        # A circle of files never comes so far: CKAN refuses it.
        path = os.path.join(os.path.dirname(path), other) if scheme == "config" else None
    return found


def _items(parser: ConfigParser, section: str) -> dict[str, str]:
    found = {}
    for name in parser[section] if parser.has_section(section) else ():
        try:
            found[name] = parser.get(section, name)
        except InterpolationError:
            # A "%" in a password that nobody doubled.
            found[name] = parser.get(section, name, raw=True)
    return found


CHECKS: tuple[Callable[[], Any], ...] = (
    archive_dir,
    cache_url_root,
    site_url_internally,
    min_free_bytes,
    mode,
    mode_overrides,
    limits,
    policy,
    retry_delays,
    rules,
    outage,
    history_days,
    archive_on_change,
    recheck,
    dispatch_window,
    host_interval,
    host_concurrency,
    slow_transfers,
    lease_seconds,
    worker_dead_seconds,
    hold_seconds,
    breaker_failures,
    poison_deaths,
    broker_url,
    broker_transport_options,
)


def check() -> None:
    """Read every option once.

    :raises ConfigError: for the first bad value; the text names the option
    """
    for reader in CHECKS:
        reader()
