"""The commands: ``ckan archiver …``, and ``ckan celeryd2 run …`` for old habits."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any

import click
import sqlalchemy as sa
from alembic.util.exc import CommandError
from ckan import model

from ckanext.archiver import checking, config, reports
from ckanext.archiver.cli import errors
from ckanext.archiver.cli.maintenance import maintenance_commands
from ckanext.archiver.cli.queue import queue_commands
from ckanext.archiver.engine import addresses
from ckanext.archiver.errors import ConfigError
from ckanext.archiver.model import Archival, look_at_tables
from ckanext.archiver.queue.types import Queue


@click.group(cls=errors.Group, short_help="Check and archive the links of resources.")
def archiver() -> None:
    """Check and archive the links of resources."""


@archiver.command()
def init() -> None:
    """Create the tables, or bring them up to date. Harmless to repeat."""
    _upgrade()
    click.echo("The tables of the archiver are up to date.")


@archiver.command()
def migrate() -> None:
    """Bring the tables of an older release up to date."""
    _upgrade()
    click.echo("The tables of the archiver are up to date.")


def _upgrade() -> None:
    from ckan.cli.db import _run_migrations

    try:
        _run_migrations("archiver", None)
    except (CommandError, RuntimeError) as e:
        # Tables of a release that is newer than this one, or a machine that does not tell its time zone.
        raise click.ClickException(str(e)) from e


@archiver.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def view(name: str | None, as_json: bool) -> None:
    """Show what is known: of all links in numbers, or of the dataset or resource NAME."""
    if name is None:
        known = _numbers()
        _show([json.dumps(known)] if as_json else _summary(known))
        return
    package, resource = model.Package.get(name), model.Resource.get(name)
    if package is None and resource is None:
        click.secho(f"There is no dataset or resource {name!r}.", fg="red", err=True)
        raise click.exceptions.Exit(1)
    resources = package.resources if package is not None else [resource]
    if as_json:
        _show([json.dumps([_known(resource) for resource in resources])])
    else:
        _show(line for resource in resources for line in _describe(resource))


def _show(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _numbers() -> dict[str, Any]:
    connection = model.Session.connection()
    total = connection.execute(
        sa.text("""SELECT count(*) FROM resource r JOIN package p ON p.id = r.package_id
                   WHERE r.state = 'active' AND p.state = 'active'""")
    ).scalar()
    rows = connection.execute(
        sa.text("""
            SELECT coalesce(a.verdict, 'older release'), count(*), count(nullif(a.cache_filepath, ''))
            FROM archival a JOIN resource r ON r.id = a.resource_id JOIN package p ON p.id = r.package_id
            WHERE r.state = 'active' AND p.state = 'active' GROUP BY 1 ORDER BY 2 DESC
        """)
    ).all()
    waiting = connection.execute(sa.text("SELECT queue, count(*) FROM archiver_request GROUP BY 1 ORDER BY 1")).all()
    return {
        "resources": total,
        "looked_at": sum(row[1] for row in rows),
        "verdicts": {verdict: {"links": count, "copies": copies} for verdict, count, copies in rows},
        "waiting": dict(waiting),
    }


def _summary(known: Mapping[str, Any]) -> Iterator[str]:
    yield f"{known['resources']:,} resources, {known['looked_at']:,} looked at"
    for verdict, of_it in known["verdicts"].items():
        yield f"  {verdict:14} {of_it['links']:>10,}   with a copy {of_it['copies']:>10,}"
    for queue, count in known["waiting"].items():
        yield f"  waiting on {queue}: {count:,}"


def _known(resource: Any) -> dict[str, Any]:
    archival = Archival.get_for_resource(resource.id)
    return {
        "id": resource.id,
        "name": resource.name,
        "url": resource.url,
        "archiver": None if archival is None else archival.as_dict(),
    }


def _describe(resource: Any) -> Iterator[str]:
    yield f"{resource.id}  {resource.name or ''}".rstrip()
    yield f"  URL           {resource.url}"
    archival = Archival.get_for_resource(resource.id)
    if archival is None:
        yield "  Not looked at yet"
        return
    yield f"  Verdict       {archival.verdict or archival.status}"
    labels = {
        "Reason": archival.reason,
        "Last checked": _minute(archival.checked_at or archival.updated),
        "Last worked": _minute(archival.last_success),
        "Failing since": _minute(archival.failing_since),
        "Next check": _minute(archival.next_check_at),
        "Moved to": archival.permanent_url,
        "Copy": archival.cache_filepath,
    }
    for label, value in labels.items():
        if value:
            yield f"  {label:13} {value}"


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else ""


@archiver.command()
@click.argument("outputfile", required=False, type=click.Path(dir_okay=False, writable=True))
def report(outputfile: str | None) -> None:
    """Write the Broken Links report as CSV, to OUTPUTFILE or to standard output."""
    text = reports.as_csv(reports.broken_links())
    if outputfile is None:
        click.echo(text, nl=False)
        return
    with open(outputfile, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    click.echo(f"The report is in {outputfile}.")


class _BadUsage(click.UsageError):
    exit_code = checking.EXIT_USAGE


class _CheckCommand(click.Command):
    """Bad usage exits with 3: 2 says that a link is not sure."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as e:
            raise _BadUsage(e.format_message(), e.ctx) from e

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as e:
            raise _BadUsage(e.format_message(), e.ctx) from e


@archiver.command(cls=_CheckCommand)
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option("--format", "format_", default="", help="The format the link is declared to have, such as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object, or an array for several URLs.")
@click.option(
    "--mode",
    type=click.Choice(config.MODES),
    help="archive reads the whole file, check as little as possible.",
)
@click.option("--allow", multiple=True, metavar="NETWORK-OR-HOST", help="Visit this address although it is not public.")
@click.option("--ca-bundle", type=click.Path(exists=True, dir_okay=False), help="PEM file of certificates to trust.")
def check(
    urls: tuple[str, ...], format_: str, as_json: bool, mode: str | None, allow: tuple[str, ...], ca_bundle: str | None
) -> None:
    """Look at links as the archiver does, without touching the database.

    With - for URL, links are read from standard input, one a line, or as JSON lines with "url" and maybe "format"
    and "id"; they are looked at side by side.

    Exit codes: 0 all links work, 1 one is broken, 2 nobody can say of one, 3 bad usage.
    """
    try:
        policy = config.policy()
        policy = replace(
            policy, allowed_addresses=(*policy.allowed_addresses, *allow), ca_bundle=ca_bundle or policy.ca_bundle
        )
        addresses.Guard(policy.allowed_addresses)
    except (ConfigError, ValueError) as e:
        raise click.BadParameter(str(e)) from e
    settings: dict[str, Any] = {
        "limits": config.limits(),
        "policy": policy,
        "rules": config.rules(),
        "check_only": (mode or config.mode()) == "check",
    }
    if "-" in urls:
        if len(urls) > 1:
            raise click.UsageError("Give either URLs or -, not both.")
        sys.exit(_check_input(format_, as_json, settings))
    links = [checking.Link(url, format_) for url in urls]
    # Side by side, and shown in the order they were given.
    with ThreadPoolExecutor(checking.MAX_WORKERS) as pool:
        results = list(pool.map(lambda link: checking.check(link, **settings), links))
    if as_json:
        click.echo(json.dumps(results[0] if len(results) == 1 else results, indent=2))
    else:
        click.echo("\n\n".join(_checked(result) for result in results))
    sys.exit(checking.exit_code(results))


def _check_input(format_: str, as_json: bool, settings: dict[str, Any]) -> int:
    """Check what standard input lists, and print each result as it comes."""
    code, count, started = checking.EXIT_OK, 0, time.monotonic()
    lines = click.get_text_stream("stdin", encoding="utf-8", errors="surrogateescape")
    tty = sys.stderr.isatty()
    try:
        for result in checking.check_many(checking.links(lines, format_), **settings):
            count += 1
            if as_json:
                click.echo(json.dumps(result))
            else:
                click.echo(f"{result['verdict']:8}  {result['url']}  {result['reason']}")
            code = _worse(code, result)
            if tty:
                rate = count / max(time.monotonic() - started, 0.001)
                click.echo(f"\r{count:,} links, {rate:,.1f} a second ", nl=False, err=True)
    except checking.BadLine as e:
        click.echo(str(e), err=True)
        return checking.EXIT_USAGE
    finally:
        if tty:
            click.echo("", err=True)
    return code


def _worse(code: int, result: dict[str, Any]) -> int:
    """Broken outweighs not sure, which outweighs ok."""
    codes = {code, checking.exit_code([result])}
    return checking.EXIT_BROKEN if checking.EXIT_BROKEN in codes else max(codes)


def _checked(result: dict[str, Any]) -> str:
    """One result in words."""
    certificate = result["certificate"] or {}
    size = result["size"]
    values = {
        "Verdict": result["verdict"],
        "Cause": result["cause"],
        "Reason": result["reason"],
        "Status": result["http_status"],
        "Redirects": "".join(f"\n    {hop['status']} {hop['url']}" for hop in result["hops"]),
        "Final URL": result["final_url"] if result["hops"] else "",
        "Size": "" if size is None else f"{size:,} bytes",
        "Media type": result["mimetype"],
        "File name": result["filename"],
        "SHA-256": result["sha256"],
        "Certificate": certificate
        and f"{certificate['subject']}, valid to {certificate['not_after'][:10]}"
        + (" (ends soon)" if certificate["expires_soon"] else ""),
        "Requests": f"{result['requests']}, {result['bytes_read']:,} bytes read in {result['seconds']:.1f} s",
    }
    lines = [f"  {label:12}{value}" for label, value in values.items() if value not in (None, "", {})]
    return "\n".join([result["url"], *lines])


@archiver.command()
@click.option(
    "--queue", type=click.Choice([*(queue.value for queue in Queue), "all"]), default="all", show_default=True
)
@click.option("--concurrency", type=click.IntRange(1), help="Archivals at a time. [default: 16, with prefork 2]")
@click.option("--pool", type=click.Choice(["threads", "prefork"]), default="threads", show_default=True)
@click.pass_context
def worker(ctx: click.Context, queue: str, concurrency: int | None, pool: str) -> None:
    """Run a worker until it is told to stop (TERM). With --queue all, one process for each queue."""
    _run_worker(ctx, queue, concurrency, pool)


def _run_worker(ctx: click.Context, queue: str, concurrency: int | None, pool: str) -> None:
    from ckanext.archiver import ckan_context
    from ckanext.archiver.worker import run

    ckan_context.use(ctx.meta["flask_app"])
    config.check()
    look_at_tables()
    ctx.exit(run.run(queue, concurrency, pool))


for _command in [*queue_commands, *maintenance_commands]:
    archiver.add_command(_command)


@click.group(cls=errors.Group, short_help="Run the archiver's workers (as in older releases).")
def celeryd2() -> None:
    """Run the archiver's workers. The same as: ckan archiver worker --queue ..."""


@celeryd2.command("run")
@click.argument("queue", type=click.Choice(["all", *(queue.value for queue in Queue)]), default="all")
@click.option("--concurrency", type=click.IntRange(1))
@click.pass_context
def celeryd2_run(ctx: click.Context, queue: str, concurrency: int | None) -> None:
    """Run a worker for QUEUE: all, priority or bulk."""
    _run_worker(ctx, queue, concurrency, "threads")
