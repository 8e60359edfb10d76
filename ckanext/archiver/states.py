"""The state of links, for pages and the API: one statement reads archivals, open requests and waiting hosts together.

Read one after the other, a run that ends in between would be in neither: its archival not yet, its request no longer.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import clock, history, links, tables
from ckanext.archiver.engine import urls
from ckanext.archiver.engine.outcome import Verdict
from ckanext.archiver.links import Kind
from ckanext.archiver.model import Archival, ArchivalCheck, broken_printable, status_text
from ckanext.archiver.queue_tables import ArchiverHost, ArchiverRequest
from ckanext.archiver.report_tables import ArchiverSnooze
from ckanext.archiver.worst_link import verdict_of

Row = Mapping[str, Any]

_ARCHIVAL, _REQUEST, _HOST = Archival.__table__, ArchiverRequest.__table__, ArchiverHost.__table__
_RESOURCE, _SNOOZE = model.Resource.__table__, ArchiverSnooze.__table__

SHOWN_COLUMNS = (
    "resource_timestamp",
    "status_id",
    "is_broken",
    "reason",
    "url_redirected_to",
    "cache_filepath",
    "cache_url",
    "size",
    "mimetype",
    "hash",
    "etag",
    "last_modified",
    "first_failure",
    "last_success",
    "failure_count",
    "created",
    "updated",
    "verdict",
)
"""The columns that package_show has: those of older releases, and the verdict. archiver_resource_show has all."""

SYSADMIN_COLUMNS = ("cache_filepath",)
"""Paths on the server, which only sysadmins are shown."""

OLD_TIMES = ("resource_timestamp", "first_failure", "last_success", "created", "updated")
"""Times of older releases: naive, as CKAN writes its own. All others carry their zone."""

URLS = ("source_url", "url_redirected_to", "permanent_url")
"""Columns with URLs of publishers, which can have credentials in them."""


@dataclass(frozen=True)
class LinkState:
    """What is known of one link at one moment.

    :ivar url: the link of the resource now, as CKAN shows it; the file name of an upload
    :ivar kind: where its data is
    :ivar archival: columns of its archival; None when it was never checked
    :ivar requested: whether a check is waiting or running
    :ivar is_due_soon: whether that is a check of an edit, or one that a person requested, and its host does not make it
        wait; one of the regular round may wait for hours
    :ivar waits_until: until when its request has to wait for its host; None when it does not
    :ivar host_asked: whether the host asked for that wait; else it does not respond
    :ivar snoozed: the day until which an editor leaves it alone, and why; None where none does
    """

    url: str
    archival: Row | None
    requested: bool
    kind: Kind = Kind.LINK
    waits_until: datetime.datetime | None = None
    host_asked: bool = False
    snoozed: tuple[datetime.date, str] | None = None
    is_due_soon: bool = False

    @property
    def is_current(self) -> bool:
        """Whether the archival is about the URL that the resource has now."""
        return self.archival is not None and self.archival["source_url"] in (None, "", self.url)

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on the current URL; None when there is none yet."""
        if self.archival is None or not self.is_current:
            return None
        return verdict_of(self.archival["verdict"], self.archival["is_broken"])


def of_datasets(package_ids: Iterable[str]) -> dict[str, LinkState]:
    """The states of all links of datasets, by resource id, in one statement; none without our tables."""
    states: dict[str, LinkState] = {}
    if not tables.exist():
        return states
    for row in model.Session.connection().execute(_EVERYTHING, {"ids": list(package_ids)}).mappings():
        waits_until, host_asked = _wait(row)
        kind = links.kind(row["url_now"], row["url_type"])
        states[row["resource_of"]] = LinkState(
            url=links.shown_url(row["url_now"], row["url_type"]),
            kind=kind,
            archival=row if row["resource_id"] and kind in (Kind.LINK, Kind.UPLOAD) else None,
            requested=row["is_requested"],
            is_due_soon=row["queue_of_request"] == "priority" and waits_until is None,
            waits_until=waits_until,
            host_asked=host_asked,
            snoozed=(row["snoozed_until"], row["snooze_reason"]) if row["snoozed_until"] else None,
        )
    return states


def checks(resource_id: str, days: int) -> list[history.Check]:
    """The checks of a link within the last days, oldest first; times are naive UTC."""
    since = clock.naive_utc() - datetime.timedelta(days=days)
    rows = (
        model.Session.query(ArchivalCheck.checked_at, ArchivalCheck.verdict)
        .filter(ArchivalCheck.resource_id == resource_id, ArchivalCheck.checked_at >= since)
        .order_by(ArchivalCheck.checked_at, ArchivalCheck.id)
    )
    return [(row.checked_at, Verdict(row.verdict)) for row in rows]


def checks_in_full(resource_id: str, days: int) -> list[dict[str, Any]]:
    """The checks of a link within the last days as the API has them, oldest first."""
    since = clock.naive_utc() - datetime.timedelta(days=days)
    names = ("checked_at", "verdict", "cause", "http_status", "seconds")
    rows = (
        model.Session.query(*(getattr(ArchivalCheck, name) for name in names))
        .filter(ArchivalCheck.resource_id == resource_id, ArchivalCheck.checked_at >= since)
        .order_by(ArchivalCheck.checked_at, ArchivalCheck.id)
    )
    return [dict(zip(names, (iso(row.checked_at), *row[1:]), strict=True)) for row in rows]


def iso(moment: datetime.datetime | None) -> str | None:
    """Naive UTC as ISO 8601 with its offset."""
    return moment.replace(tzinfo=datetime.timezone.utc).isoformat() if moment else None


def of_resource(resource_id: str, package_id: str) -> LinkState | None:
    """The state of one link."""
    return of_datasets([package_id]).get(resource_id)


def shown_of_resources(resource_ids: Iterable[str]) -> list[Any]:
    """The columns that package_show has of all archivals of resources, in one statement; none without our tables."""
    if not tables.exist():
        return []
    return list(model.Session.connection().execute(_SHOWN, {"ids": list(resource_ids)}))


def mapping_of_shown(row: Any) -> Row:
    """One of these rows by column; in less time than SQLAlchemy takes."""
    return dict(zip(_OF_SHOWN, row, strict=True))


def _wait(row: Row) -> tuple[datetime.datetime | None, bool]:
    """(until when the request waits for its host, whether the host asked for it); see ``queue.waits`` for the rules."""
    now: datetime.datetime = row["now"]
    if not row["is_requested"]:
        return None, False
    asked = row["wait_until"]
    if asked is not None and asked > now:
        # An edit may go once in ten minutes all the same.
        is_edit = row["queue_of_request"] == "priority"  # queue.types is in a layer above
        return (min(asked, row["due_at"]) if is_edit and row["due_at"] > now else asked), True
    if row["open_until"] is not None and row["open_until"] > now:
        return row["open_until"], False
    return None, False


_OF_DATASETS = _RESOURCE.c.package_id.in_(sa.bindparam("ids", expanding=True))

_EVERYTHING = (
    sa.select(
        _RESOURCE.c.id.label("resource_of"),
        _RESOURCE.c.url.label("url_now"),
        _RESOURCE.c.url_type,
        _REQUEST.c.resource_id.isnot(None).label("is_requested"),
        _REQUEST.c.queue.label("queue_of_request"),
        _REQUEST.c.not_before.label("due_at"),
        _HOST.c.wait_until,
        _HOST.c.open_until,
        sa.func.now().label("now"),
        _SNOOZE.c.until.label("snoozed_until"),
        _SNOOZE.c.reason.label("snooze_reason"),
        *_ARCHIVAL.columns,
    )
    .select_from(
        _RESOURCE.outerjoin(_ARCHIVAL, _ARCHIVAL.c.resource_id == _RESOURCE.c.id)
        .outerjoin(_REQUEST, _REQUEST.c.resource_id == _RESOURCE.c.id)
        .outerjoin(_HOST, _HOST.c.host == _REQUEST.c.host)
        .outerjoin(
            _SNOOZE,
            (_SNOOZE.c.resource_id == _RESOURCE.c.id)
            & (_SNOOZE.c.until > sa.cast(sa.func.timezone("utc", sa.func.now()), sa.Date)),
        )
    )
    .where(_OF_DATASETS)
)

# package_show waits for this: no join, and no list of parameters that is compiled anew.
_OF_SHOWN = ("package_id", "resource_id", "source_url", *SHOWN_COLUMNS)
_SHOWN = sa.text(f"""
    SELECT {", ".join(f"a.{name}" for name in _OF_SHOWN)}
    FROM archival a WHERE a.resource_id = ANY(:ids)
""")  # noqa: S608 - constants only


def is_sysadmin(context: Mapping[str, Any]) -> bool:
    """Whether an action's context is that of a sysadmin."""
    # An anonymous user is an object without that attribute.
    return bool(getattr(context.get("auth_user_obj"), "sysadmin", False))


def as_dict(row: Row, names: Iterable[str], *, for_sysadmin: bool = False) -> dict[str, Any]:
    """Columns of an archival as the API has them: times as ISO 8601 in UTC, URLs without credentials.

    :param names: columns; those for sysadmins are left out for others
    """
    shown = {name: row[name] for name in names if for_sysadmin or name not in SYSADMIN_COLUMNS}
    for name, value in shown.items():
        if isinstance(value, datetime.datetime):
            shown[name] = value.isoformat() if name in OLD_TIMES else iso(value)
    for name in URLS:
        if shown.get(name):
            shown[name] = urls.redact(shown[name])
    shown["status"] = status_text(row["status_id"])
    shown["is_broken_printable"] = broken_printable(row["is_broken"])
    return shown
