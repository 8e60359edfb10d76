"""One typed reader per option: the only place that spells option names.

:func:`check` runs all of them, so that CKAN and the workers refuse a bad value at start-up, in one sentence that names
the option.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ckanext.archiver import options
from ckanext.archiver.config.archive import (
    MODES,
    OVERRIDE_KINDS,
    archive_dir,
    cache_url_root,
    min_free_bytes,
    mode,
    mode_for,
    mode_overrides,
    orphan_grace_days,
    quota_bytes,
    quota_bytes_per_organization,
    report_link,
    send_files,
    web_archive_url,
)
from ckanext.archiver.config.broker import (
    BROKER_OPTIONS,
    BROKERS,
    broker_option,
    broker_transport_options,
    broker_url,
    site_id,
)
from ckanext.archiver.config.fetching import (
    limits,
    policy,
    proxy,
    site_url,
    site_url_internally,
    user_agent,
)
from ckanext.archiver.config.queues import (
    RECHECKS,
    address_concurrency,
    archive_on_change,
    breaker_failures,
    dispatch_window,
    hold_seconds,
    host_concurrency,
    host_interval,
    lease_seconds,
    poison_deaths,
    recheck,
    slow_transfers,
    worker_dead_seconds,
)
from ckanext.archiver.config.verdicts import (
    doubt,
    gone_recheck_hours,
    history_days,
    outage,
    retry_delays,
    rules,
)
from ckanext.archiver.config.watching import LOG_FORMATS, MIN_TOKEN, log_format, metrics_server, metrics_token

__all__ = [
    "metrics_token",
    "metrics_server",
    "log_format",
    "MIN_TOKEN",
    "LOG_FORMATS",
    "BROKERS",
    "BROKER_OPTIONS",
    "CHECKS",
    "MODES",
    "OVERRIDE_KINDS",
    "RECHECKS",
    "address_concurrency",
    "archive_dir",
    "archive_on_change",
    "breaker_failures",
    "broker_option",
    "broker_transport_options",
    "broker_url",
    "cache_url_root",
    "check",
    "dispatch_window",
    "doubt",
    "gone_recheck_hours",
    "history_days",
    "hold_seconds",
    "host_concurrency",
    "host_interval",
    "lease_seconds",
    "limits",
    "min_free_bytes",
    "mode",
    "mode_for",
    "mode_overrides",
    "orphan_grace_days",
    "outage",
    "poison_deaths",
    "policy",
    "proxy",
    "quota_bytes",
    "quota_bytes_per_organization",
    "recheck",
    "remember",
    "report_link",
    "retry_delays",
    "rules",
    "send_files",
    "site_id",
    "site_url",
    "site_url_internally",
    "slow_transfers",
    "user_agent",
    "web_archive_url",
    "worker_dead_seconds",
]

CHECKS: tuple[Callable[[], Any], ...] = (
    archive_dir,
    cache_url_root,
    site_url_internally,
    web_archive_url,
    report_link,
    send_files,
    min_free_bytes,
    orphan_grace_days,
    quota_bytes,
    quota_bytes_per_organization,
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
    metrics_server,
    metrics_token,
    log_format,
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
