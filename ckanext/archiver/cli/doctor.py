"""``ckan archiver doctor``."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import click

from ckanext.archiver import monitoring

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of findings.")
@click.option("--fix", is_flag=True, help="Mend what can be mended safely: tables, directories, stale leases.")
def doctor(as_json: bool, fix: bool) -> None:
    """Find out why links are not archived, and print what mends it.

    The exit code is 1 when something is broken. Warnings alone give 0. Run it as the user of the workers.
    """
    # Imported here: it loads the worker's modules, and the plugin imports this one in every web process.
    from ckanext.archiver import doctor as checks

    reports = []
    for report in checks.run(fix=fix):
        reports.append(dataclasses.asdict(report))
        if not as_json:
            _print(reports[-1])
    if as_json:
        click.echo(json.dumps(reports))
    else:
        count = Counter(report["level"] for report in reports)
        problems, warnings = (monitoring.counted(count[level], level) for level in ("problem", "warning"))
        click.echo(f"{problems}, {warnings}, {count['ok']} ok.")
    if any(report["level"] == "problem" for report in reports):
        raise click.exceptions.Exit(1)


def _print(report: dict[str, str]) -> None:
    fixed = {"fixed": " Fixed.", "failed": " It could not be fixed."}.get(report["fixed"], "")
    level = click.style(f"{report['level']:8}", fg=COLOURS[report["level"]])
    click.echo(f"{level} {report['check']}: {report['message']}{fixed}")
    if report["remedy"] and report["fixed"] != "fixed":
        click.echo(f"{'':8}   -> {report['remedy']}")


commands: list[click.Command] = [doctor]
