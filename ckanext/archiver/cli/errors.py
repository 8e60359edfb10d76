"""Troubles that are not ours, in one sentence each: what a command says where there would be a traceback."""

from __future__ import annotations

from typing import Any

import click
import sqlalchemy as sa

from ckanext.archiver.errors import DATABASE_AWAY, ArchiverError

_MISSING = {"42P01": "table", "42703": "column"}
"""PostgreSQL's codes for what a database lacks that no migration has seen."""

_REFUSED = ("42501", "25006")
"""For what the role may not do, and for a database that only reads (a standby)."""


def sentence(error: Exception) -> str | None:
    """What to tell about an error.

    :returns: None for one that nobody foresaw: its traceback is what helps then
    """
    if isinstance(error, sa.exc.DBAPIError):
        return _of_database(error)
    if isinstance(error, sa.exc.PendingRollbackError):
        # The second error of a command that has lost its connection, on its way out.
        return "The database went away meanwhile. What was done so far is kept: run the command again."
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return str(error) if isinstance(error, ArchiverError) else None


def _of_database(error: sa.exc.DBAPIError) -> str | None:
    code = getattr(error.orig, "pgcode", None)
    if code in _MISSING:
        return f"The database lacks a {_MISSING[code]} of the archiver. Bring its tables up to date: ckan archiver init"
    told = (str(error.orig).strip() or "no reason was given").splitlines()[0]
    if code in _REFUSED:
        return f"The database does not let us: {told}"
    if isinstance(error, DATABASE_AWAY):
        return f"The database does not answer: {told}. What was done so far is kept: run the command again."
    return None


class Group(click.Group):
    """Commands whose known troubles are a sentence on standard error and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as e:
            told = sentence(e)
            if told is None:
                raise
            raise click.ClickException(told) from e
