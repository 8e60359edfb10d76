"""The options of Celery's own worker command, which the lines of older releases in supervisor have.

They are accepted so that these lines still work. ``--loglevel`` is honoured; of any other, the command says that it has
no effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

# name (and letter) of the options with a value, then of the flags: those of Celery 3 to 5.
WITH_VALUE: tuple[tuple[str, ...], ...] = (
    ("--app", "-A"),
    ("--autoscale",),
    ("--broker", "-b"),
    ("--config",),
    ("--heartbeat-interval",),
    ("--hostname", "-n"),
    ("--include", "-I"),
    ("--loader",),
    ("--logfile", "-f"),
    ("--loglevel", "-l"),
    ("--max-memory-per-child",),
    ("--max-tasks-per-child", "--maxtasksperchild"),
    ("--optimization", "-O"),
    ("--pidfile",),
    ("--pool", "-P"),
    ("--prefetch-multiplier",),
    ("--queues", "-Q"),
    ("--exclude-queues", "-X"),
    ("--result-backend",),
    ("--schedule", "-s"),
    ("--scheduler",),
    ("--soft-time-limit",),
    ("--statedb", "-S"),
    ("--time-limit",),
    ("--uid",),
    ("--gid",),
    ("--umask",),
    ("--workdir",),
)
FLAGS: tuple[tuple[str, ...], ...] = (
    ("--beat", "-B"),
    ("--detach", "-D"),
    ("--discard", "--purge"),
    ("--no-color", "-C"),
    ("--quiet", "-q"),
    ("--task-events", "--events", "-E"),
    ("--without-gossip",),
    ("--without-heartbeat",),
    ("--without-mingle",),
)

_NAME = "celery_{}"
_LEVEL = "ckanext.archiver.loglevel"


def celery_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add Celery's options to a command, hidden from its help."""
    for names in WITH_VALUE:
        command = click.option(*names, _NAME.format(_key(names)), hidden=True, expose_value=False, callback=_note)(
            command
        )
    for names in FLAGS:
        command = click.option(
            *names, _NAME.format(_key(names)), hidden=True, is_flag=True, expose_value=False, callback=_note
        )(command)
    return command


def _key(names: tuple[str, ...]) -> str:
    return names[0].lstrip("-").replace("-", "_")


def _note(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    name = str(param.name).removeprefix("celery_")
    if value and name != "loglevel":
        click.echo(f"{param.opts[0]} has no effect: the archiver runs its workers in its own way.", err=True)
    elif value:
        ctx.meta[_LEVEL] = str(value)


def log_level(ctx: click.Context) -> str | None:
    """The value of ``--loglevel`` in upper case; None when it was not given."""
    level: str | None = ctx.meta.get(_LEVEL)
    return level.upper() if level else None
