"""The list of links on the report: filters, sorts, pages by keyset, and exports by a server-side cursor."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model

from ckanext.archiver import links, reports, states
from ckanext.archiver.engine import urls
from ckanext.archiver.engine.outcome import Cause, Verdict
from ckanext.archiver.errors import ArchiverError
from ckanext.archiver.queue import sql

PAGE = 50
EXACT_TOTAL = 10_000
"""The largest total that is counted; of more, PostgreSQL's estimate is shown."""

EXPORT_BATCH = 1000

ANY = "any"
"""Every verdict but "ok"."""

_SINCE = "coalesce(a.broken_since, a.failing_since, a.checked_at, '-infinity'::timestamp)"
_DATASET = "coalesce(nullif(p.title, ''), p.name)"

SORTS = {
    "longest": (_SINCE, "timestamp", ">"),
    "newest": (_SINCE, "timestamp", "<"),
    "dataset": (_DATASET, "text", ">"),
    "host": (sql.HOST_OF_URL, "text", ">"),
}
"""The name of a sort → (its key in SQL, the key's type, how later rows compare with earlier ones)."""

YES_NO = ("yes", "no")


class BadFilterError(ArchiverError):
    """A filter has a value that it cannot have; the text is one sentence that names it."""


@dataclass(frozen=True)
class Filters:
    """What a list shows, as in the query string of its URL. Empty strings filter nothing.

    :ivar organization: name or id
    :ivar below: "1" for the organizations below it as well
    :ivar mine: "1" for the organizations whose datasets the reader may edit
    :ivar verdict: a verdict, or "any" for all but "ok"
    :ivar since: ISO date: links in this state since that day or later
    :ivar copy: "yes" or "no": whether there is a cached copy
    :ivar moved: "yes" for links that redirect permanently
    :ivar q: text in the names of dataset and resource, or in the URL
    """

    organization: str = ""
    below: str = ""
    mine: str = ""
    verdict: str = Verdict.BROKEN.value
    cause: str = ""
    host: str = ""
    format: str = ""
    since: str = ""
    copy: str = ""
    moved: str = ""
    q: str = ""
    sort: str = "longest"

    @classmethod
    def names(cls) -> list[str]:
        """The parameters."""
        return [field.name for field in fields(cls)]

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Filters:
        """Filters from parameters; others are ignored.

        :raises BadFilterError: for a value that a filter cannot have
        """
        given = {name: str(arguments[name]).strip() for name in cls.names() if arguments.get(name) not in (None, "")}
        filters = cls(**given)
        filters._check()
        return filters

    def _check(self) -> None:
        choices: dict[str, tuple[str, ...]] = {
            "verdict": (ANY, *(verdict.value for verdict in Verdict)),
            "cause": ("", *(cause.value for cause in Cause)),
            "copy": ("", *YES_NO),
            "moved": ("", *YES_NO),
            "below": ("", "0", "1"),
            "mine": ("", "1"),
            "sort": tuple(SORTS),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise BadFilterError(f"{name} must be one of {', '.join(filter(None, allowed))}, not {value!r}.")
        if self.since:
            try:
                datetime.date.fromisoformat(self.since)
            except ValueError as e:
                raise BadFilterError(f"since must be a date such as 2026-05-03, not {self.since!r}.") from e
        if any("\x00" in getattr(self, name) for name in self.names()):
            raise BadFilterError("A filter cannot contain a null character.")

    def arguments(self, **changes: str) -> dict[str, str]:
        """The query string of these filters with changes; defaults are left out."""
        changed = replace(self, **changes)
        return {
            field.name: getattr(changed, field.name)
            for field in fields(self)
            if getattr(changed, field.name) != field.default
        }


@dataclass(frozen=True)
class Reader:
    """Who reads: private datasets are listed for readers of their organizations only.

    :ivar sees_all: a sysadmin
    :ivar readable: organizations whose private datasets the user may read
    :ivar editable: organizations whose datasets the user may edit
    """

    sees_all: bool = False
    readable: tuple[str, ...] = ()
    editable: tuple[str, ...] = ()

    @classmethod
    def of(cls, user: Any) -> Reader:
        """The reader for a user object; anything without a name reads public datasets."""
        name = getattr(user, "name", None)
        if not name:
            return cls()
        readable, editable = (
            tuple(
                organization["id"]
                for organization in tk.get_action("organization_list_for_user")(
                    {"user": name}, {"permission": permission}
                )
            )
            for permission in ("read", "update_dataset")
        )
        return cls(bool(user.sysadmin), readable, editable)

    @property
    def can_edit(self) -> bool:
        """Whether there is any dataset that the reader may edit."""
        return self.sees_all or bool(self.editable)


def condition(filters: Filters, reader: Reader) -> tuple[str, dict[str, Any]]:
    """SQL over ``r`` (resource), ``p`` (package) and ``a`` (archival) for the links of a list, and its parameters.

    :raises ObjectNotFound: there is no such organization
    """
    conditions = [
        f"r.state = 'active' AND p.state = 'active' AND p.type <> 'harvest' AND {links.HAS_LINK_SQL}",
        "(NOT p.private OR :sees_all OR p.owner_org = ANY(:readable))",
    ]
    params: dict[str, Any] = {"sees_all": reader.sees_all, "readable": list(reader.readable)}
    if filters.verdict == ANY:
        conditions.append("a.verdict IN ('broken', 'failing', 'not-sure')")
    else:
        conditions.append("a.verdict = :verdict")
        params["verdict"] = filters.verdict
    if filters.mine:
        conditions.append("p.owner_org = ANY(:mine)")
        params["mine"] = list(reader.editable)
    if filters.organization:
        ids = reports.organization_ids(filters.organization, below=filters.below == "1")
        conditions.append("p.owner_org = ANY(:organizations)")
        params["organizations"] = ids
    simple = {
        "cause": "a.cause = :cause",
        "host": f"{sql.HOST_OF_URL} = lower(:host)",
        "format": "lower(r.format) = lower(:format)",
        "since": f"{_SINCE} >= CAST(:since AS timestamp)",
    }
    for name, text in simple.items():
        if getattr(filters, name):
            conditions.append(text)
            params[name] = getattr(filters, name)
    if filters.copy:
        conditions.append("a.cache_filepath <> ''" if filters.copy == "yes" else "coalesce(a.cache_filepath, '') = ''")
    if filters.moved:
        conditions.append("a.permanent_url <> ''" if filters.moved == "yes" else "coalesce(a.permanent_url, '') = ''")
    if filters.q:
        conditions.append("concat_ws(' ', p.title, p.name, r.name, r.url) ILIKE :q")
        params["q"] = "%" + filters.q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    return " AND ".join(f"({text})" for text in conditions), params


_FROM = """
    FROM archival a
    JOIN resource r ON r.id = a.resource_id
    JOIN package p ON p.id = r.package_id
    LEFT JOIN "group" g ON g.id = p.owner_org
"""

_COLUMNS = f"""
    p.id AS package_id, p.name AS package_name, p.title AS package_title, p.private,
    g.name AS organization_name, coalesce(nullif(g.title, ''), g.name) AS organization_title,
    r.id AS resource_id, r.name AS resource_name, r.url AS resource_url, r.format, r.position AS resource_position,
    {sql.HOST_OF_URL} AS host, a.source_url, a.verdict, a.cause, a.detail, a.facts, a.reason, a.status_id,
    a.http_status, a.failure_count, a.first_failure, a.last_success, a.url_redirected_to, a.permanent_url,
    coalesce(a.checked_at, a.updated) AS last_updated, coalesce(a.broken_since, a.failing_since, a.checked_at) AS since,
    a.cache_filepath <> '' AS has_copy, a.cached_at,
    EXISTS (SELECT 1 FROM archiver_request q WHERE q.resource_id = r.id) AS requested
"""  # noqa: S608 - constants only


@dataclass(frozen=True)
class Page:
    """One page of a list.

    :ivar total: the number of links; an estimate when ``is_estimate``
    :ivar next: the cursor of the next page, None on the last one
    """

    links: list[dict[str, Any]]
    next: str | None
    total: int
    is_estimate: bool


def page(filters: Filters, reader: Reader, cursor: str | None = None, limit: int = PAGE) -> Page:
    """A page of the list, in two statements.

    :param cursor: ``next`` of the page before
    :raises BadFilterError: the cursor is not one of this list
    :raises ObjectNotFound: there is no such organization
    """
    where, params = condition(filters, reader)
    key, type_, after = SORTS[filters.sort]
    direction = "ASC" if after == ">" else "DESC"
    start = ""
    if cursor:
        value, resource_id = _read_cursor(cursor, type_)
        start = f"AND ({key}, a.resource_id) {after} (CAST(:after AS {type_}), :after_id)"
        params |= {"after": value, "after_id": resource_id}
    rows = (
        sql.run(
            f"""
            SELECT {_COLUMNS}, CAST({key} AS text) AS sort_key {_FROM} WHERE {where} {start}
            ORDER BY {key} {direction}, a.resource_id {direction} LIMIT :limit
            """,  # noqa: S608 - constants only
            **params,
            limit=limit + 1,
        )
        .mappings()
        .all()
    )
    links = [_link(row) for row in rows[:limit]]
    following = _cursor(rows[limit - 1]) if len(rows) > limit else None
    total, is_estimate = _total(where, params)
    return Page(links, following, total, is_estimate)


def _total(where: str, params: Mapping[str, Any]) -> tuple[int, bool]:
    counted = f"SELECT count(*) FROM (SELECT 1 {_FROM} WHERE {where} LIMIT {EXACT_TOTAL + 1}) counted"  # noqa: S608 - constants only
    total = int(sql.run(counted, **params).scalar())
    if total <= EXACT_TOTAL:
        return total, False
    plan = sql.run(f"EXPLAIN (FORMAT JSON) SELECT 1 {_FROM} WHERE {where}", **params).scalar()  # noqa: S608 - constants only
    return max(int(plan[0]["Plan"]["Plan Rows"]), total), True


def _cursor(row: Mapping[str, Any]) -> str:
    text = json.dumps([row["sort_key"], row["resource_id"]])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str, type_: str) -> tuple[str, str]:
    try:
        value, resource_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if type_ == "timestamp" and value != "-infinity":
            datetime.datetime.fromisoformat(value)
        is_possible = "\x00" not in value + resource_id
    except (ValueError, TypeError, binascii.Error) as e:
        raise BadFilterError("The cursor is not one of this list.") from e
    if not is_possible:
        raise BadFilterError("The cursor is not one of this list.")
    return value, resource_id


def _link(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the API has it: older releases' keys in their form, times of new keys with their zone."""
    link = reports.link(row)
    for name in ("since", "cached_at"):
        link[name] = states.iso(row[name])
    for name in ("permanent_url", "url_redirected_to"):
        link[name] = urls.redact(row[name]) if row[name] else row[name]
    link["has_copy"] = bool(row["has_copy"])
    link.pop("sort_key", None)
    return link


def export(filters: Filters, reader: Reader) -> Iterator[dict[str, Any]]:
    """All links of a list, read through a server-side cursor: memory does not grow with their number.

    :raises ObjectNotFound: there is no such organization
    """
    where, params = condition(filters, reader)
    key, _, after = SORTS[filters.sort]
    direction = "ASC" if after == ">" else "DESC"
    statement = sa.text(f"""
        SELECT {_COLUMNS} {_FROM} WHERE {where} ORDER BY {key} {direction}, a.resource_id {direction}
    """)  # noqa: S608 - constants only
    return _stream(statement, params)


def _stream(statement: Any, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    # A connection of its own: the session's is given back when the view returns, before the first line is sent.
    with model.meta.engine.connect().execution_options(stream_results=True) as connection:
        result = connection.execute(statement, dict(params))
        while rows := result.mappings().fetchmany(EXPORT_BATCH):
            for row in rows:
                yield _link(row)
