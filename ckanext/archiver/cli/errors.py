"""Errors that a command foresees, in one sentence each: what a user reads instead of a traceback."""

from __future__ import annotations

from typing import Any

import click
import sqlalchemy as sa

from ckanext.archiver import installation
from ckanext.archiver.errors import DATABASE_AWAY, MISSING, ArchiverError

_REFUSED = ("42501", "25006")
"""PostgreSQL's codes for a role without the right, and for a database that is read-only (a standby)."""


def sentence(error: Exception) -> str | None:
    """The sentence for an error.

    :returns: None for an error that is not foreseen: its traceback is then what helps
    """
    if isinstance(error, sa.exc.DBAPIError):
        return _database_sentence(error)
    if isinstance(error, sa.exc.PendingRollbackError):
        # The second error of a command that lost its connection, raised on the way out.
        return "The connection to the database was lost. What was done so far is kept: run the command again."
    if isinstance(error, UnicodeEncodeError):
        # An argument in another encoding than the terminal's.
        return f"{error.object!a} is not text in UTF-8."
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return str(error) if isinstance(error, ArchiverError) else None


def _database_sentence(error: sa.exc.DBAPIError) -> str | None:
    code = getattr(error.orig, "pgcode", None)
    if code in MISSING:
        return f"The database lacks a {MISSING[code]} of the archiver. Bring its tables up to date: ckan archiver init"
    message = (str(error.orig).strip() or "no reason was given").splitlines()[0]
    if code in _REFUSED:
        return f"The database refuses the statement: {message}"
    if isinstance(error, DATABASE_AWAY):
        return f"The database does not answer: {message}. What was done so far is kept: run the command again."
    return None


class Group(click.Group):
    """Commands that report a foreseen error as a sentence on standard error, with exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            installation.check()
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as e:
            text = sentence(e)
            if text is None:
                raise
            raise click.ClickException(text) from e

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List each command with its whole summary: Click would cut it at the end of the line."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(limit=1000)) for name, command in commands if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
