"""``ckan archiver hosts``: what requests wait for at each host, and an end to that."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import click

from ckanext.archiver import config
from ckanext.archiver.cli.host_names import spellings
from ckanext.archiver.queue import host_states, pauses
from ckanext.archiver.queue.host_states import HostState
from ckanext.archiver.queue.sql import transaction


@click.command()
@click.argument("host", required=False)
@click.option("--resume", is_flag=True, help="Let requests go to HOST again: forget its failures, its wait, its pause.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Print at most N hosts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def hosts(host: str | None, resume: bool, limit: int, as_json: bool) -> None:
    """Show what is known of HOST, or of the hosts that most requests wait for.

    A host that does not answer is left alone (state down) for 15 minutes, then for longer and longer; one that answers
    "try later" (state asked) as long as it asks. When you know better, use --resume.
    """
    if host is None:
        if resume:
            raise click.UsageError("Name the host to resume: ckan archiver hosts HOST --resume")
        _print_all(host_states.top(limit), as_json)
        return
    names = spellings(host, "HOST")
    if resume:
        with transaction():
            changed = host_states.resume(names)
        if not as_json:
            click.echo(f"Requests go to {names[0]} again." if changed else f"Nothing is known of {names[0]} yet.")
    states = host_states.named(names)
    if as_json:
        failures = host_states.last_failures(names)
        click.echo(json.dumps({"hosts": [_plain(state) for state in states], "last_failures": _plain_rows(failures)}))
    elif not states and not resume:
        click.echo(f"Nothing is known of {names[0]}: it was not asked yet, and nothing waits for it.")
    for line in () if as_json else (line for state in states for line in _describe(state)):
        click.echo(line)


def _print_all(states: list[HostState], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"hosts": [_plain(state) for state in states], "pace": _pace()}))
        return
    if not states:
        click.echo("Nothing waits for any host, and none is failing.")
        return
    click.echo(f"Pace: {_pace_text()}.\n")
    width = min(max(len(state.host) for state in states), 48)
    click.echo(f"{'HOST':{width}}  {'WAITING':>9}  {'IN FLIGHT':>9}  STATE")
    for state in states:
        click.echo(f"{state.host:{width}}  {state.waiting:>9,}  {state.in_flight:>9,}  {_state_text(state)}")


def _pace() -> dict[str, float | None]:
    return {
        "interval_seconds": config.host_interval(),
        "at_a_time": config.host_concurrency() or None,
        "at_a_time_by_address": config.address_concurrency() or None,
    }


def _pace_text() -> str:
    number, seconds = config.host_concurrency(), config.host_interval()
    at_a_time = f"{number} request{'' if number == 1 else 's'} at a time" if number else "any number of requests"
    return f"{at_a_time} to a host, {seconds:g} s apart" if seconds else f"{at_a_time} to a host, without a pause"


def _describe(state: HostState) -> Iterator[str]:
    yield state.host
    values: dict[str, Any] = {
        "State": _state_text(state),
        "Waiting": f"{state.waiting:,}",
        "In flight": f"{state.in_flight:,}",
        "Failures": f"{state.failures:,} in a row" if state.failures else "",
        "Address": state.address,
        "Pace": _pace_text(),
        "Last asked": minute(state.last_checked_at),
        "Next request": _next(state),
    }
    yield from (f"  {label:13} {value}" for label, value in values.items() if value)
    for pause in (pause for pause in pauses.current() if pause.host == state.host):
        yield f"  {'Paused':13} by {pause.paused_by}{f': {pause.reason}' if pause.reason else ''}"
        yield f"  {'':13} To end it: ckan archiver resume{pause.options}"
    failures = host_states.last_failures([state.host])
    if failures:
        yield "  Last failures"
    for row in failures:
        yield f"    {minute(row['checked_at'])}  {row['resource_id']}  {row['verdict']}: {row['reason'] or ''}"


def _next(state: HostState) -> str:
    now = datetime.now(timezone.utc)
    next_at = max(filter(None, (now, state.next_at, state.due_at)))
    if state.state in ("paused", "down", "asked") or not (state.waiting or state.in_flight):
        return ""
    return "now" if next_at == now else f"{next_at.astimezone(timezone.utc):%H:%M:%S} UTC"


def _state_text(state: HostState) -> str:
    since = f" since {minute(state.since)}" if state.since else ""
    until = f" until {minute(state.until)}" if state.until else ""
    return {
        "paused": f"paused by an operator{since}",
        "down": f"down{since}; left alone{until}",
        "asked": f"asked us to wait{until}",
        "probe": f"down{since}; the next request probes it",
        "failing": f"failing{since}",
        "ready": "ready",
    }[state.state]


def minute(moment: datetime | None) -> str:
    """A time in UTC, without seconds. A naive one is in UTC already."""
    if moment is None:
        return ""
    utc = moment.astimezone(timezone.utc) if moment.tzinfo else moment
    return f"{utc:%Y-%m-%d %H:%M} UTC"


def _plain(state: HostState) -> dict[str, Any]:
    return _plain_rows([dataclasses.asdict(state)])[0]


def _plain_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()} for row in rows
    ]


commands: list[click.Command] = [hosts]
