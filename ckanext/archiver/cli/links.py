"""The commands that show what is known of links: ``ckan archiver view`` and ``ckan archiver report``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import click
import sqlalchemy as sa
from ckan import model

from ckanext.archiver import reports
from ckanext.archiver.model import Archival


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def view(name: str | None, as_json: bool) -> None:
    """Show the numbers of all links, or everything known of the dataset or resource NAME."""
    if name is None:
        numbers = _numbers()
        _print([json.dumps(numbers)] if as_json else _summary(numbers))
        return
    package, resource = model.Package.get(name), model.Resource.get(name)
    if package is None and resource is None:
        click.secho(f"There is no dataset or resource {name!r}.", fg="red", err=True)
        raise click.exceptions.Exit(1)
    resources = package.resources if package is not None else [resource]
    if as_json:
        _print([json.dumps([_as_dict(resource) for resource in resources])])
    else:
        _print(line for resource in resources for line in _describe(resource))


def _print(lines: Iterable[str]) -> None:
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


def _summary(numbers: Mapping[str, Any]) -> Iterator[str]:
    yield f"{numbers['resources']:,} resources, {numbers['looked_at']:,} checked"
    for verdict, counts in numbers["verdicts"].items():
        yield f"  {verdict:14} {counts['links']:>10,}   with a copy {counts['copies']:>10,}"
    for queue, count in numbers["waiting"].items():
        yield f"  waiting on {queue}: {count:,}"


def _as_dict(resource: Any) -> dict[str, Any]:
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
        yield "  Not checked yet"
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


@click.command()
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


commands: list[click.Command] = [view, report]
