"""New addresses for links: those that permanent redirects lead to, and those on a server's new name."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model

from ckanext.archiver import checking, config, links
from ckanext.archiver.engine import reasons, urls
from ckanext.archiver.engine.outcome import Verdict
from ckanext.archiver.link_actions import harvests
from ckanext.archiver.link_actions.rights import editable, must_edit
from ckanext.archiver.link_actions.selection import UNDO_DAYS, Selection, record
from ckanext.archiver.queue import sql
from ckanext.archiver.report import listing, reader
from ckanext.archiver.report.filters import cursor, read_cursor

log = logging.getLogger(__name__)

MAX_EDITS = 200
"""Links that one action edits: each is a ``resource_patch``."""

SEEN = 3
"""Checks in a row that must have found the same permanent redirect."""

MAX_CHECKED = 20
"""New addresses that are checked while a person waits."""

EDIT_SECONDS = 20.0
"""Time for the edits of one action: CKAN saves and indexes a whole dataset for each, and a web server does not wait."""

CHECKED_AT_ONCE = 4

CHECK_SECONDS = 8.0
"""Time for one of them."""


@dataclass(frozen=True)
class Move:
    """A link and the address that its permanent redirects lead to.

    :ivar obstacle: why it is not taken over, as a sentence; empty where it can be
    :ivar can_be_checked: whether a check may end the obstacle
    """

    resource_id: str
    resource_name: str
    package_id: str
    package_name: str
    package_title: str
    old_url: str
    new_url: str
    obstacle: str
    can_be_checked: bool = False

    @property
    def digest(self) -> str:
        """Both addresses in short: a form sends it back, so that nothing else is saved than what it has shown."""
        return hashlib.sha256(f"{self.old_url}\n{self.new_url}".encode()).hexdigest()[:16]


_LINK_COLUMNS = f"""r.id AS resource_id, coalesce(r.name, '') AS resource_name, p.id AS package_id,
    p.name AS package_name, coalesce(nullif(p.title, ''), p.name) AS package_title, {links.URL_SQL} AS old_url"""


def moves(who: reader.Reader, selection: Selection) -> list[Move]:
    """The selected links that have moved for good, at most ``MAX_EDITS``, and whether each can be taken over.

    :raises NotAuthorized: if the user may edit nothing
    """
    must_edit(who)
    selected = selection.query(who)
    # An upload is moved by uploading it elsewhere.
    selected.conditions.append(
        f"a.permanent_url IS NOT NULL AND a.permanent_url <> {links.URL_SQL} AND coalesce(r.url_type, '') = ''"
    )
    rows = model.Session.connection().execute(
        sa.text(f"""
            SELECT {_LINK_COLUMNS},
                a.permanent_url AS new_url, coalesce(a.permanent_seen, 0) AS seen, a.source_url
            {selected.sql()}
            ORDER BY {_can_be_taken_over()} DESC, p.name, r.position, r.id LIMIT :most
        """),  # noqa: S608 - constants only
        {**selected.params, "seen": SEEN, "most": MAX_EDITS},
    )
    found = rows.mappings().all()
    sources = harvests.sources({row["package_id"] for row in found})
    return [
        Move(
            **{key: row[key] for key in row if key not in ("seen", "source_url")},
            obstacle=_obstacle(row, sources.get(row["package_id"])),
            can_be_checked=row["package_id"] not in sources and not _is_confirmed(row),
        )
        for row in found
    ]


def _can_be_taken_over() -> str:
    """SQL that is true for links without an obstacle: else those with one would fill a page before the others."""
    has_user = f"{links.URL_SQL} ~ '^[a-zA-Z]+://[^/?#]*@'"
    is_confirmed = f"a.permanent_seen >= :seen AND a.source_url = {links.URL_SQL}"
    return f"coalesce({is_confirmed} AND NOT {has_user} AND NOT ({harvests.is_harvested()}), false)"


def _is_confirmed(row: Mapping[str, Any]) -> bool:
    return bool(row["source_url"] == row["old_url"] and row["seen"] >= SEEN)


def _obstacle(row: Mapping[str, Any], source: str | None) -> str:
    if source is not None:
        return harvests.obstacle(source)
    if row["source_url"] != row["old_url"]:
        return tk._("The URL was edited since the last check.")
    if urls.redact(row["old_url"]) != row["old_url"]:
        return tk._("The URL has a user name and password. The server does not say whether the new address needs them.")
    if row["seen"] < SEEN:
        return tk._("Confirmed by {count} of {needed} checks.").format(count=row["seen"], needed=SEEN)
    return ""


@dataclass(frozen=True)
class Replacements:
    """Some links and the addresses they would have on another server.

    :ivar after: the cursor of the next ones; empty where these are the last
    """

    moves: list[Move]
    after: str = ""


def replacements(who: reader.Reader, selection: Selection, old: str, new: str, after: str = "") -> Replacements:
    """The selected links whose URLs begin with ``old``, at most ``MAX_CHECKED``, with ``new`` in its place: each new
    address was just checked, and is taken over only if it works.

    :param after: the cursor that the ones before gave
    :raises BadFilter: for a cursor that was not given
    :raises NotAuthorized: if the user may edit nothing
    :raises ValidationError: for a beginning that is not a whole one, with a server
    """
    must_edit(who)
    _must_have_server("old_prefix", old)
    _must_have_server("new_prefix", new)
    old, new = whole_beginnings(old, new)
    if old == new:
        raise tk.ValidationError({"new_prefix": [tk._("Both beginnings are the same.")]})
    selected = selection.query(who)
    selected.conditions.append(f"starts_with({links.URL_SQL}, :old_prefix) AND coalesce(r.url_type, '') = ''")
    order = listing.by_dataset()
    if after:
        selected = listing.behind(selected, order, read_cursor(after, order.kinds))
    rows = model.Session.connection().execute(
        sa.text(f"""
            SELECT {_LINK_COLUMNS},
                CAST(:new_prefix AS text) || regexp_replace(substr({links.URL_SQL}, length(:old_prefix) + 1),
                    CASE WHEN :new_prefix LIKE '%/' THEN '^/' ELSE '^$' END, '') AS new_url,
                r.format, coalesce(r.position, 0) AS position
            {selected.sql()} {order.sql()} LIMIT :most
        """),  # noqa: S608 - constants only
        {**selected.params, "old_prefix": old, "new_prefix": new, "most": MAX_CHECKED + 1},
    )
    found = rows.mappings().all()
    last = found[MAX_CHECKED - 1] if len(found) > MAX_CHECKED else None
    found = found[:MAX_CHECKED]
    sources = harvests.sources({row["package_id"] for row in found})
    # Nothing of the database is held while servers are waited for.
    model.Session.commit()
    checked = _checked([row for row in found if row["package_id"] not in sources])
    moves = [
        Move(
            **{key: row[key] for key in row if key not in ("format", "position")},
            obstacle=harvests.obstacle(sources[row["package_id"]])
            if row["package_id"] in sources
            else checked[row["resource_id"]],
        )
        for row in found
    ]
    return Replacements(moves, cursor([last["package_name"], last["position"], last["resource_id"]]) if last else "")


def whole_beginnings(old: str, new: str) -> tuple[str, str]:
    """Both with a slash behind the server, and at the end where the other has one: else a server's name would be taken
    for the beginning of another's, and names would run into each other."""

    def whole(prefix: str) -> str:
        return prefix if urlsplit(prefix).path or "?" in prefix else f"{prefix}/"

    old, new = whole(old), whole(new)
    return old, f"{new}/" if old.endswith("/") and not new.endswith("/") and not urlsplit(new).query else new


def common_beginning(who: reader.Reader, selection: Selection) -> str:
    """The scheme and server that the selected links begin with, by a thousand of them; empty where they have several.

    :raises NotAuthorized: if the user may edit nothing
    """
    must_edit(who)
    selected = selection.query(who)
    beginning = f"substring({links.URL_SQL} FROM '^https?://[^/?#]+')"
    rows = model.Session.connection().execute(
        sa.text(f"SELECT DISTINCT beginning FROM (SELECT {beginning} AS beginning {selected.sql()} LIMIT 1000) found"),  # noqa: S608
        selected.params,
    )
    found = rows.scalars().all()
    # One with credentials is not shown; another could not be found again.
    is_plain = len(found) == 1 and found[0] and urls.redact(found[0]) == found[0]
    return f"{found[0]}/" if is_plain else ""


def _must_have_server(name: str, prefix: str) -> None:
    sentence = tk._('"{text}" is not the beginning of an address with its server, like http://files.old.example/.')
    if not prefix.lower().startswith(("http://", "https://")):
        raise tk.ValidationError({name: [sentence.format(text=prefix)]})
    found = urls.normalise(prefix)
    if isinstance(found, urls.BadUrl):
        why = tk._(reasons.REASONS[found.detail]).format(**found.facts)
        raise tk.ValidationError({name: [tk._("{link}: {reason}").format(link=prefix, reason=why)]})


def _checked(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """``{resource id: why the new address does not work, empty where it does}``."""
    limits = replace(
        config.limits(),
        connect_timeout=CHECK_SECONDS,
        first_byte_timeout=CHECK_SECONDS,
        read_timeout=CHECK_SECONDS,
        total_timeout=CHECK_SECONDS,
    )
    wanted = [checking.Link(row["new_url"], row["format"] or "", row["resource_id"]) for row in rows]
    results = checking.check_many(
        wanted, limits=limits, policy=config.policy(), check_only=True, workers=CHECKED_AT_ONCE
    )
    return {
        result["id"]: ""
        if result["verdict"] == Verdict.OK
        else tk._("The new address does not work: {reason}").format(reason=result["reason"])
        for result in results
    }


def replace_beginning(
    who: reader.Reader, selection: Selection, old: str, new: str, shown: Mapping[str, str] | None = None
) -> Applied:
    """Put ``new`` in the place of ``old`` at the beginning of the selected links' URLs, where the new address works.

    :param shown: ``{resource id: digest}`` of the moves that a form has shown; None without a form
    :raises NotAuthorized: if the user may edit nothing
    :raises ValidationError: for a beginning that is not a whole one, with a server
    """
    possible = [move for move in replacements(who, selection, old, new).moves if not move.obstacle]
    note = f"{urls.redact(old)} → {urls.redact(new)}"
    return _edit(who, "replace", selection.described(), possible, note, shown=shown)


@dataclass(frozen=True)
class Applied:
    """What came of edits: how many, and what was refused.

    :ivar action_id: of the record; None where nothing was edited
    :ivar failures: ``(resource name, sentence)``
    :ivar left: links that the time was too short for: they are as they were
    """

    action_id: int | None
    edited: int
    failures: list[tuple[str, str]]
    left: int = 0


def take_over(who: reader.Reader, selection: Selection, shown: Mapping[str, str] | None = None) -> Applied:
    """Save the new address of each selected link that can be taken over, by ``resource_patch``, and commit each.

    :param shown: ``{resource id: digest}`` of the moves that a form has shown; None without a form
    :raises NotAuthorized: if the user may edit nothing
    """
    possible = [move for move in moves(who, selection) if not move.obstacle]
    return _edit(who, "redirect", selection.described(), possible, shown=shown)


def _edit(
    who: reader.Reader,
    kind: str,
    described: Mapping[str, str],
    wanted: Sequence[Move],
    note: str = "",
    *,
    shown: Mapping[str, str] | None = None,
) -> Applied:
    action_id, edited = None, 0
    failures: list[tuple[str, str]] = []
    ends = time.monotonic() + EDIT_SECONDS
    for number, move in enumerate(wanted):
        if time.monotonic() > ends:
            return Applied(action_id, edited, failures, len(wanted) - number)
        if shown is not None and shown.get(move.resource_id) != move.digest:
            sentence = tk._("The addresses have changed since they were shown: look at them again.")
        else:
            sentence = _patch(who, move)
        if sentence:
            failures.append((move.resource_name or move.resource_id, sentence))
            continue
        edited += 1
        with sql.transaction():
            action_id = action_id or record(who, kind, described, note)
            _record_edit(action_id, move)
    return Applied(action_id, edited, failures)


def _record_edit(action_id: int, move: Move) -> None:
    sql.run(
        """
        INSERT INTO archiver_action_link (action_id, resource_id, old_url, new_url)
        VALUES (:action_id, :resource_id, :old_url, :new_url)
        """,
        action_id=action_id,
        resource_id=move.resource_id,
        old_url=move.old_url,
        new_url=move.new_url,
    )
    sql.run("UPDATE archiver_action SET links = links + 1 WHERE id = :id", id=action_id)


# Locked until resource_patch commits: an edit that comes in between is seen, and one that comes later waits.
_LOCKED_URL = f"SELECT {links.URL_SQL} FROM resource r WHERE r.id = :id AND r.state = 'active' FOR UPDATE"  # noqa: S608


def _patch(who: reader.Reader, move: Move) -> str:
    """Save a resource's new URL as the user, unless it was edited in the meantime.

    :returns: why it could not be saved, as a sentence; empty when it was
    """
    assert who.user is not None  # noqa: S101 - see _must_edit
    try:
        if sql.run(_LOCKED_URL, id=move.resource_id).scalar() != move.old_url:
            model.Session.rollback()
            return str(tk._("edited since, and left as it is"))
        tk.get_action("resource_patch")(
            {"user": who.user.name, "auth_user_obj": who.user}, {"id": move.resource_id, "url": move.new_url}
        )
    except Exception as e:  # noqa: BLE001 - of another plugin, or of the search index: the other links are tried
        model.Session.rollback()
        # It may have been saved before that failed: plugins and the index come after.
        is_saved = sql.run(_LOCKED_URL, id=move.resource_id).scalar() == move.new_url
        model.Session.rollback()
        return "" if is_saved else _refusal(move, e)
    return ""


def _refusal(move: Move, error: Exception) -> str:
    """Why a link could not be saved, as a sentence."""
    said = ""
    if isinstance(error, tk.ValidationError):
        # Empty where it is another resource of the dataset that CKAN does not accept.
        said = "; ".join(f"{field}: {text}" for field, text in error.error_summary.items())
    elif isinstance(error, (tk.NotAuthorized, tk.ObjectNotFound)):
        said = str(error) or type(error).__name__
    else:
        log.warning("resource_patch of resource %s: %s: %s", move.resource_id, type(error).__name__, error)
    return said or str(tk._("CKAN does not accept the dataset: edit it to see why."))


def undo_moves(who: reader.Reader, action_id: int) -> list[Move]:
    """The links of an action that has not been undone, from the addresses that it gave them to those they had.

    :raises NotAuthorized: if the user may edit nothing
    :raises ObjectNotFound: if there is no such action of theirs, or it is too long ago
    """
    must_edit(who)
    statement = sa.text(f"""
        SELECT l.resource_id, coalesce(r.name, '') AS resource_name, p.id AS package_id,
            p.name AS package_name, coalesce(nullif(p.title, ''), p.name) AS package_title,
            l.new_url AS old_url, l.old_url AS new_url, {links.URL_SQL} <> l.new_url AS was_edited, p.owner_org
        FROM archiver_action a JOIN archiver_action_link l ON l.action_id = a.id
        JOIN resource r ON r.id = l.resource_id AND r.state = 'active' JOIN package p ON p.id = r.package_id
        WHERE a.id = :id AND a.kind IN ('redirect', 'replace') AND l.undone_at IS NULL
            AND a.at > now() - :days * interval '1 day' AND (:is_sysadmin OR a.user_id = :user_id)
            AND ({who.condition()})
        ORDER BY p.name, r.position
    """)  # noqa: S608 - constants only
    values = {
        **who.params(),
        "id": action_id,
        "days": UNDO_DAYS,
        "is_sysadmin": who.is_sysadmin,
        "user_id": who.user_id,
    }
    rows = model.Session.connection().execute(statement, values).mappings().all()
    mine = editable(who, rows)
    found = [row for row in rows if row["resource_id"] in mine]
    if not found:
        raise tk.ObjectNotFound(tk._("There is nothing to undo."))
    return [
        Move(
            **{key: row[key] for key in row if key not in ("was_edited", "owner_org")},
            obstacle=tk._("edited since, and left as it is") if row["was_edited"] else "",
        )
        for row in found
    ]


def undo(who: reader.Reader, action_id: int) -> Applied:
    """Give the links of an action back the URLs they had, where they were not edited since; and commit each.

    A link that cannot be saved can be undone again later.

    :raises NotAuthorized: if the user may edit nothing
    :raises ObjectNotFound: if there is no such action of theirs, or it is too long ago
    """
    wanted = undo_moves(who, action_id)
    applied = _edit(who, "undo", {}, [move for move in wanted if not move.obstacle])
    with sql.transaction():
        sql.run(
            """
            UPDATE archiver_action_link l SET undone_at = now() FROM archiver_action_link back
            WHERE l.action_id = :id AND back.action_id = :undo AND back.resource_id = l.resource_id
            """,
            id=action_id,
            undo=applied.action_id,
        )
    edited_since = [(move.resource_name or move.resource_id, move.obstacle) for move in wanted if move.obstacle]
    return replace(applied, failures=[*applied.failures, *edited_since])
