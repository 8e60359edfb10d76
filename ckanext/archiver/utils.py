"""Names of a fork's module that other code imports: the commands as functions."""

from __future__ import annotations

from collections.abc import Iterable

import click

from ckanext.archiver.cli import links, main
from ckanext.archiver.cli import queue as queue_commands


def initdb() -> None:
    """Create or upgrade the tables, as ``ckan archiver init``."""
    _call(main.init)


def migrate() -> None:
    """Create or upgrade the tables, as ``ckan archiver migrate``."""
    _call(main.migrate)


def update(identifiers: Iterable[str] = (), queue: str | None = None) -> None:
    """Request archivals, as ``ckan archiver update``.

    :param identifiers: names or ids of datasets, resources, organizations and groups; all resources without any
    :param queue: "priority" or "bulk"; by default priority where anything is named
    :raises click.ClickException: a queue that does not exist
    """
    _call(queue_commands.update, *(("--queue", queue) if queue else ()), "--", *identifiers)


def view(package_ref: str | None = None) -> None:
    """Print what is known of a dataset's links, or of all, as ``ckan archiver view``."""
    _call(links.view, *(("--", package_ref) if package_ref else ()))


def _call(command: click.Command, *arguments: str) -> None:
    command.main(list(arguments), standalone_mode=False)
