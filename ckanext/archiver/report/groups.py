"""Broken links by cause and server: 412 links may be one server that is gone."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver.report import listing, reader
from ckanext.archiver.report.filters import LinkFilter

SHOWN = 20
"""Groups on a page."""


@dataclass(frozen=True)
class Group:
    """Broken links with the same cause on the same server.

    :ivar since: when the oldest of them broke, naive UTC
    :ivar last_success: when any of them last worked, naive UTC
    """

    cause: str
    host: str
    links: int
    datasets: int
    since: datetime.datetime | None
    last_success: datetime.datetime | None


KEPT = 500
"""Groups that a worker keeps of a portal that it counts."""


def of_portal(counted: Sequence[Any] | None, who: reader.Reader) -> list[Group]:
    """The largest groups of the portal.

    :param counted: those of public datasets that a worker counted; None to count them now
    """
    if counted is None:
        return largest(LinkFilter(), who)
    groups = [_read(values) for values in counted]
    if not who.sees_only_public:
        private = largest(LinkFilter(), who, KEPT, only_private=True)
        groups = _merged([*groups, *_not_kept(groups, private), *private])
    return groups[:SHOWN]


def _not_kept(kept: Sequence[Group], private: Sequence[Group]) -> list[Group]:
    """The public part of those groups that the worker did not keep, as there are larger ones."""
    known = {(group.cause, group.host) for group in kept}
    wanted = [group for group in private if (group.cause, group.host) not in known]
    if len(kept) < KEPT or not wanted:
        return []
    return largest(LinkFilter(), reader.everybody(), KEPT, only=wanted)


def _merged(groups: Sequence[Group]) -> list[Group]:
    found: dict[tuple[str, str], Group] = {}
    for group in groups:
        other = found.get((group.cause, group.host))
        found[group.cause, group.host] = group if other is None else _together(group, other)
    return sorted(found.values(), key=lambda group: (-group.links, group.host, group.cause))


def _together(one: Group, other: Group) -> Group:
    return Group(
        one.cause,
        one.host,
        one.links + other.links,
        one.datasets + other.datasets,
        min(filter(None, (one.since, other.since)), default=None),
        max(filter(None, (one.last_success, other.last_success)), default=None),
    )


def written(groups: Sequence[Group]) -> list[list[Any]]:
    """Groups as data for JSON, which :func:`of_portal` reads."""
    return [
        [value.isoformat() if isinstance(value, datetime.datetime) else value for value in astuple(group)]
        for group in groups
    ]


def _read(values: Sequence[Any]) -> Group:
    times = [datetime.datetime.fromisoformat(value) if value else None for value in values[4:]]
    return Group(*values[:4], *times)


def largest(
    wanted: LinkFilter,
    who: reader.Reader,
    size: int = SHOWN,
    *,
    only_private: bool = False,
    only: Sequence[Group] = (),
) -> list[Group]:
    """The largest groups of the links that a filter selects.

    :param only_private: of those datasets only that not everybody sees
    :param only: the same groups as these
    :raises ObjectNotFound: if there is no such organization
    """
    selected = listing.query(wanted, who)
    if only_private:
        selected.conditions.append(who.private_condition())
    if only:
        of_these = "SELECT * FROM unnest(CAST(:causes AS text[]), CAST(:hosts AS text[]))"
        selected.conditions.append(f"(coalesce(a.cause, ''), coalesce(a.host, '')) IN ({of_these})")
        selected.params |= {"causes": [group.cause for group in only], "hosts": [group.host for group in only]}
    params: dict[str, Any] = {**selected.params, "size": size}
    rows = model.Session.connection().execute(
        sa.text(f"""
            SELECT coalesce(a.cause, ''), coalesce(a.host, ''), count(*) AS number, count(DISTINCT p.id),
                min(coalesce(a.broken_since, a.failing_since)), max(a.last_success)
            {selected.sql()}
            GROUP BY 1, 2 ORDER BY number DESC, 2, 1 LIMIT :size
        """),  # noqa: S608 - constants only
        params,
    )
    return [Group(*row) for row in rows]
