"""Options of the archive and of the pages."""

from __future__ import annotations

import os
import re

from ckanext.archiver.errors import ConfigError
from ckanext.archiver.options import MAX_BYTES, PREFIX, boolean, choice, integer, option, scheme, text

MODES = ("archive", "check")
OVERRIDE_KINDS = ("dataset", "organization", "host", "format")


@option
def archive_dir() -> str | None:
    """Absolute path of the directory of cached copies; None when none is configured."""
    path = text("archive_dir")
    if not path:
        storage = text("ckan.storage_path")
        path = os.path.join(storage, "archiver") if storage else ""
    if not path:
        return None
    if not os.path.isabs(path) or "\0" in path:
        raise ConfigError(f"{PREFIX}archive_dir must be an absolute path, not {path!r}.")
    return path


@option
def cache_url_root() -> str | None:
    """URL at which the web server publishes the archive, without a trailing slash; None when CKAN serves the copies."""
    root = text("cache_url_root").rstrip("/")
    if root and scheme(root) not in ("http", "https"):
        raise ConfigError(f"{PREFIX}cache_url_root must start with http:// or https://, not {root!r}.")
    return root or None


def web_archive_url() -> str:
    """The URL of a web archive's listing for a link, with ``{url}`` for the link; empty when none is configured."""
    template = text("web_archive_url")
    if template and (scheme(template) not in ("http", "https") or "{url}" not in template):
        raise ConfigError(
            f"{PREFIX}web_archive_url must start with http:// or https:// and contain {{url}}, not {template!r}."
        )
    return template


def send_files() -> str:
    """How cached copies are sent: empty for CKAN itself, "x-sendfile", or the path of an internal location of nginx."""
    way = text("send_files")
    if way and way != "x-sendfile" and not re.fullmatch(r"/[!-~]*", way):
        raise ConfigError(
            f'{PREFIX}send_files must be x-sendfile or the path of an internal location, such as "/archiver-copies/", '
            f"not {way!r}."
        )
    return way


def report_link() -> bool:
    """Whether every page's footer links to the Broken Links report."""
    return boolean("report_link")


@option
def min_free_bytes() -> int:
    """Free bytes on the archive's disk below which nothing is downloaded."""
    return integer("min_free_bytes", 0, MAX_BYTES)


@option
def orphan_grace_days() -> int:
    """Days for which the copy of a deleted resource is kept."""
    return integer("orphan_grace_days", 0, 36_500)


@option
def quota_bytes() -> int:
    """Bytes that all copies together may take; 0 for no limit."""
    return integer("quota_bytes", 0, MAX_BYTES)


@option
def quota_bytes_per_organization() -> int:
    """Bytes that the copies of one organization may take; 0 for no limit."""
    return integer("quota_bytes_per_organization", 0, MAX_BYTES)


@option
def mode() -> str:
    """Either "archive" or "check"."""
    return choice("mode", MODES)


@option
def mode_overrides() -> dict[tuple[str, str], str]:
    """``{(kind, lower-case name): mode}``; kinds are those of ``OVERRIDE_KINDS``."""
    overrides = {}
    for word in text("mode_overrides").split():
        what, equals, value = word.rpartition("=")
        kind, colon, name = what.partition(":")
        if not (equals and colon and name) or kind not in OVERRIDE_KINDS or value not in MODES:
            raise ConfigError(
                f"{PREFIX}mode_overrides must be words like format:geotiff=check "
                f"(dataset, organization, host or format; archive or check), not {word!r}."
            )
        overrides[kind, name.lower()] = value
    return overrides


def mode_for(*, dataset: str, organization: str, host: str, format: str) -> str:
    """The mode for one resource, with overrides."""
    overrides = mode_overrides()
    names = {"dataset": dataset, "organization": organization, "host": host, "format": format}
    found = (overrides.get((kind, (names[kind] or "").lower())) for kind in OVERRIDE_KINDS)
    return next(filter(None, found), None) or mode()
