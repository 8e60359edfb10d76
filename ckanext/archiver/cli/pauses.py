"""``ckan archiver pause`` and ``ckan archiver resume``."""

from __future__ import annotations

import click

from ckanext.archiver import monitoring
from ckanext.archiver.cli.host_names import spellings
from ckanext.archiver.queue import pauses
from ckanext.archiver.queue.sql import transaction
from ckanext.archiver.queue.types import Queue

_QUEUE = click.option("-q", "--queue", type=click.Choice([queue.value for queue in Queue]), help="Only this queue.")
_HOST = click.option("--host", metavar="HOST", help="Only links on this host. A URL on the host is accepted too.")

MAX_LENGTH = 500
"""Of the reason and of the name: they are shown in a line."""


def _one_line(ctx: click.Context, param: click.Parameter, value: str) -> str:
    text = " ".join(value.split())
    if len(text) > MAX_LENGTH or not text.isprintable():
        raise click.BadParameter(f"at most {MAX_LENGTH} printable characters, please.")
    return text


@click.command()
@_QUEUE
@_HOST
@click.option("--reason", default="", callback=_one_line, help="Why, for those who read it.")
@click.option("--as", "name", default="", callback=_one_line, help="Who pauses. [default: your user and this machine]")
def pause(queue: str | None, host: str | None, reason: str, name: str) -> None:
    """Stop archiving at once, on all machines, until: ckan archiver resume.

    No new fetch begins; what is in flight ends. Edits and commands go on putting requests, which wait, and nothing
    counts as failed. The pause outlasts restarts of workers, broker and database.
    """
    hosts = [""] if host is None else spellings(host)
    with transaction():
        is_new = pauses.pause(queue or "", hosts, name or pauses.this_user(), reason)
        found = [pause for pause in pauses.current() if pause.queue == (queue or "") and pause.host == hosts[0]]
        in_flight = pauses.in_flight(queue or "", hosts)
    for pause in found:
        click.echo(f"{pause.sentence()}." if is_new else f"Nothing changed: {pause.what} is {pause.by_whom} already.")
        if in_flight:
            fetches = "1 fetch is" if in_flight == 1 else f"{in_flight:,} fetches are"
            click.echo(f"{fetches} in flight and will end.")
        click.echo(f"To go on: ckan archiver resume{pause.options}")


@click.command()
@_QUEUE
@_HOST
@click.option("--all", "everything", is_flag=True, help="End all pauses, also those of queues and hosts.")
def resume(queue: str | None, host: str | None, everything: bool) -> None:
    """Go on after: ckan archiver pause.

    Without options it ends the pause of everything, with options the pause that was made with the same options.
    """
    if everything:
        if queue or host is not None:
            raise click.UsageError("--all ends every pause: give it alone.")
        with transaction():
            ended = pauses.resume_all()
        click.echo(f"{monitoring.counted(len(ended), 'pause')} ended." if ended else "Nothing is paused.")
        return
    hosts = [""] if host is None else spellings(host)
    with transaction():
        is_ended = pauses.resume(queue or "", hosts)
        left = pauses.current()
    if is_ended:
        click.echo("Archiving goes on." if not left else "This pause is ended.")
    else:
        click.echo("Nothing is paused." if not left else "There is no such pause.")
    for pause in left:
        click.echo(f"Still: {pause.sentence()}. To end it: ckan archiver resume{pause.options}")
    if not is_ended and left:
        raise click.exceptions.Exit(1)


commands: list[click.Command] = [pause, resume]
