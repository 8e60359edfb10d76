"""One typed reader per option: the only place that spells option names.

:func:`check` runs all of them, so that CKAN and the workers refuse a bad value at start-up, in one sentence that names
the option.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ckan.plugins.toolkit as tk

from ckanext.archiver import __version__, ini_file, options
from ckanext.archiver.engine import addresses, urls
from ckanext.archiver.engine.outcome import Limits, Policy
from ckanext.archiver.errors import ConfigError
from ckanext.archiver.options import (
    MAX_BYTES,
    MAX_DAYS,
    MAX_HOURS,
    MAX_SECONDS,
    PREFIX,
    boolean,
    choice,
    integer,
    option,
    scheme,
    seconds,
    text,
    without_password,
)
from ckanext.archiver.verdict import Rules

MODES = ("archive", "check")
RECHECKS = ("adaptive", "weekly", "off")

OVERRIDE_KINDS = ("dataset", "organization", "host", "format")

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

# -- the archive -------------------------------------------------------------------------------------------


@option
def archive_dir() -> str | None:
    """Absolute path of the directory of cached copies; None when none is configured."""
    path = text("archive_dir")
    if not path:
        storage = text("ckan.storage_path")
        path = os.path.join(storage, "archiver") if storage else ""
    if not path:
        return None
    if not os.path.isabs(path) or "\0" in path:
        raise ConfigError(f"{PREFIX}archive_dir must be an absolute path, not {path!r}.")
    return path


@option
def cache_url_root() -> str | None:
    """URL at which the web server publishes the archive, without a trailing slash; None when CKAN serves the copies."""
    root = text("cache_url_root").rstrip("/")
    if root and scheme(root) not in ("http", "https"):
        raise ConfigError(f"{PREFIX}cache_url_root must start with http:// or https://, not {root!r}.")
    return root or None


def web_archive_url() -> str:
    """The URL of a web archive's listing for a link, with ``{url}`` for the link; empty when none is configured."""
    template = text("web_archive_url")
    if template and (scheme(template) not in ("http", "https") or "{url}" not in template):
        raise ConfigError(
            f"{PREFIX}web_archive_url must start with http:// or https:// and contain {{url}}, not {template!r}."
        )
    return template


def send_files() -> str:
    """How cached copies are sent: empty for CKAN itself, "x-sendfile", or the path of an internal location of nginx."""
    way = text("send_files")
    if way and way != "x-sendfile" and not re.fullmatch(r"/[!-~]*", way):
        raise ConfigError(
            f'{PREFIX}send_files must be x-sendfile or the path of an internal location, such as "/archiver-copies/", '
            f"not {way!r}."
        )
    return way


def report_link() -> bool:
    """Whether every page's footer links to the Broken Links report."""
    return boolean("report_link")


@option
def min_free_bytes() -> int:
    """Free bytes on the archive's disk below which nothing is downloaded."""
    return integer("min_free_bytes", 0, MAX_BYTES)


@option
def mode() -> str:
    """Either "archive" or "check"."""
    return choice("mode", MODES)


@option
def mode_overrides() -> dict[tuple[str, str], str]:
    """``{(kind, lower-case name): mode}``; kinds are those of ``OVERRIDE_KINDS``."""
    overrides = {}
    for word in text("mode_overrides").split():
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
    """The mode for one resource, with overrides."""
    overrides = mode_overrides()
    names = {"dataset": dataset, "organization": organization, "host": host, "format": format}
    found = (overrides.get((kind, (names[kind] or "").lower())) for kind in OVERRIDE_KINDS)
    return next(filter(None, found), None) or mode()


# -- fetching ----------------------------------------------------------------------------------------------


def user_agent() -> str:
    """The ``User-Agent`` header; one line of printable ASCII."""
    agent = text("user_agent_string")
    if not agent:
        return _own_name()
    if not (agent.isascii() and agent.isprintable()):
        raise ConfigError(f"{PREFIX}user_agent_string must be one line of plain ASCII text, not {agent!r}.")
    return agent


def _own_name() -> str:
    """``ckanext-archiver/<version> (+<site_url>; <contact>)``: firewalls weigh a "Mozilla" against all but browsers."""
    site = urls.normalise(text("ckan.site_url"))
    words = str(tk.config.get("email_to") or "").replace(",", " ").split()
    contact = [word for word in words[:1] if word.isascii() and word.isprintable()]
    about = ([] if isinstance(site, urls.BadUrl) else ["+" + site.url.rstrip("/")]) + contact
    return f"ckanext-archiver/{__version__}" + (f" ({'; '.join(about)})" if about else "")


@option
def limits() -> Limits:
    """How much one fetch may cost."""
    return Limits(
        max_content_length=integer("max_content_length", 1, MAX_BYTES),
        max_ratio=integer("max_ratio"),
        max_header_bytes=integer("max_header_bytes", 1024),
        max_headers=integer("max_headers"),
        max_redirects=integer("max_redirects", 0),
        connect_timeout=seconds("connect_timeout", 1),
        first_byte_timeout=seconds("first_byte_timeout", 1),
        read_timeout=seconds("read_timeout", 1),
        floor_rate=integer("floor_rate", 0, zero_means="no floor"),
        floor_seconds=seconds("floor_seconds", 1),
        total_timeout=seconds("total_timeout", 1),
        min_free_bytes=min_free_bytes(),
    )


@option
def policy() -> Policy:
    """Which addresses fetches may connect to, and how they identify themselves."""
    allowed = tuple(text("allowed_addresses").replace(",", " ").split())
    try:
        addresses.Guard(allowed)
    except ValueError as e:
        raise ConfigError(f"{PREFIX}allowed_addresses: {e}") from e
    return Policy(
        user_agent=user_agent(),
        allowed_addresses=allowed,
        verify_https=boolean("verify_https"),
        ca_bundle=_ca_bundle(),
        allow_ftp=boolean("allow_ftp"),
        proxy=proxy(),
    )


def _ca_bundle() -> str | None:
    path = text("ca_bundle")
    if not path:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError) as e:  # ValueError: a NUL in the path
        raise ConfigError(f"{PREFIX}ca_bundle must be a file of PEM certificates, not {path!r}: {e}.") from e
    return path


def proxy() -> str | None:
    """``ckan.download_proxy``: the operator's own proxy, which then decides which addresses are allowed."""
    url = text("ckan.download_proxy")
    if url and scheme(url) != "http":
        raise ConfigError(f"ckan.download_proxy must start with http://, not {without_password(url)!r}.")
    return url or None


def site_url() -> str:
    """The portal's public URL, with ``ckan.root_path`` but without a language, without a trailing slash."""
    root = text("ckan.root_path").replace("/{{LANG}}", "").rstrip("/")
    return text("ckan.site_url").rstrip("/") + root


@option
def site_url_internally() -> str:
    """The URL at which workers reach CKAN for uploads that a plugin stores, without a trailing slash."""
    url = text("ckan.site_url_internally").rstrip("/")
    if url and scheme(url) not in ("http", "https"):
        raise ConfigError(f"ckan.site_url_internally must start with http:// or https://, not {url!r}.")
    return url or text("ckan.site_url").rstrip("/")


# -- verdicts ----------------------------------------------------------------------------------------------


@option
def retry_delays() -> tuple[int, ...]:
    """Seconds before each retry within one run."""
    words = text("retry_delays").split()
    if not all(re.fullmatch("[0-9]{1,6}", word) for word in words):
        raise ConfigError(
            f"{PREFIX}retry_delays must be whole numbers of at most six digits, separated by spaces, "
            f"not {' '.join(words)!r}."
        )
    return tuple(int(word) for word in words)


@option
def rules() -> Rules:
    """When a failing link is called broken."""
    return Rules(
        runs=integer("confirm_runs"),
        hours=seconds("confirm_hours", 0, MAX_HOURS),
        runs_dns=integer("confirm_runs_dns"),
        hours_dns=seconds("confirm_hours_dns", 0, MAX_HOURS),
        gone_hours=seconds("gone_hours", 0, MAX_HOURS),
    )


@option
def gone_recheck_hours() -> float:
    """Hours after its first 404 at which a link that worked before is checked again."""
    return seconds("gone_recheck_hours", 0, MAX_HOURS)


@option
def doubt() -> tuple[int, float]:
    """(checks, hours): when a file of another kind than promised replaces the copy."""
    return integer("doubt_runs"), seconds("doubt_hours", 0, MAX_HOURS)


@option
def outage() -> tuple[int, int, int]:
    """(hosts, percent, minutes): when failures count as an outage of our own."""
    return (
        integer("outage_hosts"),
        integer("outage_percent", 1, 100),
        integer("outage_minutes", 1, MAX_HOURS),
    )


@option
def history_days() -> int:
    """Days for which the history of checks is kept."""
    return integer("history_days", 1, MAX_DAYS)


# -- requests and queues -----------------------------------------------------------------------------------


@option
def archive_on_change() -> bool:
    """Whether an edit puts a request."""
    return boolean("archive_on_change")


@option
def recheck() -> str:
    """Kind of the regular round: "adaptive", "weekly" or "off"."""
    return choice("recheck", RECHECKS)


@option
def dispatch_window() -> int:
    """Maximum number of bulk messages in the broker."""
    return integer("dispatch_window")


@option
def host_interval() -> float:
    """Seconds between two requests to one host."""
    return seconds("host_interval", zero_means="none")


@option
def host_concurrency() -> int:
    """Requests to one host at the same time; 0 for no limit."""
    return integer("host_concurrency", 0, zero_means="no limit")


@option
def address_concurrency() -> int:
    """Requests to one IP address at the same time, over all its host names; 0 for no limit."""
    return integer("address_concurrency", 0, zero_means="no limit")


@option
def slow_transfers() -> int:
    """Transfers of edits that a worker may have under way beside its threads; 0 for none."""
    return integer("slow_transfers", 0, 10_000, zero_means="none")


@option
def lease_seconds() -> int:
    """Seconds for which a worker owns a request."""
    lease = integer("lease_seconds", 1, MAX_SECONDS)
    total = seconds("total_timeout", 1)
    if lease <= total:
        raise ConfigError(f"{PREFIX}lease_seconds must be more than {PREFIX}total_timeout ({total:g}), not {lease}.")
    return lease


@option
def breaker_failures() -> int:
    """Network failures in a row that open a host's breaker."""
    return integer("breaker_failures")


@option
def worker_dead_seconds() -> int:
    """Seconds without a heartbeat after which a worker counts as dead."""
    return integer("worker_dead_seconds", 2, MAX_SECONDS)


@option
def hold_seconds() -> int:
    """Seconds that a request waits after a fault of our own."""
    return integer("hold_seconds", 1, MAX_SECONDS)


@option
def poison_deaths() -> int:
    """Worker deaths after which a request is set aside."""
    return integer("poison_deaths")


@option
def broker_url() -> str:
    """The broker: our option, else the section [app:celery] of the ini file, else ``ckan.redis.url``."""
    name, url = next(((name, url) for name, url in _brokers() if url), ("ckan.redis.url", ""))
    if scheme(url) not in BROKERS:
        raise ConfigError(
            f"{name} must be a redis://, valkey://, unix:// or amqp:// URL, not {without_password(url)!r}."
        )
    return url


@option
def broker_transport_options() -> dict[str, Any]:
    """kombu's options for the broker, beside those in its URL. A bad value is not shown: it may hold a password."""
    return options.json_object("broker_transport_options", BROKER_OPTIONS, example='{"master_name": "mymaster"}')


def site_id() -> str:
    """``ckan.site_id``: what this portal is called in servers that several share."""
    return text("ckan.site_id") or "default"


def _brokers() -> Iterator[tuple[str, str]]:
    """(where it is set, URL) of every possible setting, best first; the URL is empty where it is not set."""
    yield f"{PREFIX}broker_url", text("broker_url")
    yield from ini_file.celery_brokers()
    yield "ckan.redis.url", text("ckan.redis.url")


CHECKS: tuple[Callable[[], Any], ...] = (
    archive_dir,
    cache_url_root,
    site_url_internally,
    web_archive_url,
    report_link,
    send_files,
    min_free_bytes,
    mode,
    mode_overrides,
    limits,
    policy,
    retry_delays,
    rules,
    gone_recheck_hours,
    doubt,
    outage,
    history_days,
    archive_on_change,
    recheck,
    dispatch_window,
    host_interval,
    host_concurrency,
    address_concurrency,
    slow_transfers,
    lease_seconds,
    worker_dead_seconds,
    hold_seconds,
    breaker_failures,
    poison_deaths,
    broker_url,
    broker_transport_options,
)


def remember() -> None:
    """Read every option now and never again: for a worker, which uses most of them for each link.

    :raises ConfigError: for the first bad value
    """
    options.remember(CHECKS)


def check() -> None:
    """Read every option once.

    :raises ConfigError: for the first bad value; the text names the option
    """
    for reader in CHECKS:
        reader()
