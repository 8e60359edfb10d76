"""The state for people: what ``ckan archiver status`` prints."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

import ckan.plugins.toolkit as tk

from ckanext.archiver import config
from ckanext.archiver.engine.reasons import size_text
from ckanext.archiver.monitoring import pauses
from ckanext.archiver.monitoring.state import RATE_MINUTES, Status

QUOTAS_SHOWN = 5


def duration(seconds: float | None) -> str:
    """In the two largest units that matter: "3 h 20 min"."""
    if seconds is None:
        return "unknown"
    left = round(seconds)
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number} {name}")
    return " ".join(parts[:2]) or "0 s"


def minute(moment: str) -> str:
    """ISO 8601 with its offset as "2026-11-26 21:06 UTC"."""
    return f"{datetime.fromisoformat(moment).astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 link", "2,000 links"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def known(number: int | None) -> str:
    """A number that may be unknown."""
    return "unknown" if number is None else f"{number:,}"


def take(workers: int) -> str:
    """What workers do while the broker is away."""
    return f"{counted(workers, 'worker')} {'takes' if workers == 1 else 'take'} requests from the table, slower"


def _size(number: int | None) -> str:
    return "unknown" if number is None else size_text(number)


def alarms(status: Status) -> Iterator[str]:
    """The conditions that an operator should act on."""
    if "archiver" not in tk.aslist(tk.config.get("ckan.plugins")):
        # The command has loaded it for itself.
        yield (
            "THE PLUGIN IS NOT ENABLED: edits request nothing, and pages do not show links. Add archiver to "
            "ckan.plugins, and restart CKAN."
        )
    for queue in status["queues_without_worker"]:
        waiting = status["queues"][queue]["waiting"]
        yield f"NO WORKER reads queue {queue} ({waiting:,} wait). Start one: ckan archiver worker --queue {queue}"
    if not status["broker"]["answers"]:
        polling = status["broker"]["workers_polling"]
        slower = f" Until it does, {take(polling)}." if polling else ""
        yield f"NO BROKER: {status['broker']['error'].rstrip('.')}.{slower}"
    held = status["held"]
    if held["outage_suspected"]:
        yield (
            f"VERDICTS ARE HELD: {held['hosts_failed']} of {held['hosts_seen']} hosts fail at once. "
            "Is our own network or name server down?"
        )
    on_disk = {reason: number for reason, number in held["reasons"].items() if reason.startswith("disk-")}
    if on_disk:
        counts = ", ".join(f"{reason} {number:,}" for reason, number in sorted(on_disk.items()))
        yield (
            f"A WORKER CANNOT WRITE COPIES: {counts}. Run on its machine, as its user: ckan archiver doctor. What "
            "waits is tried again by itself."
        )
    if status["disk"].get("error"):
        yield f"THE ARCHIVE CANNOT BE USED: {status['disk']['error']}. Nothing is downloaded."
    elif not status["disk"]["enough"]:
        free, least = _size(status["disk"]["free_bytes"]), size_text(config.min_free_bytes())
        yield (
            f"THE ARCHIVE'S DISK IS FULL: {free} free, and ckanext-archiver.min_free_bytes is {least}. Nothing is "
            "downloaded."
        )


def lines(status: Status) -> Iterator[str]:
    """The status as text."""
    yield from pauses.lines(status)
    for queue, numbers in status["queues"].items():
        yield (
            f"{queue:9} {numbers['waiting']:>10,} waiting {numbers['running']:>6,} running "
            f"{known(numbers['in_broker']):>6} in the broker ({numbers['broker_queue']})   "
            f"oldest waits {duration(numbers['oldest_wait_seconds'])}"
        )
    yield f"{'rate':9} {status['rate_per_second']:,} links/s in the last {RATE_MINUTES} minutes"
    yield f"{'round':9} {_round(status['round'])}"
    polling = status["broker"]["workers_polling"]
    yield (
        f"{'broker':9} {'answers' if status['broker']['answers'] else 'does not answer'}"
        f"{f'; {take(polling)}' if polling else ''}"
    )
    yield f"{'workers':9} {_names(status['workers'])}"
    paused = status["hosts_paused"]
    yield f"{'hosts':9} {paused['count']:,} get no requests for now: they do not respond, or asked us to wait"
    for host in paused["hosts"]:
        silent = host["why"] == "not-responding"
        why = f"not responding since {minute(host['since'])}" if silent else "asked us to wait"
        yield f"{'':9}   {host['host']}: {why}, until {minute(host['until'])}, {host['waiting']:,} waiting"
    held = status["held"]
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in sorted(held["reasons"].items()))
    yield f"{'held':9} {counted(held['count'], 'verdict')}{f' ({reasons})' if reasons else ''}"
    yield f"{'set aside':9} {counted(status['set_aside'], 'resource')} that killed their workers"
    if status["subscriber_failures"]:
        times = status["subscriber_failures"]
        yield f"{'plugins':9} failed {times:,} times on notices; the workers' logs say which"
    links = ", ".join(f"{verdict} {number:,}" for verdict, number in sorted(status["links"].items()))
    yield f"{'links':9} {links or 'none checked yet'}"
    database = status["database"]
    oldest = duration(database["oldest_transaction_seconds"])
    yield f"{'database':9} {database['dead_rows']:,} dead rows; the oldest transaction is open for {oldest}"
    disk = status["disk"]
    for name in disk["full_quotas"][:QUOTAS_SHOWN]:
        whose = f"The copies of organization {name} have" if name else "The copies have"
        yield f"{'quota':9} {whose} reached their quota; links without a copy are checked only"
    more = len(disk["full_quotas"]) - QUOTAS_SHOWN
    if more > 0:
        yield f"{'':9} and {more:,} more organizations"
    yield f"{'disk':9} {_size(disk['used_bytes'])} in {disk['copies']:,} copies, {_size(disk['free_bytes'])} free"


def _round(round_: Status) -> str:
    last = round_.get("last")
    finished = (
        f"last finished {minute(last['finished_at'])} ({counted(last['checks'], 'check')})"
        if last
        else "none finished yet"
    )
    if "started_at" not in round_:
        return f"none is going on; {finished}"
    eta = round_["eta_seconds"]
    left = "time left unknown" if eta is None else f"about {duration(eta)} left"
    return f"began {minute(round_['started_at'])}, {left}; {finished}"


def _names(workers: list[Status]) -> str:
    names = [f"{worker['hostname']} pid {worker['pid']} ({', '.join(worker['queues'])})" for worker in workers]
    return "; ".join(names) or "none"
