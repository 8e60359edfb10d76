"""The commands that work with the queues: ``ckan archiver update`` and ``ckan archiver status``."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click
from ckan import model

from ckanext.archiver import monitoring
from ckanext.archiver.cli import watch as watch_page
from ckanext.archiver.cli.host_names import spellings
from ckanext.archiver.errors import BrokerError
from ckanext.archiver.queue import dispatch, pauses, rounds, sql, waits
from ckanext.archiver.queue.types import Queue, Reason

NAMES = [queue.value for queue in Queue]

QUEUE = click.option("-q", "--queue", type=click.Choice(NAMES), help="The queue: priority is served first.")

Params = dict[str, Any]

_STATES = {
    "stale": "(a.next_check_at <= timezone('utc', now()) OR a.next_check_at IS NULL)",
    "broken": "(a.is_broken OR (a.is_broken IS NULL AND a.verdict = 'failing'))",
    "never": "coalesce(a.checked_at, a.updated) IS NULL",
}


@click.command()
@click.argument("names", nargs=-1)
@QUEUE
@click.option("--stale", is_flag=True, help="Only links whose regular check is due.")
@click.option("--broken", is_flag=True, help="Only links that are broken or failing.")
@click.option("--never", is_flag=True, help="Only links that were never checked.")
@click.option("--host", metavar="HOST", help="Only links on this host. A URL on the host is accepted too.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]),
    help="Only resources created or changed since this time (UTC).",
)
@click.option("--limit", type=click.IntRange(1, 10**9), metavar="N", help="At most N links: those checked longest ago.")
@click.option("--dry-run", is_flag=True, help="Print how many links are selected, and request nothing.")
@click.option("--confirm-now", is_flag=True, help="Show a link as failing after its first failed check.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.option("--wait", is_flag=True, help="Wait until the archivals are done, and show progress.")
def update(
    names: tuple[str, ...],
    queue: str | None,
    stale: bool,
    broken: bool,
    never: bool,
    host: str | None,
    since: datetime | None,
    limit: int | None,
    dry_run: bool,
    confirm_now: bool,
    as_json: bool,
    wait: bool,
) -> None:
    """Request archivals.

    NAMES are names or ids of datasets, resources, organizations and groups, in any mixture; without names, all
    resources are requested. The queue is priority when names are given, else bulk.

    --stale, --broken and --never add up: a link is selected when it is any of those given. The other options narrow
    the selection. A resource that is already requested is not requested again.
    """
    queue = queue or (Queue.PRIORITY if names else Queue.BULK)
    selected = _named(names)
    states = [name for name, given in (("stale", stale), ("broken", broken), ("never", never)) if given]
    selected.narrow(states, host, since)
    for name in selected.unknown:
        click.secho(f"There is no dataset, resource, organization or group {name!r}.", fg="red", err=True)
    numbers: Params = {"queue": queue, "selected": 0, "hosts": 0, "requested": 0, "unknown": selected.unknown}
    if len(selected.unknown) < len(names) or not names:
        with rounds.Selection(selected.condition(), selected.params, limit) as selection:
            numbers.update(selected=selection.count, hosts=selection.hosts())
            if not dry_run:
                reason = Reason.CONFIRM if confirm_now else Reason.COMMAND
                numbers["requested"] = _put(selection, queue, reason, quiet=as_json)
                _dispatch(queue)
            _print_numbers(numbers, dry_run=dry_run, as_json=as_json)
            if not dry_run and not as_json:
                _print_pauses(queue)
                if names:
                    _print_waits(selected)
            if wait and not dry_run:
                _wait(selection)
    elif as_json:
        _print_numbers(numbers, dry_run=dry_run, as_json=True)
    if selected.unknown:
        raise click.exceptions.Exit(1)


@dataclass
class _Selected:
    """Conditions in SQL that a resource must all satisfy, their parameters, and the names that name nothing."""

    conditions: list[str]
    params: Params
    unknown: list[str]

    def narrow(self, states: list[str], host: str | None, since: datetime | None) -> None:
        """Add the conditions of the options."""
        if states:
            self.conditions.append(" OR ".join(_STATES[name] for name in states))
        if host is not None:
            self.conditions.append(f"{sql.HOST_OF_URL} = ANY(:hosts)")
            self.params["hosts"] = spellings(host)
        if since is not None:
            self.conditions.append("greatest(r.created, r.last_modified, r.metadata_modified) >= :since")
            self.params["since"] = since

    def condition(self) -> str:
        """All conditions as one."""
        return " AND ".join(f"({condition})" for condition in ["p.state = 'active'", *self.conditions])


def _named(names: tuple[str, ...]) -> _Selected:
    """The resources of everything named."""
    ids: dict[str, list[str]] = {"packages": [], "resources": [], "organizations": [], "groups": []}
    unknown = []
    for name in names:
        entity = _entity(name)
        if entity is None:
            unknown.append(name)
        else:
            kind, id_ = entity
            ids[kind].append(id_)
    conditions = {
        "packages": "p.id = ANY(:packages)",
        "resources": "r.id = ANY(:resources)",
        "organizations": "p.owner_org = ANY(:organizations)",
        "groups": "p.id IN (SELECT table_id FROM member WHERE group_id = ANY(:groups) AND table_name = 'package' "
        "AND state = 'active')",
    }
    params: Params = {kind: of_kind for kind, of_kind in ids.items() if of_kind}
    return _Selected([" OR ".join(conditions[kind] for kind in params)] if params else [], params, unknown)


def _entity(name: str) -> tuple[str, str] | None:
    """(kind, id) of the active dataset, resource, organization or group with this name or id."""
    package = model.Package.get(name)
    if package is not None and package.state == model.State.ACTIVE:
        return "packages", package.id
    resource = model.Resource.get(name)
    if resource is not None and resource.state == model.State.ACTIVE:
        return "resources", resource.id
    group = model.Group.get(name)
    if group is None or group.state != model.State.ACTIVE:
        return None
    return ("organizations" if group.is_organization else "groups"), group.id


def _put(selection: rounds.Selection, queue: str, reason: str, *, quiet: bool) -> int:
    """Put the requests, with a line of progress when there are many."""
    began = time.monotonic()
    put = done = 0
    show = not quiet and selection.count > rounds.BATCH
    for in_batch in selection.put(queue, reason):
        put += in_batch
        done = min(done + rounds.BATCH, selection.count)
        if show:
            rate = done / max(time.monotonic() - began, 0.001)
            left = monitoring.duration((selection.count - done) / rate)
            line = f"{done:,} of {selection.count:,} resources, {put:,} requested, {rate:,.0f}/s, {left} left   "
            click.echo(f"\r{line}", nl=False, err=True)
    if show:
        click.echo(err=True)
    return put


def _print_numbers(numbers: Params, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**numbers, "dry_run": dry_run}))
    elif dry_run:
        archivals = monitoring.counted(numbers["selected"], "archival")
        hosts = monitoring.counted(numbers["hosts"], "host")
        click.echo(f"{archivals} on {hosts} would be requested on queue {numbers['queue']}.")
    else:
        known = numbers["selected"] - numbers["requested"]
        again = f" {known:,} {'was' if known == 1 else 'were'} requested already." if known else ""
        click.echo(
            f"{monitoring.counted(numbers['requested'], 'archival')} requested on queue {numbers['queue']}.{again}"
        )
        if numbers["queue"] == Queue.BULK and numbers["requested"]:
            seconds = monitoring.eta()
            if seconds is not None:
                click.echo(
                    f"At the rate of the last {monitoring.RATE_MINUTES} minutes the queue is done in about "
                    f"{monitoring.duration(seconds)}."
                )


def _print_waits(selected: _Selected) -> None:
    """What the requests of what was named wait for."""
    for wait in waits.of(selected.condition(), selected.params):
        click.echo(f"  {monitoring.counted(wait.requests, 'link')}: {wait.sentence()}")
    model.Session.rollback()


def _print_pauses(queue: str) -> None:
    """What is paused of the queue: the requests wait for that."""
    pause = pauses.of_queue(queue)
    if pause is not None:
        text = f"{pause.sentence()}. The requests wait. To go on: ckan archiver resume{pause.options}"
        click.secho(text, fg="yellow")
    model.Session.rollback()


def _dispatch(queue: str) -> None:
    """Dispatch at once instead of waiting for a worker's dispatcher, so that the broker's queue shows the requests."""
    seen = dispatch.has_worker(queue)
    try:
        dispatch.tick(fill=not seen)
        trouble = monitoring.broker_error()
    except BrokerError as e:
        trouble = e
    if trouble:
        click.secho(f"{str(trouble).rstrip('.')}. The requests are kept in the database.", fg="yellow", err=True)
        return
    if not seen:
        click.secho(
            f"No worker reads queue {queue}. Start one: ckan archiver worker --queue {queue}", fg="yellow", err=True
        )


def _wait(selection: rounds.Selection) -> None:
    """Show progress on standard error until no request of the selection is open; standard output has the numbers."""
    left = selection.open()
    with click.progressbar(length=left, label="Archiving", show_eta=True, show_pos=True, file=sys.stderr) as bar:
        while left:
            time.sleep(0.5)
            now = selection.open()
            bar.update(max(left - now, 0))
            left = now


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--prometheus", "as_prometheus", is_flag=True, help="Print Prometheus' text format.")
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C: on a terminal as a page.")
def status(as_json: bool, as_prometheus: bool, watch: bool) -> None:
    """Show queues, round, broker, workers, paused hosts, held verdicts and the disk.

    The exit code is 1 when an operator has to act: the plugin is not enabled, a queue has no worker, the broker does
    not answer, verdicts are held because too many hosts fail at once, a worker cannot write copies, the disk is full.
    """
    if as_json and as_prometheus:
        raise click.UsageError("Give either --json or --prometheus.")
    if watch:
        _watch(as_json, as_prometheus)
        return
    alarming = _show(monitoring.collect(), as_json, as_prometheus)
    if alarming and not (as_json or as_prometheus):
        raise click.exceptions.Exit(1)


def _watch(as_json: bool, as_prometheus: bool) -> None:
    is_page = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not (as_json or as_prometheus)
    # Ctrl-C is how it ends, and no error.
    with contextlib.suppress(KeyboardInterrupt):
        if is_page:
            watch_page.run()
        else:
            watch_page.repeat(lambda: _show_at(monitoring.collect(), as_json, as_prometheus))


def _show_at(found: monitoring.Status, as_json: bool, as_prometheus: bool) -> None:
    """One of many, with its time where it has none."""
    if not (as_json or as_prometheus):
        click.echo(f"--- {datetime.fromisoformat(found['time']):%Y-%m-%d %H:%M:%S} UTC")
    _show(found, as_json, as_prometheus)


def _show(found: monitoring.Status, as_json: bool, as_prometheus: bool) -> bool:
    alarms = list(monitoring.alarms(found))
    if as_json:
        click.echo(json.dumps(found))
    elif as_prometheus:
        click.echo(monitoring.prometheus(found), nl=False)
    else:
        _print(alarms, fg="red", bold=True)
        _print(monitoring.lines(found))
    return bool(alarms)


def _print(lines: Iterable[str], **style: Any) -> None:
    for line in lines:
        click.secho(line, **style)


commands: list[click.Command] = [update, status]
