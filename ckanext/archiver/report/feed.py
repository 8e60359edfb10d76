"""An Atom feed (RFC 4287) of links that broke and links that were repaired."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model

from ckanext.archiver import advice, clock, links
from ckanext.archiver.engine import urls
from ckanext.archiver.report import listing, reader, xlsx
from ckanext.archiver.report.filters import ANY, LinkFilter

ENTRIES = 50


@dataclass(frozen=True)
class Entry:
    """A link that broke or works again.

    :ivar at: aware
    """

    is_broken: bool
    at: datetime.datetime
    resource_id: str
    resource_name: str
    package_name: str
    package_title: str
    url: str
    cause: str
    reason: str


_COLUMNS = f"""
    r.id AS resource_id, coalesce(r.name, '') AS resource_name, p.id AS package_id, p.name AS package_name,
    coalesce(nullif(p.title, ''), p.name) AS package_title, {links.URL_SQL} AS url, coalesce(a.cause, '') AS cause,
    coalesce(a.reason, '') AS reason
"""


def entries(wanted: LinkFilter, who: reader.Reader) -> list[Entry]:
    """The newest events of the links that a filter selects; their state now does not count.

    :raises ObjectNotFound: if there is no such organization
    """
    selected = listing.query(replace(wanted, verdict=ANY, sort=None, cause=""), who, of_checked=True)
    # As the overview counts them.
    selected.conditions.append("s.resource_id IS NULL")
    if wanted.cause:
        selected.params["cause"] = wanted.cause
    broke = "a.is_broken AND a.broken_since IS NOT NULL" + (" AND a.cause = :cause" if wanted.cause else "")
    parts = " UNION ALL ".join(
        f"(SELECT {value} AS is_broken, a.{at} AS at, {_COLUMNS} {selected.sql()} AND {condition}"
        f" ORDER BY a.{at} DESC LIMIT :entries)"
        for value, at, condition in (
            ("true", "broken_since", broke),
            ("false", "repaired_at", "a.repaired_at IS NOT NULL"),
        )
    )  # noqa: S608 - constants only
    rows = (
        model.Session.connection()
        .execute(sa.text(f"{parts} ORDER BY at DESC LIMIT :entries"), {**selected.params, "entries": ENTRIES})
        .mappings()
        .all()
    )
    return [_entry(row) for row in listing.allowed(rows, who)]


def _entry(row: Any) -> Entry:
    values = {key: row[key] for key in row if key != "package_id"}
    return Entry(**{**values, "at": row["at"].replace(tzinfo=datetime.timezone.utc), "url": urls.redact(row["url"])})


def atom(events: list[Entry], page: str, itself: str) -> str:
    """The feed.

    :param page: URL of the page with the same filter
    :param itself: URL of the feed
    """
    updated = events[0].at if events else clock.utc().replace(hour=0, minute=0, second=0, microsecond=0)
    site = tk.config.get("ckan.site_title") or "CKAN"
    title = tk._("Broken and repaired links: {site}").format(site=site)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">'
        f"<id>{_text(itself)}</id><title>{_text(title)}</title><updated>{updated.isoformat()}</updated>"
        f"<author><name>{_text(site)}</name></author>"
        f'<link rel="self" type="application/atom+xml" href={quoteattr(itself)}/>'
        f'<link rel="alternate" type="text/html" href={quoteattr(page)}/>{"".join(map(_entry_xml, events))}</feed>'
    )


def _entry_xml(event: Entry) -> str:
    page = tk.url_for("resource.read", id=event.package_name, resource_id=event.resource_id, _external=True)
    sentence = tk._("Broken: {link}") if event.is_broken else tk._("Works again: {link}")
    resource = event.resource_name or tk._("Unnamed resource")
    name = f"{event.package_title} › {resource}"
    kind = "broken" if event.is_broken else "repaired"
    words = [event.url]
    if event.is_broken:
        words = [f"{advice.name(event.cause)}. {event.reason}", event.url]
    return (
        f"<entry><id>{_text(page)}#{kind}-{event.at:%Y%m%dT%H%M%SZ}</id><title>{_text(sentence.format(link=name))}</title>"
        f'<updated>{event.at.isoformat()}</updated><link rel="alternate" type="text/html" href={quoteattr(page)}/>'
        f'<category term="{kind}"/><summary>{_text(" ".join(words))}</summary></entry>'
    )


def _text(text: str) -> str:
    return escape(xlsx.ILLEGAL.sub("\ufffd", text))
