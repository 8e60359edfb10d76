"""Options of verdicts and of the history."""

from __future__ import annotations

import re

from ckanext.archiver.errors import ConfigError
from ckanext.archiver.options import MAX_DAYS, MAX_HOURS, PREFIX, integer, option, seconds, text
from ckanext.archiver.verdict import Rules


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
