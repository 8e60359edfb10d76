"""The maintenance commands. Those that delete or forget ask first; ``--yes`` answers in advance."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from ckanext.archiver import archive_root, config, maintenance
from ckanext.archiver.legacy import task_status

YES = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


@click.command("clean-status")
@YES
def clean_status(yes: bool) -> None:
    """Forget the state and history of all links. The cached copies stay on disk (see delete-orphans)."""
    _ask("Forget the state and history of all links?", yes)
    click.echo(f"{maintenance.clean_status():,} links forgotten.")


@click.command("clean-cached-resources")
@YES
def clean_cached_resources(yes: bool) -> None:
    """Forget all cached copies. The files stay on disk (see delete-orphans)."""
    count = maintenance.count_cached()
    _ask(f"Forget {count:,} cached copies?", yes)
    done = 0
    with click.progressbar(length=count, label="Forgetting", show_pos=True) as bar:
        for step in maintenance.clean_cached_resources():
            done += step
            bar.update(step)
    click.echo(f"{done:,} cached copies forgotten.")


@click.command("size-report")
@click.option(
    "--by",
    "group",
    type=click.Choice(("size", *maintenance.GROUPS)),
    default="size",
    show_default=True,
    help="What to sum up by.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def size_report(group: str, as_json: bool) -> None:
    """Sum up the cached copies by size, or by the organization, format or host that takes most."""
    classes = maintenance.size_report() if group == "size" else maintenance.sizes_by(group)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(size_class) for size_class in classes]))
        return
    title = "file size" if group == "size" else group
    labels = [size_class.label or f"(no {group})" for size_class in classes]
    width = max(15, *map(len, labels)) if labels else 15
    click.echo(f"{title:>{width}}{'no. files':>12}{'files size (bytes)':>22}")
    for label, size_class in zip(labels, classes, strict=True):
        click.echo(f"{label:>{width}}{size_class.files:>12,}{size_class.bytes:>22,}")
    files = sum(size_class.files for size_class in classes)
    bytes_ = sum(size_class.bytes for size_class in classes)
    click.echo(f"{'Totals':>{width}}{files:>12,}{bytes_:>22,}")


@click.command("delete-files-larger-than-max-content-length")
@YES
def delete_files_larger_than_max_content_length(yes: bool) -> None:
    """Delete the cached copies that are larger than ckanext-archiver.max_content_length."""
    limit, root = config.limits().max_content_length, _archive_dir()
    count, bytes_ = maintenance.larger_than(limit)
    click.echo(f"{count:,} cached copies are larger than {limit:,} bytes: {bytes_:,} bytes in total.")
    if not count:
        return
    _ask("Delete them?", yes)
    _run(maintenance.delete_larger_than(limit, root), count, "Deleting", "deleted")


@click.command("migrate-archive-dirs")
def migrate_archive_dirs() -> None:
    """Move cached copies from <resource id>/, the layout of early releases, to <its first two letters>/<resource id>/.

    On a portal that ran release 0.1, run migrate-task-status first.
    """
    root = _archive_dir()
    count = maintenance.count_old_dirs(root)
    _run(maintenance.migrate_archive_dirs(root), count, "Moving", "moved")


@click.command("delete-orphans")
@click.argument("outputfile", required=False, type=click.Path(dir_okay=False, writable=True))
@click.option("--dry-run", is_flag=True, help="Only count.")
@YES
def delete_orphans(outputfile: str | None, dry_run: bool, yes: bool) -> None:
    """Delete files in the archive that no link has as its cached copy.

    Files younger than a day stay, and so does everything outside the layout of cached copies. OUTPUTFILE receives a
    list as CSV: these files, and the links whose cached copy is not on this machine's disk.
    """
    root = _archive_dir()
    if other := archive_root.other_portal(str(root)):
        raise click.ClickException(archive_root.belongs_to(str(root), other))
    if outputfile:
        _write_problems(outputfile, root)
    count = bytes_ = 0
    with _search_progress() as on_progress:
        for orphan in maintenance.orphans(root, on_progress):
            count += 1
            bytes_ += orphan.bytes
    click.echo(f"{count:,} files of no link: {bytes_:,} bytes in total.")
    if dry_run or not count:
        return
    _ask("Delete them?", yes)
    _run(maintenance.delete_orphans(root), count, "Deleting", "deleted")


@click.command("report-orphans")
@click.argument("outputfile", required=False, type=click.Path(dir_okay=False, writable=True))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report_orphans(outputfile: str | None, as_json: bool) -> None:
    """Count what delete-orphans would delete, and what does not fit otherwise. Nothing is changed.

    Counted are files that no link has as its cached copy, links whose cached copy is not on this machine's disk, and
    cached copies of deleted resources, which go after ckanext-archiver.orphan_grace_days. OUTPUTFILE receives the first
    two as CSV.
    """
    root = _archive_dir()
    if outputfile:
        _write_problems(outputfile, root, quiet=as_json)
    files = bytes_ = 0
    with _search_progress() as on_progress:
        for orphan in maintenance.orphans(root, on_progress):
            files += 1
            bytes_ += orphan.bytes
    missing = sum(1 for _ in maintenance.missing_copies())
    deleted, deleted_bytes = maintenance.copies_of_deleted()
    if as_json:
        found = {
            "orphans": {"files": files, "bytes": bytes_},
            "missing": missing,
            "of_deleted_resources": {"files": deleted, "bytes": deleted_bytes},
        }
        click.echo(json.dumps(found))
        return
    click.echo(f"{files:,} files of no link: {bytes_:,} bytes in total.")
    click.echo(f"{missing:,} links whose cached copy is not on this machine's disk.")
    click.echo(
        f"{deleted:,} cached copies of deleted resources: {deleted_bytes:,} bytes in total. "
        f"Workers remove them {config.orphan_grace_days():,} days after the deletion."
    )


@click.command("migrate-task-status")
@click.option("--write", is_flag=True, help="Write. Without it, only count.")
def migrate_task_status(write: bool) -> None:
    """Copy what release 0.1 knew (task_status and resource extras) into the table archival."""
    total: Counter[str] = Counter()
    with click.progressbar(length=task_status.count(), label="Resources", show_pos=True) as bar:
        for outcomes in task_status.migrate(write):
            total += outcomes
            bar.update(sum(outcomes.values()))
    for outcome, count in total.most_common():
        click.echo(f"{count:>10,}  {outcome}")
    click.echo("Written." if write else "Nothing was written. Run it with --write to write.")


commands: list[click.Command] = [
    clean_status,
    clean_cached_resources,
    size_report,
    delete_files_larger_than_max_content_length,
    migrate_archive_dirs,
    report_orphans,
    delete_orphans,
    migrate_task_status,
]


def _ask(question: str, yes: bool) -> None:
    if yes:
        return
    try:
        click.confirm(question, abort=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        # A line in a crontab, from a release that did not ask.
        raise click.ClickException("Nothing was done. Without a terminal to ask on, give --yes.") from None


@contextlib.contextmanager
def _search_progress() -> Iterator[Callable[[int], object]]:
    """Show on a terminal how many files were examined; about as many are expected as there are known copies."""
    if not sys.stderr.isatty():
        yield int
        return
    copies = maintenance.count_cached()
    with click.progressbar(length=copies, label="Searching", show_pos=True, file=sys.stderr) as bar:
        yield bar.update


def _archive_dir() -> Path:
    path = config.archive_dir()
    if path is None:
        raise click.ClickException("ckanext-archiver.archive_dir is not set, so there are no cached copies.")
    if not Path(path).is_dir():
        raise click.ClickException(
            f"There is no directory {path}, the directory named by ckanext-archiver.archive_dir."
        )
    return Path(path)


def _run(steps: Iterable[maintenance.Step], count: int, label: str, done: str) -> None:
    """Show progress, then every problem; the exit code is 1 if there is one."""
    problems, succeeded = [], 0
    with click.progressbar(length=count, label=label, show_pos=True) as bar:
        for step in steps:
            bar.update(1)
            if step.problem:
                problems.append(step)
            else:
                succeeded += 1
    for step in problems:
        click.secho(f"{step.path}: {step.problem}", fg="red", err=True)
    click.echo(f"{succeeded:,} {done}.")
    if problems:
        raise click.exceptions.Exit(1)


def _write_problems(outputfile: str, root: Path, *, quiet: bool = False) -> None:
    with open(outputfile, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Resource ID", "Filepath", "Problem"])
        for orphan in maintenance.orphans(root):
            writer.writerow([orphan.resource_id, orphan.path, "This file is not the cached copy of any link."])
        for step in maintenance.missing_copies():
            writer.writerow([step.resource_id, step.path, step.problem])
    if not quiet:
        click.echo(f"The list is in {outputfile}.")
