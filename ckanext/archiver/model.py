"""The tables.

``archival`` is read by other extensions and by older code: its columns, and the texts of :class:`Status`, are
API. Its times are naive UTC. The tables of the queue are in :mod:`~ckanext.archiver.queue_tables`.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable
from typing import Any

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model
from sqlalchemy.dialects.postgresql import JSONB

from ckanext.archiver import clock, links, report_tables
from ckanext.archiver.engine.urls import redact
from ckanext.archiver.queue_tables import (
    ArchiverCounter,
    ArchiverDataset,
    ArchiverHost,
    ArchiverNotice,
    ArchiverPause,
    ArchiverRequest,
    ArchiverSelection,
    ArchiverState,
    ArchiverWorker,
)
from ckanext.archiver.worst_link import worst_archival

Session = model.Session


class Status:
    """The states of an archival as older releases know them; other extensions compare the texts."""

    _by_id: dict[int, str] = {
        0: "Archived successfully",
        1: "Content has not changed",
        10: "URL invalid",
        11: "URL request failed",
        12: "Download error",
        21: "Chose not to download",
        22: "Download failure",
        23: "System error during archival",
    }
    _by_text: dict[str, int] = {text: id for id, text in _by_id.items()}

    @classmethod
    def instance(cls) -> type[Status]:
        """What older code calls before it uses the methods: the class does."""
        return cls

    @classmethod
    def by_text(cls, status_txt: str) -> int:
        """The id of a status text.

        :raises KeyError: for a text that is none
        """
        return cls._by_text[status_txt]

    @classmethod
    def by_id(cls, status_id: int) -> str:
        """The text of a status id.

        :raises KeyError: for an id that is none
        """
        return cls._by_id[status_id]

    @classmethod
    def is_status_broken(cls, status_id: int | None) -> bool | None:
        """True for the statuses of a link that does not work, False where it does, None where it is not known."""
        if status_id is None or status_id >= 20:
            return None
        return status_id >= 10

    @classmethod
    def is_ok(cls, status_id: int | None) -> bool:
        """Whether there is a good copy."""
        return status_id in (0, 1)


def _new_id() -> str:
    return str(uuid.uuid4())


class Archival(tk.BaseModel):
    """One resource's link and its cached copy. One row per resource."""

    __tablename__ = "archival"

    id = sa.Column(sa.UnicodeText, primary_key=True, default=_new_id)
    package_id = sa.Column(sa.UnicodeText, nullable=False, index=True)
    resource_id = sa.Column(sa.UnicodeText, nullable=False)
    resource_timestamp = sa.Column(sa.DateTime)
    """``last_modified`` of the resource when it was archived; differs once a file was uploaded again."""

    status_id = sa.Column(sa.Integer)
    is_broken = sa.Column(sa.Boolean)
    reason = sa.Column(sa.UnicodeText)
    url_redirected_to = sa.Column(sa.UnicodeText)

    cache_filepath = sa.Column(sa.UnicodeText)
    cache_url = sa.Column(sa.UnicodeText)
    size = sa.Column(sa.BigInteger, default=0)
    mimetype = sa.Column(sa.UnicodeText)
    hash = sa.Column(sa.UnicodeText)
    etag = sa.Column(sa.UnicodeText)
    last_modified = sa.Column(sa.UnicodeText)

    first_failure = sa.Column(sa.DateTime)
    last_success = sa.Column(sa.DateTime)
    failure_count = sa.Column(sa.Integer, default=0)
    created = sa.Column(sa.DateTime, default=clock.naive_utc)
    updated = sa.Column(sa.DateTime)

    # Since 3.0
    source_url = sa.Column(sa.UnicodeText)
    """The link that this row is about, as CKAN shows it; the file name of an upload."""
    source_format = sa.Column(sa.UnicodeText)
    """The resource's format at the last check."""
    verdict = sa.Column(sa.UnicodeText)
    cause = sa.Column(sa.UnicodeText)
    detail = sa.Column(sa.UnicodeText)
    facts = sa.Column(JSONB)
    not_sure_reason = sa.Column(sa.UnicodeText)
    http_status = sa.Column(sa.Integer)
    sha256 = sa.Column(sa.UnicodeText)
    failing_since = sa.Column(sa.DateTime)
    """The first of the current failures in a row; empty while the link works."""
    broken_since = sa.Column(sa.DateTime)
    checked_at = sa.Column(sa.DateTime)
    changed_at = sa.Column(sa.DateTime)
    """When the bytes last differed from the ones before."""
    cached_at = sa.Column(sa.DateTime)
    """When the cached copy was saved."""
    next_check_at = sa.Column(sa.DateTime)
    permanent_url = sa.Column(sa.UnicodeText)
    permanent_seen = sa.Column(sa.Integer)
    """How many checks in a row the permanent redirects led to ``permanent_url``."""
    repaired_at = sa.Column(sa.DateTime)
    """When the link last worked again after it had been broken; empty while it is broken."""
    certificate_expires = sa.Column(sa.DateTime)
    host = sa.Column(sa.UnicodeText, sa.FetchedValue(), sa.FetchedValue(for_update=True))
    """Of ``source_url``; set by ``report_tables.HOST_TRIGGER``."""
    doubt_detail = sa.Column(sa.UnicodeText)
    """What the server sends instead of a file that fits (a detail); empty while nothing is in doubt."""
    doubt_since = sa.Column(sa.DateTime)
    """First check with that answer."""
    doubt_count = sa.Column(sa.Integer)
    """Checks with that answer."""
    deleted_since = sa.Column(sa.DateTime)
    """When the resource was first seen to be deleted; empty for one without a copy."""

    __table_args__ = (
        sa.UniqueConstraint("resource_id", name="archival_resource_id_key"),
        sa.Index("archival_next_check_at_idx", "next_check_at"),
        sa.Index("archival_deleted_idx", "deleted_since", postgresql_where=sa.text("deleted_since IS NOT NULL")),
        *report_tables.archival_indexes(),
    )

    def __repr__(self) -> str:
        verdict = self.verdict or self.status
        return f"<Archival {self.resource_id} {verdict} {self.reason or ''}>"

    @classmethod
    def get_for_resource(cls, resource_id: str) -> Archival | None:
        """The archival of a resource, None where it was never checked."""
        return Session.query(cls).filter(cls.resource_id == resource_id).first()

    @classmethod
    def get_for_package(cls, package_id: str) -> list[Archival]:
        """The archivals of a dataset's active resources that have a link, in the dataset's order."""
        return (
            Session.query(cls)
            .join(model.Resource, model.Resource.id == cls.resource_id)
            .filter(cls.package_id == package_id, model.Resource.state == "active")
            .filter(sa.text(links.has_link_sql("resource")))
            .order_by(model.Resource.position)
            .all()
        )

    @classmethod
    def create(cls, resource_id: str) -> Archival:
        """A new, unsaved archival for a resource.

        :raises ValueError: for a resource that does not exist
        """
        resource = model.Resource.get(resource_id)
        if resource is None:
            raise ValueError(f"There is no resource {resource_id!r}.")
        return cls(resource_id=resource_id, package_id=resource.package_id)

    @property
    def status(self) -> str | None:
        """The status text; None for an id that a fork added, so that no page fails on it."""
        return Status._by_id.get(self.status_id)

    def as_dict(self) -> dict[str, Any]:
        """The row as plain data, as package_show gives it under a resource's ``archiver``.

        Times are ISO 8601 strings in UTC, without an offset, as CKAN writes its own. Credentials in URLs are redacted:
        an editor may have removed them from the resource after its last check.
        """
        columns = {
            column.name: getattr(self, column.name)
            for column in self.__table__.columns
            if column.name not in BOOKKEEPING
        }
        dict_ = {
            key: value.isoformat() if isinstance(value, datetime.datetime) else value for key, value in columns.items()
        }
        dict_.update({name: redact(dict_[name]) for name in _URLS if dict_[name]})
        dict_["status"] = self.status
        dict_["is_broken_printable"] = broken_printable(self.is_broken)
        return dict_


BOOKKEEPING = ("source_format", "doubt_detail", "doubt_since", "doubt_count", "deleted_since")
"""Columns that only the rules need."""

_URLS = ("source_url", "url_redirected_to", "permanent_url")

broken_enum = {True: "Broken", None: "Not sure if broken", False: "Downloaded OK"}
"""The words that API clients of older releases read."""


def broken_printable(is_broken: bool | None) -> str:
    """See :data:`broken_enum`."""
    return broken_enum[is_broken]


def status_text(status_id: int | None) -> str | None:
    """The text of a status; None without one, or for an id of no release."""
    return None if status_id is None else Status._by_id.get(status_id)


def aggregate_archivals_for_a_dataset(archivals: Iterable[Any]) -> dict[str, Any]:
    """The state of a dataset, which is that of its worst link.

    :returns: ``status_id``, ``status``, ``reason``, ``is_broken`` (True if any link is broken, else None if
        anything is unknown, else False) and ``verdict``. All None for a dataset without archivals.
    """
    worst = worst_archival(archivals)
    if worst is None:
        return dict.fromkeys(("status_id", "status", "reason", "is_broken", "verdict"))
    return {
        "status_id": worst.status_id,
        "status": status_text(worst.status_id),
        "reason": worst.reason,
        "is_broken": worst.is_broken,
        "verdict": worst.verdict,
    }


sa.event.listen(Archival.__table__, "after_create", sa.DDL(report_tables.HOST_TRIGGER.replace("%", "%%")))


class ArchivalCheck(tk.BaseModel):
    """The history: one check of one link. Rows are only added, and removed once they are old."""

    __tablename__ = "archival_check"

    id = sa.Column(sa.BigInteger, primary_key=True)
    resource_id = sa.Column(sa.UnicodeText, nullable=False)
    checked_at = sa.Column(sa.DateTime, nullable=False)
    verdict = sa.Column(sa.UnicodeText, nullable=False)
    cause = sa.Column(sa.UnicodeText, nullable=False)
    detail = sa.Column(sa.UnicodeText)
    http_status = sa.Column(sa.Integer)
    size = sa.Column(sa.BigInteger)
    seconds = sa.Column(sa.Float)

    __table_args__ = (
        sa.Index("archival_check_resource_idx", "resource_id", "checked_at"),
        sa.Index("archival_check_time_idx", "checked_at"),
    )


TABLES = [
    cls.__table__
    for cls in (
        Archival,
        ArchivalCheck,
        ArchiverRequest,
        ArchiverHost,
        ArchiverNotice,
        ArchiverDataset,
        ArchiverWorker,
        ArchiverState,
        ArchiverPause,
        ArchiverSelection,
        ArchiverCounter,
        *report_tables.CLASSES,
    )
]


def init_tables(engine: Any) -> None:
    """Create the tables that are missing, in a database that no migration has touched (tests, old set-ups)."""
    model.meta.metadata.create_all(engine, tables=TABLES)


def look_at_tables() -> None:
    """Select every column of every table, without rows.

    :raises sqlalchemy.exc.ProgrammingError: a table or column is missing: the database was not migrated
    """
    for table in TABLES:
        Session.execute(sa.select(*table.columns).limit(0))
    Session.rollback()
