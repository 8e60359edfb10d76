"""Whether the archive directory is the one that holds the copies, or an empty mount point.

``ckan archiver init`` puts a sentinel file into it. Where that is missing although copies are recorded in the
directory, and none of them is there either (a release before 3.0 left no sentinel), the file system is not mounted:
nothing must be written below the mount point.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import time
from pathlib import Path

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import config, tables

log = logging.getLogger(__name__)

SENTINEL = ".ckanext-archiver"
TEXT = "ckanext-archiver looks for this file to know that the archive is mounted. Do not remove it.\n"

OF_PORTAL = "Portal: "
"""In the sentinel, before the id and the address of the portal."""

CHECK_SECONDS = 1.0
_checked: dict[str, tuple[float, tuple[int, int] | None, bool]] = {}
"""By directory: when it was checked, which directory it was on which disk, and whether it was mounted."""

# A few of the recorded copies say whether the directory is theirs.
_RECORDED = """
    SELECT cache_filepath FROM archival
    WHERE starts_with(cache_filepath, :prefix) OR starts_with(cache_filepath, :real_prefix) LIMIT 20
"""


def make(archive_dir: str) -> None:
    """Make the directory, and its sentinel, where they are missing: for an archive that is mounted, or new.

    :raises OSError: the disk is full or broken
    """
    Path(archive_dir).mkdir(parents=True, exist_ok=True)
    # Two processes may do this at the same time.
    temporary = Path(archive_dir, f"{SENTINEL}.{os.getpid()}")
    temporary.write_text(f"{TEXT}{OF_PORTAL}{_portal()} {config.site_url()}\n")
    temporary.replace(Path(archive_dir, SENTINEL))
    _checked.pop(archive_dir, None)


def other_portal(archive_dir: str) -> str | None:
    """The address of the portal that the sentinel names, where that is another one; in a transaction of its own."""
    try:
        text = Path(archive_dir, SENTINEL).read_text(errors="replace")
    except OSError:
        return None
    portal, _, site_url = text.partition(OF_PORTAL)[2].strip().partition(" ")
    # One that has got another id is known by its address.
    return site_url if portal and site_url != config.site_url() and portal != _portal() else None


def belongs_to(archive_dir: str, other: str) -> str:
    """The sentence that says so."""
    return (
        f"{archive_dir} is the archive of another portal ({other}). If it is this portal's, remove "
        f"{Path(archive_dir, SENTINEL)} and run: ckan archiver init"
    )


def _portal() -> str:
    with model.meta.engine.begin() as connection:
        return tables.portal_id(connection)


def is_mounted(archive_dir: str) -> bool:
    """Whether copies may be written below the directory; in a transaction of its own.

    A second old at most. Where something was mounted or unmounted since, it is found out anew: a busy worker writes
    many files in a second.
    """
    place = _place(archive_dir)
    checked_at, checked_place, was_mounted = _checked.get(archive_dir, (float("-inf"), None, True))
    if place == checked_place and time.monotonic() - checked_at <= CHECK_SECONDS:
        return was_mounted
    result = has_sentinel(archive_dir)
    if not result:
        result = not lacks_its_copies(archive_dir)
        model.Session.rollback()
    if was_mounted and not result:
        log.error("None of the recorded copies is in %s: is it mounted? Nothing is downloaded", archive_dir)
    _checked[archive_dir] = time.monotonic(), place, result
    return result


def _place(archive_dir: str) -> tuple[int, int] | None:
    """The disk and the number of the directory: others when something is mounted there."""
    try:
        status = os.stat(archive_dir)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def owner(archive_dir: str | None) -> str:
    """The user that the directory belongs to, unless that is root; else the user of CKAN's own packages."""
    with contextlib.suppress(OSError, KeyError):
        uid = os.stat(archive_dir).st_uid if archive_dir else 0
        if uid:
            return pwd.getpwuid(uid).pw_name
    return "www-data"


def is_read_only(archive_dir: str) -> bool:
    """Whether the directory is on a file system that is mounted read-only."""
    return os.path.isdir(archive_dir) and bool(os.statvfs(archive_dir).f_flag & os.ST_RDONLY)


def has_sentinel(archive_dir: str) -> bool:
    """Whether the sentinel is there."""
    return os.path.exists(os.path.join(archive_dir, SENTINEL))


def lacks_its_copies(archive_dir: str) -> bool:
    """Whether copies are recorded in the directory and none of a few of them is there; in the caller's transaction."""
    paths = model.Session.connection().execute(sa.text(_RECORDED), prefixes(archive_dir)).scalars().all()
    return bool(paths) and not any(os.path.exists(path) for path in paths)


def prefixes(archive_dir: str) -> dict[str, str]:
    """What the path of a copy in the directory begins with: as the option spells it, and without symbolic links."""
    real = os.path.realpath(archive_dir)
    return {"prefix": archive_dir.rstrip("/") + "/", "real_prefix": real.rstrip("/") + "/"}


def holds(archive_dir: str, path: str) -> bool:
    """Whether a recorded copy is in the directory, by its path."""
    return path.startswith(tuple(prefixes(archive_dir).values()))
