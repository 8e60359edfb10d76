"""Where a file can be had while its link does not work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ckanext.archiver import config, history, links
from ckanext.archiver.engine import urls


def web_archive(url: str) -> str | None:
    """The listing of a web archive for a link, where an archive is configured. Nothing is requested from it."""
    template = config.web_archive_url()
    return template.replace("{url}", quote(urls.redact(url), safe=":/?&=%")) if template else None


def of_link(resource: dict[str, Any], archival: Mapping[str, Any]) -> str | None:
    """The absolute URL of this portal's copy, else of a web archive's listing; None for a link that works, for one that
    was edited after its last check, and without either.

    :param resource: as ``package_show`` gives it
    :param archival: columns of its row, ``source_url``, ``verdict`` and ``cache_filepath`` among them
    """
    if archival["verdict"] not in history.FAILED:
        return None
    if not links.is_about(archival["source_url"], resource):
        return None
    if archival["cache_filepath"]:
        path = f"/dataset/{archival['package_id']}/resource/{archival['resource_id']}/cached"
        return config.site_url() + path
    if resource.get("url_type") == "upload":
        return None
    return web_archive(links.shown_url(resource.get("url"), resource.get("url_type")))


def is_of_previous_url(archival: Mapping[str, Any]) -> bool:
    """Whether the copy is from before the URL was edited.

    :param archival: the columns of the row of a link with a copy, times as naive UTC or as ISO 8601
    """
    if archival.get("last_success"):
        return False
    # A doubtful file becomes the copy without a success: it is what this URL leads to.
    doubted, cached = archival.get("doubt_since"), archival.get("cached_at")
    return not (doubted and cached and cached >= doubted)
