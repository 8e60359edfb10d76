"""The groups ``ckan archiver`` and ``ckan celeryd2``, and the commands that set up tables and run workers."""

from __future__ import annotations

import logging

import click
from alembic.util.exc import CommandError

from ckanext.archiver import archive_root, config
from ckanext.archiver.cli import celery_options, check, doctor, errors, hosts, links, maintenance, pauses, queue
from ckanext.archiver.model import look_at_tables


@click.group(cls=errors.Group, short_help="Check and archive the links of resources.")
def archiver() -> None:
    """Check and archive the links of resources."""


for _module in (links, check, queue, pauses, hosts, maintenance, doctor):
    for _command in _module.commands:
        archiver.add_command(_command)


@archiver.command()
def init() -> None:
    """Create the tables, or bring them up to date, and mark the archive directory as mounted. Safe to repeat."""
    _upgrade()
    archive_dir = config.archive_dir()
    if archive_dir is not None:
        if other := archive_root.other_portal(archive_dir):
            raise click.ClickException(archive_root.belongs_to(archive_dir, other))
        try:
            archive_root.make(archive_dir)
        except OSError as e:
            raise click.ClickException(f"The archive directory cannot be used: {e}") from e


@archiver.command()
def migrate() -> None:
    """Bring the tables of an older release up to date."""
    _upgrade()


def _upgrade() -> None:
    # Imported here: it loads Alembic's environment and CKAN's web application, which no other command needs.
    from ckan.cli.db import _run_migrations

    try:
        _run_migrations("archiver", None)
    except (CommandError, RuntimeError) as e:
        # The tables are of a newer release than this one, or this machine's time zone cannot be read.
        raise click.ClickException(str(e)) from e
    click.echo("The tables of the archiver are up to date.")


@archiver.command("update-test", hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def update_test(words: tuple[str, ...]) -> None:
    """A command of older releases, which archived in its own process."""
    raise click.UsageError(
        "update-test is gone. To see what the archiver says of a link: ckan archiver check URL. To archive a dataset "
        "or resource at once: ckan archiver update NAME --wait"
    )


@archiver.command()
@click.option("--queue", type=click.Choice([*queue.NAMES, "all"]), default="all", show_default=True)
@click.option(
    "--concurrency", type=click.IntRange(1, 10_000), help="Archivals at a time. [default: 16, with prefork 2]"
)
@click.option("--pool", type=click.Choice(["threads", "prefork"]), default="threads", show_default=True)
@click.pass_context
def worker(ctx: click.Context, queue: str, concurrency: int | None, pool: str) -> None:
    """Run a worker until it receives TERM. With --queue all, one process for each queue."""
    _run_worker(ctx, queue, concurrency, pool)


def _run_worker(ctx: click.Context, queue: str, concurrency: int | None, pool: str) -> None:
    # Imported here: only a worker needs Celery, and the plugin imports this module in every web process.
    from ckanext.archiver import ckan_context
    from ckanext.archiver.worker import run

    ckan_context.use(ctx.meta["flask_app"])
    config.check()
    look_at_tables()
    ctx.exit(run.run(queue, concurrency, pool))


@click.group(cls=errors.Group, short_help="Run the archiver's workers (as in older releases).")
def celeryd2() -> None:
    """Run the archiver's workers. The same as: ckan archiver worker --queue ..."""


@celeryd2.command("run")
@click.argument("queue", type=click.Choice(["all", *queue.NAMES]), default="all")
@click.option("-c", "--concurrency", type=click.IntRange(1, 10_000), help="Archivals at a time. [default: 16]")
@celery_options.celery_options
@click.pass_context
def celeryd2_run(ctx: click.Context, queue: str, concurrency: int | None) -> None:
    """Run a worker for QUEUE: all, priority or bulk. Options of Celery's worker command are accepted."""
    level = celery_options.log_level(ctx)
    if level is not None:
        if not isinstance(logging.getLevelName(level), int):
            raise click.BadParameter(f"{level!r} is not a level such as INFO.", param_hint="--loglevel")
        logging.getLogger("ckanext.archiver").setLevel(level)
    _run_worker(ctx, queue, concurrency, "threads")
