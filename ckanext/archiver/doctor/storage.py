"""Checks of the archive directory, of who serves the copies, and of the uploads."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import ckan.plugins.toolkit as tk

from ckanext.archiver import archive_root, config, monitoring
from ckanext.archiver.archiving import uploads
from ckanext.archiver.doctor.finding import Finding, ok, problem, warning
from ckanext.archiver.doctor.network import ask_our_own
from ckanext.archiver.doctor.status import current
from ckanext.archiver.engine import reasons, store
from ckanext.archiver.engine.outcome import Cause
from ckanext.archiver.queue import sql

_COPY = """
    SELECT a.cache_filepath FROM archival a
    JOIN resource r ON r.id = a.resource_id JOIN package p ON p.id = r.package_id
    WHERE (starts_with(a.cache_filepath, :prefix) OR starts_with(a.cache_filepath, :real_prefix))
    AND p.private = :private AND p.state = 'active' AND r.state = 'active'
    ORDER BY a.updated DESC NULLS LAST LIMIT 1
"""

_SOME_COPIES = """
    WITH begin AS MATERIALIZED (SELECT md5(CAST(random() AS text)) AS id)
    (SELECT cache_filepath FROM archival WHERE cache_filepath <> '' AND resource_id >= (SELECT id FROM begin)
     ORDER BY resource_id LIMIT :some)
    UNION ALL
    (SELECT cache_filepath FROM archival WHERE cache_filepath <> '' AND resource_id < (SELECT id FROM begin)
     ORDER BY resource_id LIMIT :some)
"""
COPIES_LOOKED_AT = 50
"""How many from a random id on, and how many from the first."""


def archive() -> Iterator[Finding]:
    """Whether copies can be written."""
    directory = config.archive_dir()
    if directory is None:
        if config.mode() == "check":
            yield ok("No copies are kept (ckanext-archiver.mode = check).")
        else:
            yield warning(
                "No archive directory is set, so links are checked and no copies are kept.",
                "ckanext-archiver.archive_dir = /var/lib/ckan/archiver",
            )
        return
    path = Path(directory)
    parent = next(folder for folder in (path, *path.parents) if folder.exists())
    if parent != path and not os.access(parent, os.W_OK):
        yield problem(f"{directory} does not exist, and {parent} cannot be written to.", _make(directory))
        return
    if path.exists() and not path.is_dir():
        yield problem(f"{directory} is not a directory.", f"Move the file away, then: {_make(directory)}")
        return
    if other := archive_root.other_portal(directory):
        yield problem(archive_root.belongs_to(directory, other), "Give each portal a directory of its own.")
    if not archive_root.is_mounted(directory):
        yield problem(
            f"{directory} has none of the copies that were kept there: its file system is not mounted.",
            f"mount {directory}, or where the copies are lost: ckan archiver init",
        )
        return
    if not path.exists():
        yield warning(
            f"The archive directory {directory} does not exist yet. The first worker makes it, if it may.",
            _make(directory),
            lambda: path.mkdir(parents=True),
        )
        yield from _elsewhere(directory)
        return
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".doctor-"):
            pass
    except OSError as e:
        remedy = f"chown -R {archive_root.owner(directory)}: {directory}"
        if e.errno == errno.EROFS:
            remedy = f"Mount its file system for writing: mount -o remount,rw {_mount_point(path)}"
        yield problem(f"Nothing can be written to {directory}: {e.strerror}.", remedy)
        return
    yield from _elsewhere(directory)
    yield from _room(path)


def _make(directory: str) -> str:
    return f"install -d -o {archive_root.owner(directory)} {directory}"


def _mount_point(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_mount())


def _elsewhere(directory: str) -> Iterator[Finding]:
    """Copies that are recorded in another directory: the option was changed, and they were not moved."""
    found = sql.run(
        "SELECT count(*) AS copies, min(cache_filepath) AS one FROM archival "
        "WHERE cache_filepath <> '' AND NOT starts_with(cache_filepath, :prefix) "
        "AND NOT starts_with(cache_filepath, :real_prefix)",
        **archive_root.prefixes(directory),
    ).one()
    if found.copies:
        yield problem(
            f"{'1 copy is' if found.copies == 1 else f'{found.copies:,} copies are'} recorded outside of "
            f"ckanext-archiver.archive_dir ({directory}), such as {found.one}: readers get none of them.",
            'Move them: "Move the archive" in the documentation; or set the option back.',
        )


def _room(path: Path) -> Iterator[Finding]:
    free, needed = store.free_bytes(path), config.min_free_bytes()
    if free < needed:
        yield problem(
            f"The disk of {path} has {free:,} bytes free, less than ckanext-archiver.min_free_bytes ({needed:,}): "
            "nothing is downloaded.",
            "Make room: ckan archiver delete-orphans, move ckanext-archiver.archive_dir to a larger disk, or lower "
            "ckanext-archiver.min_free_bytes.",
        )
    elif free < 2 * needed:
        yield warning(f"The disk of {path} will soon be full: {free:,} bytes are free.", "ckan archiver size-report")
    else:
        yield ok(f"Copies can be written to {path}; {free:,} bytes are free.")
    spool = path / ".tmp"
    if spool.exists() and os.stat(spool).st_dev != os.stat(path).st_dev:
        yield problem(
            f"{spool} is on another file system than {path}: files cannot be moved into place in one step.",
            f"Unmount {spool}; it belongs beside the copies.",
        )


def serving() -> Iterator[Finding]:
    """Whether ``cache_url_root`` serves the copies of public datasets, and those only."""
    root = config.cache_url_root()
    if root is None:
        yield ok("CKAN serves the copies itself, to those who may read the dataset.")
        yield from _still_published()
        return
    public, private = (_published(root, private=private) for private in (False, True))
    if public is None:
        yield ok(f"There is no copy yet by which {root} could be tried.")
    else:
        outcome = ask_our_own(public)
        if outcome.cause is not Cause.OK:
            yield problem(
                f"{public} is a copy, and is not served: {reasons.reason(outcome.detail, outcome.facts)}",
                f"Have the web server publish {config.archive_dir()} at {root}.",
            )
        else:
            yield ok(f"{root} serves the copies.")
    if private is not None and ask_our_own(private).cause is Cause.OK:
        yield problem(
            f"{root} serves copies of private datasets to everybody: {private}",
            "Remove ckanext-archiver.cache_url_root, and the location in the web server: CKAN then serves copies to "
            "those who may read the dataset.",
        )


def _still_published() -> Iterator[Finding]:
    """Whether a web server goes on with what an earlier ``cache_url_root`` said."""
    before = "SELECT coalesce(nullif(value->>'root', ''), value->>'root_before') FROM archiver_state"
    root = sql.run(f"{before} WHERE key = 'cache_urls'").scalar()
    private = _published(root, private=True) if root else None
    if private is not None and ask_our_own(private).cause is Cause.OK:
        yield problem(
            f"The web server serves copies of private datasets to everybody: {private}",
            f"Remove the location in the web server that publishes the archive at {root}.",
        )


def _published(root: str, *, private: bool) -> str | None:
    """The URL that a copy should have, by the options as they are now."""
    prefixes = archive_root.prefixes(config.archive_dir() or "")
    path = sql.run(_COPY, private=private, **prefixes).scalar()
    for prefix in prefixes.values():
        path = path and path.removeprefix(prefix)
    return f"{root}/{quote(path)}" if path else None


def uploaded_files() -> Iterator[Finding]:
    """Whether a worker can read uploads."""
    row = sql.run(
        "SELECT r.id, r.url FROM resource r JOIN package p ON p.id = r.package_id WHERE r.url_type = 'upload' "
        "AND r.state = 'active' AND p.state = 'active' AND NOT p.private ORDER BY r.created DESC LIMIT 1"
    ).first()
    if row is None:
        yield ok("There are no uploads.")
        return
    limits = replace(config.limits(), total_timeout=10)
    outcome = uploads.fetch(row.id, row.url, None, limits, check_only=True)
    if outcome.cause in (Cause.OK, Cause.TOO_LARGE):
        yield ok("Uploads can be read.")
    else:
        storage = tk.config.get("ckan.storage_path")
        where = f"ckan.storage_path is {storage}" if storage else "ckan.storage_path is not set"
        yield problem(
            f"The upload of resource {row.id} cannot be read here ({where}): "
            f"{reasons.reason(outcome.detail, outcome.facts)}",
            "The workers need the web server's ckan.storage_path, mounted here and readable by their user.",
        )


def unused_space() -> Iterator[Finding]:
    """How much the copies take."""
    disk = current()["disk"]
    for name in disk["full_quotas"]:
        option = "quota_bytes_per_organization" if name else "quota_bytes"
        yield warning(
            f"The copies of {f'organization {name}' if name else 'this portal'} have reached "
            f"ckanext-archiver.{option}: links without a copy are checked only.",
            f"Raise ckanext-archiver.{option}, or see what takes the room: ckan archiver size-report --by host",
        )
    yield from _missing_copies()
    yield ok(f"{disk['copies']:,} copies take {disk['used_bytes']:,} bytes.")


def _missing_copies() -> Iterator[Finding]:
    """Whether recorded copies are on the disk, by some of them: that of a million would take long."""
    if not config.archive_dir() or not archive_root.is_mounted(config.archive_dir() or ""):
        return
    paths = sql.run(_SOME_COPIES, some=COPIES_LOOKED_AT).scalars().all()
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        yield warning(
            f"{monitoring.counted(len(missing), 'file')} of {len(paths):,} copies that were looked for "
            f"{'is' if len(missing) == 1 else 'are'} missing on this machine's disk, such as {missing[0]}.",
            "ckan archiver report-orphans counts them; ckan archiver update downloads them again.",
        )


CHECKS = {"archive": archive, "copies": unused_space, "serving": serving, "uploads": uploaded_files}
