"""The commands about the queues: ``ckan archiver update`` and ``ckan archiver status``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import click
from ckan import model

from ckanext.archiver import monitoring as status_
from ckanext.archiver.engine import urls
from ckanext.archiver.errors import BrokerError
from ckanext.archiver.queue import dispatch, rounds, sql
from ckanext.archiver.queue.types import Queue, Reason

QUEUE = click.option(
    "-q",
    "--queue",
    type=click.Choice([queue.value for queue in Queue]),
    help="priority (before everything else) or bulk.",
)

WATCH_SECONDS = 2

Params = dict[str, Any]

_STATES = {
    "stale": "(a.next_check_at <= timezone('utc', now()) OR a.next_check_at IS NULL)",
    "broken": "(a.verdict IN ('broken', 'failing') OR (a.verdict IS NULL AND a.is_broken))",
    "never": "coalesce(a.checked_at, a.updated) IS NULL",
}


@click.command()
@click.argument("names", nargs=-1)
@QUEUE
@click.option("--stale", is_flag=True, help="Only links whose regular check is due.")
@click.option("--broken", is_flag=True, help="Only links that are broken or failing.")
@click.option("--never", is_flag=True, help="Only links that were never looked at.")
@click.option("--host", metavar="HOST", help="Only links on this host. A link on it does as well.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]),
    help="Only resources that were created or changed since then (UTC).",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="N links at most: those checked longest ago.")
@click.option("--dry-run", is_flag=True, help="Say how many, and request nothing.")
@click.option("--confirm-now", is_flag=True, help="Show a link that fails as failing after its first failure.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.option("--wait", is_flag=True, help="Wait until the archivals are done, showing progress.")
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

    NAMES are names or ids of datasets, resources, organizations and groups, mixed as you like; without any, all
    resources are requested. The queue is priority when names are given, else bulk.

    Of --stale, --broken and --never, a link is taken that is any of those that are given; the other options narrow
    that down. What is requested already is not requested twice.
    """
    queue = queue or (Queue.PRIORITY if names else Queue.BULK)
    where, params, unknown = _named(names)
    states = [name for name, wanted in (("stale", stale), ("broken", broken), ("never", never)) if wanted]
    if states:
        where.append(" OR ".join(_STATES[name] for name in states))
    if host is not None:
        where.append(f"{sql.HOST_OF_URL} = ANY(:hosts)")
        params["hosts"] = _spellings(host)
    if since is not None:
        where.append("greatest(r.created, r.last_modified, r.metadata_modified) >= :since")
        params["since"] = since
    for name in unknown:
        click.secho(f"There is no dataset, resource, organization or group {name!r}.", fg="red", err=True)
    numbers: Params = {"queue": queue, "selected": 0, "hosts": 0, "requested": 0, "unknown": unknown}
    if len(unknown) < len(names) or not names:
        condition = " AND ".join(f"({one})" for one in ["p.state = 'active'", *where])
        with rounds.Selection(condition, params, limit) as wanted:
            numbers.update(selected=wanted.count, hosts=wanted.hosts())
            if not dry_run:
                numbers["requested"] = _put(
                    wanted, queue, Reason.CONFIRM if confirm_now else Reason.COMMAND, quiet=as_json
                )
                _dispatch(queue)
            _tell(numbers, dry_run=dry_run, as_json=as_json)
            if wait and not dry_run:
                _wait(wanted)
    elif as_json:
        _tell(numbers, dry_run=dry_run, as_json=True)
    if unknown:
        raise click.exceptions.Exit(1)


def _named(names: tuple[str, ...]) -> tuple[list[str], Params, list[str]]:
    """The condition that selects what is named, its parameters, and the names that are nothing."""
    ids: dict[str, list[str]] = {"packages": [], "resources": [], "organizations": [], "groups": []}
    unknown = []
    for name in names:
        found = _kind(name)
        if found is None:
            unknown.append(name)
        else:
            kind, id_ = found
            ids[kind].append(id_)
    conditions = {
        "packages": "p.id = ANY(:packages)",
        "resources": "r.id = ANY(:resources)",
        "organizations": "p.owner_org = ANY(:organizations)",
        "groups": "p.id IN (SELECT table_id FROM member WHERE group_id = ANY(:groups) AND table_name = 'package' "
        "AND state = 'active')",
    }
    used = {kind: found for kind, found in ids.items() if found}
    where = [" OR ".join(conditions[kind] for kind in used)] if used else []
    return where, dict(used), unknown


def _spellings(host: str) -> list[str]:
    """How links may spell a host: "bücher.example" is "xn--bcher-kva.example".

    :param host: a name as it was typed, with a port maybe, or a link on the host
    """
    link = host.strip() if "//" in host else f"http://{host.strip()}"
    name = urls.host_of(link)
    if not name:
        raise click.BadParameter(f"{host!r} is no host.", param_hint="--host")
    try:
        return [name, name.encode("ascii").decode("idna"), f"[{name}]"]
    except UnicodeError:
        return [name]


def _kind(name: str) -> tuple[str, str] | None:
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


def _put(wanted: rounds.Selection, queue: str, reason: str, *, quiet: bool) -> int:
    """Put the requests, with a line of progress when there are many."""
    began = time.monotonic()
    put = done = 0
    show = not quiet and wanted.count > rounds.BATCH
    for of_batch in wanted.put(queue, reason):
        put += of_batch
        done = min(done + rounds.BATCH, wanted.count)
        if show:
            rate = done / max(time.monotonic() - began, 0.001)
            left = status_.duration((wanted.count - done) / rate)
            click.echo(
                f"\r{done:,} of {wanted.count:,} looked at, {put:,} requested, {rate:,.0f}/s, {left} left   ",
                nl=False,
                err=True,
            )
    if show:
        click.echo(err=True)
    return put


def _tell(numbers: Params, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**numbers, "dry_run": dry_run}))
    elif dry_run:
        click.echo(
            f"{_count(numbers['selected'], 'archival')} on {_count(numbers['hosts'], 'host')} would be "
            f"requested on queue {numbers['queue']}."
        )
    else:
        known = numbers["selected"] - numbers["requested"]
        again = f" {known:,} {'was' if known == 1 else 'were'} requested already." if known else ""
        click.echo(f"{_count(numbers['requested'], 'archival')} requested on queue {numbers['queue']}.{again}")
        if numbers["queue"] == Queue.BULK and numbers["requested"]:
            found = status_.eta()
            if found is not None:
                click.echo(
                    f"At the rate of the last {status_.RATE_MINUTES} minutes the queue is done in about "
                    f"{status_.duration(found)}."
                )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _dispatch(queue: str) -> None:
    """Start at once instead of waiting for a worker's dispatcher, so that the queue can be looked at."""
    seen = dispatch.has_worker(queue)
    try:
        dispatch.tick(fill=not seen)
        trouble = status_.broker_error()
    except BrokerError as e:
        trouble = str(e)
    if trouble:
        click.secho(f"{trouble.rstrip('.')}. The requests are kept in the database.", fg="yellow", err=True)
        return
    if not seen:
        click.secho(
            f"No worker reads queue {queue}. Start one: ckan archiver worker --queue {queue}", fg="yellow", err=True
        )


def _wait(wanted: rounds.Selection) -> None:
    """Show progress until nothing that is wanted is open. Standard output is left to the numbers."""
    left = wanted.open()
    with click.progressbar(length=left, label="Archiving", show_eta=True, show_pos=True, file=sys.stderr) as bar:
        while left:
            time.sleep(0.5)
            now = wanted.open()
            bar.update(max(left - now, 0))
            left = now


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option("--prometheus", "as_prometheus", is_flag=True, help="Print it as Prometheus' text format.")
@click.option("--watch", is_flag=True, help="Print it anew every two seconds, until interrupted.")
def status(as_json: bool, as_prometheus: bool, watch: bool) -> None:
    """Show the queues, the round, the broker, the workers, the paused hosts, what is held, and the disk.

    The exit code is 1 when somebody should do something: a queue without a worker, a broker that does not answer,
    verdicts that are held because everything fails, a full disk.
    """
    if as_json and as_prometheus:
        raise click.UsageError("Give either --json or --prometheus.")
    alarming = _show(status_.collect(), as_json, as_prometheus, clear=watch)
    while watch:
        time.sleep(WATCH_SECONDS)
        _show(status_.collect(), as_json, as_prometheus, clear=True)
    if alarming and not (as_json or as_prometheus):
        raise click.exceptions.Exit(1)


def _show(found: status_.Status, as_json: bool, as_prometheus: bool, *, clear: bool) -> bool:
    alarms = list(status_.alarms(found))
    if as_json:
        click.echo(json.dumps(found))
    elif as_prometheus:
        click.echo(status_.prometheus(found), nl=False)
    else:
        if clear:
            click.clear()
        _print(alarms, fg="red", bold=True)
        _print(status_.lines(found))
    return bool(alarms)


def _print(lines: Iterable[str], **style: Any) -> None:
    for line in lines:
        click.secho(line, **style)


queue_commands = [update, status]
