"""The link of a resource is what CKAN shows: one rule, in Python and as SQL.

``package_show`` puts ``http://`` before a URL without a scheme, so that is the link which people click and which is
archived. An upload is a file of the portal itself (its ``url`` is a file name), and so is a table of the DataStore or
of Table Designer. A resource without a URL has no link, and nothing about it is broken.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Any

DATASTORE_TYPES = ("datastore", "tabledesigner")
"""Values of ``url_type`` of resources whose data is in the DataStore only."""

DATASTORE_ONLY = "_datastore_only_resource"
"""The ``url`` that CKAN gives a resource which ``datastore_create`` made, before its ``url_type`` is set."""


class Kind(str, enum.Enum):
    """Where the data of a resource is."""

    LINK = "link"
    """Behind a URL."""
    UPLOAD = "upload"
    """In this portal's file storage."""
    DATASTORE = "datastore"
    """In this portal's DataStore: there is no link to archive."""
    NONE = "none"
    """Nowhere: the resource has no URL."""

    __str__ = str.__str__


def kind(url: str | None, url_type: str | None) -> Kind:
    """Where the data of a resource is.

    :param url: as the resource table or ``package_show`` has it
    """
    if url_type == "upload":
        return Kind.UPLOAD
    if url_type in DATASTORE_TYPES or (url or "").endswith(DATASTORE_ONLY):
        return Kind.DATASTORE
    return Kind.LINK if (url or "").strip() else Kind.NONE


def has_link(url: str | None, url_type: str | None) -> bool:
    """Whether there is anything to archive: a link or an upload."""
    return kind(url, url_type) in (Kind.LINK, Kind.UPLOAD)


def shown_url(url: str | None, url_type: str | None = None) -> str:
    """The link as ``package_show`` gives it; the file name of an upload; empty where there is neither.

    :param url: as the resource table has it
    """
    of = kind(url, url_type)
    if of is Kind.UPLOAD:
        return url or ""
    if of is not Kind.LINK or not url:
        return ""
    return url if has_scheme(url) else "http://" + url.lstrip("/")


def has_scheme(url: str) -> bool:
    """Whether CKAN shows a URL as it is."""
    return bool(re.match(r"\s*[a-z][a-z0-9+.-]*:", url, re.IGNORECASE))


def is_about(source_url: str | None, resource: dict[str, Any], *, redact: Callable[[str], str] = str) -> bool:
    """Whether an archival's ``source_url`` is the link of a resource.

    :param source_url: as it is, or redacted
    :param resource: as ``package_show`` gives it, where an upload's URL is the one to download it
    :param redact: what was done to the source URL where it is redacted
    """
    if not source_url or resource.get("url_type") == "upload":
        return True
    url = shown_url(resource.get("url"), resource.get("url_type"))
    return source_url in (url, redact(url))


# -- as SQL --------------------------------------------------------------------------------------------------


def has_link_sql(table: str = "r") -> str:
    """:func:`has_link` as a condition over the table ``resource``, under its alias."""
    types = ", ".join(f"'{type_}'" for type_ in DATASTORE_TYPES)
    return f"""(
        coalesce({table}.url_type, '') = 'upload' OR (
            btrim(coalesce({table}.url, '')) <> '' AND coalesce({table}.url_type, '') NOT IN ({types})
            AND right({table}.url, {len(DATASTORE_ONLY)}) <> '{DATASTORE_ONLY}'))"""


HAS_LINK_SQL = has_link_sql()
"""Whether the resource ``r`` has a link or is an upload."""

URL_SQL = r"""
    CASE WHEN r.url_type = 'upload' OR coalesce(r.url, '') = '' OR r.url ~* '^\s*[a-z][a-z0-9+.-]*:'
    THEN coalesce(r.url, '') ELSE 'http://' || ltrim(r.url, '/') END
"""
"""The link of the resource ``r``: :func:`shown_url`."""


def host_sql(url: str) -> str:
    """SQL: the lower-case host of a URL; empty where it has none.

    No host name has more than 253 characters, and an index does not take a value of any length.

    :param url: an SQL expression
    """
    return rf"""
        left(coalesce(rtrim(substring(lower({url}) from
        '^\s*[a-z][a-z0-9+.-]*:[/\\]*(?:[^/?#\\]*@)?(\[[^]/?#]*\]|[^]:/?#\\\s[]*)(?=[:/?#\\]|\s*$)'), '.'), ''), 255)
    """
