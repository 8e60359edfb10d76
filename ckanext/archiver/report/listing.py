"""The list of links: one statement for each question, on a portal of any size.

Pages are read by keyset: a page begins after the last row of the one before, found through an index, so that the
thousandth costs what the first does.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import compat, links
from ckanext.archiver.engine import urls
from ckanext.archiver.engine.outcome import Verdict
from ckanext.archiver.model import Status
from ckanext.archiver.report import counts, labels, organizations, reader
from ckanext.archiver.report.filters import ANY, NEVER, NO_HOST, SNOOZED, LinkFilter, Sort, cursor, read_cursor
from ckanext.archiver.worst_link import verdict_of

PAGE = 50
"""Rows of a page."""

COUNTED = 10_000
"""Up to so many links, a total is exact."""

EXPORT_BATCH = 1_000
"""Rows that an export reads at a time."""

Row = Mapping[str, Any]

# Archivals first: the lists of what is wrong are short beside the portal, and an index has their order.
# Whether there is a link is asked of a pair, so that it is not asked of every resource of the portal.
_OF_CHECKED = f"""
    FROM archival a
    JOIN resource r ON r.id = a.resource_id AND r.state = 'active' AND (a.id IS NULL OR {links.HAS_LINK_SQL})
    JOIN package p ON p.id = r.package_id
"""
_OF_ALL = f"""
    FROM package p
    JOIN resource r ON r.package_id = p.id AND r.state = 'active' AND {links.HAS_LINK_SQL}
    LEFT JOIN archival a ON a.resource_id = r.id
"""
_BESIDE = """
    LEFT JOIN "group" g ON g.id = p.owner_org
    LEFT JOIN archiver_snooze s ON s.resource_id = r.id AND s.until > CAST(timezone('utc', now()) AS date)
"""

# A row that an older release, or other code, wrote has no verdict, or an old one: see worst_link.verdict_of.
_IN_STATE = {
    Verdict.BROKEN.value: "a.is_broken AND s.resource_id IS NULL",
    Verdict.FAILING.value: "a.verdict = 'failing' AND a.is_broken IS NULL AND s.resource_id IS NULL",
    Verdict.OK.value: "a.is_broken IS FALSE AND s.resource_id IS NULL",
    Verdict.NOT_SURE.value: "a.is_broken IS NULL AND a.verdict IS DISTINCT FROM 'failing' AND s.resource_id IS NULL",
    NEVER: "a.resource_id IS NULL AND s.resource_id IS NULL",
    SNOOZED: "s.resource_id IS NOT NULL",
    ANY: "true",
}

_SINCE = {Verdict.BROKEN.value: "a.broken_since", Verdict.FAILING.value: "a.failing_since"}

_COLUMNS = f"""
    p.id AS package_id, p.name AS package_name, p.title AS package_title, p.private AS package_private,
    p.state AS package_state, p.owner_org, g.name AS organization_name,
    coalesce(nullif(g.title, ''), g.name) AS organization_title,
    r.id AS resource_id, r.name AS resource_name, r.position AS resource_position, {links.URL_SQL} AS resource_url,
    r.format AS resource_format, r.url_type, a.resource_id AS checked_resource, a.source_url, a.host, a.verdict,
    a.is_broken, a.cause, a.detail, a.facts,
    a.reason, a.status_id, a.http_status, a.failure_count, a.first_failure, a.failing_since, a.broken_since,
    a.last_success, coalesce(a.checked_at, a.updated) AS last_updated, a.next_check_at, a.url_redirected_to,
    a.permanent_url, a.permanent_seen, a.cache_filepath, a.cache_url, a.size, a.cached_at,
    s.until AS snoozed_until, s.reason AS snooze_reason
"""


@dataclass
class Query:
    """The FROM and WHERE of a filter, with their parameters."""

    tables: str
    conditions: list[str]
    params: dict[str, Any] = field(default_factory=dict)

    def sql(self) -> str:
        """Everything after the columns."""
        return f"{self.tables}{_BESIDE} WHERE " + " AND ".join(f"({condition})" for condition in self.conditions)


def query(wanted: LinkFilter, who: reader.Reader, *, of_checked: bool = False) -> Query:
    """The links that a filter selects, of those the reader may see.

    :param of_checked: leave out links that were never checked
    :raises ObjectNotFound: if there is no such organization
    """
    of_checked = of_checked or bool(wanted.moved or wanted.host) or wanted.verdict not in (ANY, NEVER, SNOOZED)
    tables = _OF_CHECKED if of_checked else _OF_ALL
    made = Query(tables, [who.condition(), _IN_STATE[wanted.verdict]], who.params())
    if wanted.organization:
        made.conditions.append("p.owner_org = ANY(CAST(:organizations AS text[]))")
        made.params["organizations"] = organizations.ids(wanted.organization, wanted.include_sub_organizations)
    if wanted.mine:
        made.conditions.append(
            "p.owner_org = ANY(CAST(:my_organizations AS text[])) OR p.id = ANY(CAST(:mine AS text[]))"
        )
        made.params |= {"my_organizations": reader.editable_organizations(who), "mine": reader.editable_datasets(who)}
    for condition, name, value in _simple_conditions(wanted):
        made.conditions.append(condition)
        made.params[name] = value
    return made


def _simple_conditions(wanted: LinkFilter) -> Iterator[tuple[str, str, Any]]:
    since = _SINCE.get(wanted.verdict, "coalesce(a.broken_since, a.failing_since, a.repaired_at, a.created)")
    if wanted.cause:
        yield "a.cause = :cause", "cause", wanted.cause
    if wanted.host:
        has_it = "coalesce(a.host, '') = '' AND :host <> ''" if wanted.host == NO_HOST else "a.host = :host"
        yield has_it, "host", wanted.host
    if wanted.res_format:
        yield "lower(r.format) = lower(:res_format)", "res_format", wanted.res_format
    if wanted.since:
        yield f"{since} >= :since", "since", wanted.since
    if wanted.before:
        # A row without a time was broken before times were kept.
        earlier = f" OR {since} IS NULL" if wanted.verdict in _SINCE else ""
        yield f"{since} < :before{earlier}", "before", wanted.before
    if wanted.has_copy is not None:
        yield "(coalesce(a.cache_filepath, '') <> '') = :has_copy", "has_copy", wanted.has_copy
    if wanted.moved is True:
        # As the partial index has it.
        yield f"a.permanent_url IS NOT NULL AND :moved AND a.permanent_url <> {links.URL_SQL}", "moved", True
    elif wanted.moved is False:
        yield "a.permanent_url IS NULL AND NOT :moved", "moved", False
    if wanted.q:
        pattern = "%" + wanted.q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        # The planner takes three patterns for very selective and begins with all resources; it knows nothing of CASE.
        # Without a user name and password, which no reader is to find out by trying.
        without = r"regexp_replace(r.url, '^([a-zA-Z][a-zA-Z0-9+.-]*://)?.*@', '\1')"
        url = f"CASE WHEN r.url LIKE '%@%' THEN {without} ELSE r.url END"
        matches = f"p.title ILIKE :q OR p.name ILIKE :q OR r.name ILIKE :q OR {url} ILIKE :q"
        yield f"CASE WHEN {matches} THEN true ELSE false END", "q", pattern


# -- a page -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """Some rows of a list.

    :ivar rows: what :func:`shown` gives
    :ivar after: the cursor of the next page; empty on the last
    :ivar previous: the cursor of the page before; empty on the first
    """

    rows: list[dict[str, Any]]
    after: str = ""
    previous: str = ""


@dataclass(frozen=True)
class Order:
    """An ORDER BY and its keyset.

    :ivar kinds: the types of the columns' values
    :ivar directions: what stands after each column
    :ivar after: the condition that is true after the row with the keys ``:k0``, ``:k1`` …
    :ivar after_null: the same where the first key of that row is empty
    """

    columns: tuple[str, ...]
    kinds: tuple[type, ...]
    directions: tuple[str, ...]
    after: str
    after_null: str = ""

    def sql(self, columns: Sequence[str] = ()) -> str:
        """The ORDER BY, of other columns with the same values if they are given."""
        pairs = zip(columns or self.columns, self.directions, strict=True)
        return "ORDER BY " + ", ".join(f"{column}{direction}" for column, direction in pairs)

    def key_names(self) -> list[str]:
        """Names for the columns."""
        return [f"key{n}" for n in range(len(self.columns))]


_BACKWARD = {Sort.LONGEST: Sort.NEWEST, Sort.NEWEST: Sort.LONGEST}


def _order(wanted: LinkFilter, *, backward: bool = False) -> Order:
    """The order of a list.

    :param backward: from its end to its beginning
    """
    sort, direction, beyond = wanted.order(), " DESC" if backward else "", "<" if backward else ">"
    if sort is Sort.HOST:
        columns: tuple[str, ...] = ("a.host", "a.resource_id")
        # A row of an older release has no host: it is the last, and the first from the end.
        others = "a.host IS NOT NULL" if backward else "false"
        return Order(
            columns,
            (str, str),
            (direction, direction),
            f"(a.host, a.resource_id) {beyond} (:k0, :k1)" + ("" if backward else " OR a.host IS NULL"),
            f"{others} OR (a.host IS NULL AND a.resource_id {beyond} :k1 AND CAST(:k0 AS text) IS NULL)",
        )
    if sort is Sort.DATASET:
        return by_dataset(backward=backward)
    return _by_time(_SINCE[wanted.verdict], _BACKWARD[sort] if backward else sort)


def by_dataset(*, backward: bool = False) -> Order:
    """By the dataset's name, then as in the dataset.

    :param backward: from the end to the beginning
    """
    direction, beyond = (" DESC", "<") if backward else ("", ">")
    columns = ("p.name", "coalesce(r.position, 0)", "r.id")
    # The first part is for the index of names: PostgreSQL does not see it in the second.
    after = f"p.name {beyond}= :k0 AND (p.name, coalesce(r.position, 0), r.id) {beyond} (:k0, CAST(:k1 AS int), :k2)"
    return Order(columns, (str, int, str), (direction,) * 3, after)


def _by_time(since: str, sort: Sort) -> Order:
    columns, kinds = (since, "a.resource_id"), (datetime.datetime, str)
    if sort is Sort.LONGEST:
        return Order(
            columns,
            kinds,
            # A row without a time was broken before times were kept.
            (" NULLS FIRST", ""),
            f"({since}, a.resource_id) > (CAST(:k0 AS timestamp), :k1)",
            f"({since} IS NULL AND a.resource_id > :k1) OR ({since} IS NOT NULL AND CAST(:k0 AS text) IS NULL)",
        )
    return Order(
        columns,
        kinds,
        (" DESC NULLS LAST", " DESC"),
        f"({since}, a.resource_id) < (CAST(:k0 AS timestamp), :k1) OR {since} IS NULL",
        f"{since} IS NULL AND a.resource_id < :k1 AND CAST(:k0 AS text) IS NULL",
    )


def page(wanted: LinkFilter, who: reader.Reader, after: str = "", previous: str = "", size: int = PAGE) -> Page:
    """One page of a list: the first, the one after a page, or the one before a page.

    :param after: the cursor that the page before gave
    :param previous: the cursor that the page after gave
    :raises BadFilter: for a cursor that no page gave
    :raises ObjectNotFound: if there is no such organization
    """
    name, given = ("previous", previous) if previous else ("after", after)
    selected = query(wanted, who)
    order = _order(wanted, backward=bool(previous))
    if given:
        selected = behind(selected, order, read_cursor(given, order.kinds, name))
    statement = _page_sql(selected, order, reads_all=bool(wanted.q))
    rows = list(_execute(statement, {**selected.params, "size": size + 1}))
    more, rows = len(rows) > size, rows[:size]
    if previous:
        if len(rows) < size:
            # The beginning: a whole page of it, not only what is before that row.
            return page(wanted, who, size=size)
        rows.reverse()
    if not rows:
        # After the last row of the page before, if there is one: the links that were here are gone.
        return Page([], previous=after)
    ends = [cursor([row[key] for key in order.key_names()]) for row in (rows[0], rows[-1])]
    return Page(
        [shown(row) for row in allowed(rows, who)],
        after=ends[1] if previous or more else "",
        previous=ends[0] if (more if previous else after) else "",
    )


def behind(selected: Query, order: Order, keys: Sequence[Any]) -> Query:
    """What comes behind the row with these keys."""
    condition = order.after_null if keys[0] is None and order.after_null else order.after
    params = {f"k{n}": key for n, key in enumerate(keys)}
    return Query(selected.tables, [*selected.conditions, condition], {**selected.params, **params})


def _page_sql(selected: Query, order: Order, *, reads_all: bool) -> str:
    """A page.

    :param reads_all: for a filter that an index does not help with, and that selects little
    """
    keys = ", ".join(f"{column} AS {key}" for column, key in zip(order.columns, order.key_names(), strict=True))
    statement = f"SELECT {_COLUMNS}, {keys} {selected.sql()}"  # noqa: S608 - constants only
    if not reads_all:
        return f"{statement} {order.sql()} LIMIT :size"
    # For a page the planner would follow an index and look each link up, hoping for matches soon. OFFSET 0 has it read
    # the tables once instead, which is faster where there are few.
    return f"SELECT * FROM ({statement} OFFSET 0) matches {order.sql(order.key_names())} LIMIT :size"  # noqa: S608


def _execute(statement: str, params: Mapping[str, Any]) -> Iterator[Row]:
    yield from model.Session.connection().execute(sa.text(statement), params).mappings()


def allowed(rows: Sequence[Row], who: reader.Reader) -> Sequence[Row]:
    """Without datasets that an extension's permission labels hide and that the search index does not have."""
    if who.labelled is None or not rows:
        return rows
    ids = labels.readable(who.user, {row["package_id"] for row in rows})
    return [row for row in rows if row["package_id"] in ids]


def shown(row: Row) -> dict[str, Any]:
    """A row as pages, exports and the API show it: no path of the server, no password in a URL."""
    hidden = {"cache_filepath", "checked_resource", "status_id", "source_url", "key0", "key1", "key2", "owner_org"}
    return {
        **{key: _plain(value) for key, value in row.items() if key not in hidden},
        "facts": compat.parsed_json(row["facts"]),
        "resource_url": urls.redact(row["resource_url"] or ""),
        "url_redirected_to": urls.redact(row["url_redirected_to"] or "") or None,
        "permanent_url": urls.redact(row["permanent_url"] or "") or None,
        "verdict": verdict_of(row["verdict"], row["is_broken"]).value if row["checked_resource"] else NEVER,
        "has_copy": bool(row["cache_filepath"]),
        "status": None if row["status_id"] is None else Status._by_id.get(row["status_id"]),
        "url_up_to_date": row["source_url"] in (None, row["resource_url"]),
        "owner_org": row["owner_org"],
    }


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.date) else value


# -- totals -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Total:
    """How many links a filter selects; above ``COUNTED`` what a worker counted, or the planner's estimate."""

    links: int
    is_exact: bool


def total_beside(shown_page: Page, wanted: LinkFilter, who: reader.Reader) -> Total:
    """How many links a filter selects, beside a page of them: a first page that is the last as well has them all."""
    if not shown_page.previous and not shown_page.after:
        return Total(len(shown_page.rows), is_exact=True)
    return total(wanted, who)


def total(wanted: LinkFilter, who: reader.Reader) -> Total:
    """How many links a filter selects."""
    selected = query(wanted, who)
    # As much as the exact total needs and no more, however many there are.
    counted = f"SELECT count(*) FROM (SELECT 1 {selected.sql()} LIMIT :most) counted"  # noqa: S608 - constants only
    execute = model.Session.connection().execute
    found = execute(sa.text(counted), {**selected.params, "most": COUNTED + 1}).scalar_one()
    if found <= COUNTED:
        return Total(found, is_exact=True)
    known = counts.known_total(wanted, who)
    if known is not None:
        # The number of the overview, which led here.
        return Total(max(known, COUNTED), is_exact=False)
    plan = execute(sa.text(f"EXPLAIN (FORMAT JSON) SELECT 1 {selected.sql()}"), selected.params).scalar_one()
    plan = compat.parsed_json(plan)
    return Total(max(int(plan[0]["Plan"]["Plan Rows"]), COUNTED), is_exact=False)


# -- exports ------------------------------------------------------------------------------------------------


def stream(wanted: LinkFilter, who: reader.Reader) -> Iterator[dict[str, Any]]:
    """All links that a filter selects, in batches by keyset: flat memory, however many there are.

    A link whose state changes while it is read can be missing, or be there twice. A cursor of the database's would show
    one moment, and keep a connection until the slowest reader has the last byte: a few of them would keep the portal
    from its database.

    :raises ObjectNotFound: if there is no such organization, before the first row
    """
    return _batches(query(wanted, who), _order(wanted), who, reads_all=bool(wanted.q))


def _batches(selected: Query, order: Order, who: reader.Reader, *, reads_all: bool) -> Iterator[dict[str, Any]]:
    wanted = selected
    while True:
        statement = sa.text(_page_sql(wanted, order, reads_all=reads_all))
        # A connection of its own: the session's is given back when the page is done, and this outlasts it.
        with model.meta.engine.connect() as connection:
            rows = connection.execute(statement, {**wanted.params, "size": EXPORT_BATCH}).mappings().all()
        yield from map(shown, allowed(rows, who))
        if len(rows) < EXPORT_BATCH:
            return
        wanted = behind(selected, order, [rows[-1][key] for key in order.key_names()])
        # The filter selects much: matches come soon along an index.
        reads_all = False
