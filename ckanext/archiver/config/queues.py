"""Options of requests, hosts and workers."""

from __future__ import annotations

from ckanext.archiver.errors import ConfigError
from ckanext.archiver.options import MAX_SECONDS, PREFIX, boolean, choice, integer, option, seconds

RECHECKS = ("adaptive", "weekly", "off")


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
