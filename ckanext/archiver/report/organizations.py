"""Organizations and what is below them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model
from flask import g, has_request_context

TREE = """
    WITH RECURSIVE tree (top, id) AS (
        SELECT id, id FROM "group"
        WHERE is_organization AND state = 'active' AND (CAST(:top AS text) IS NULL OR id = :top)
        UNION
        SELECT tree.top, child.id
        FROM tree
        JOIN member m ON m.table_id = tree.id AND m.table_name = 'group' AND m.state = 'active'
        JOIN "group" child ON child.id = m.group_id AND child.is_organization AND child.state = 'active'
        WHERE :include_sub_organizations
    )
"""
"""SQL: each organization (``top``) with itself and, optionally, all organizations below it. UNION ends a circle of
parents."""


@dataclass(frozen=True)
class Organization:
    """An active organization."""

    id: str
    name: str
    title: str


_GET = sa.text("""
    SELECT id, name, coalesce(nullif(title, ''), name) FROM "group"
    WHERE (id = :wanted OR name = :wanted OR lower(title) = lower(:wanted)) AND is_organization AND state = 'active'
    ORDER BY id = :wanted DESC, name = :wanted DESC LIMIT 2
""")


def get(wanted: str) -> Organization:
    """An active organization.

    :param wanted: its name or id, or a title that no other has
    :raises ObjectNotFound: if there is none
    """
    found = _once(("organization", wanted), lambda: [Organization(*row) for row in _execute(_GET, wanted=wanted)])
    if not found or (len(found) > 1 and wanted not in (found[0].id, found[0].name)):
        raise tk.ObjectNotFound(f"There is no organization {wanted!r}.")
    return found[0]


_TITLES = sa.text("""
    SELECT coalesce(nullif(title, ''), name) FROM "group" WHERE is_organization AND state = 'active' LIMIT :most
""")


def titles(most: int) -> list[str]:
    """The titles of all organizations, to choose from; empty where there are more than ``most``."""
    found = list(_execute(_TITLES, most=most + 1).scalars())
    return sorted(found, key=str.casefold) if len(found) <= most else []


_IDS = sa.text(TREE + "SELECT id FROM tree")  # noqa: S608 - constants only


def ids(name_or_id: str, include_sub_organizations: bool) -> list[str]:
    """The id of an organization, with those of all below it if wanted.

    :raises ObjectNotFound: if there is none
    """
    top = get(name_or_id).id
    if not include_sub_organizations:
        return [top]
    found = _once(("below", top), lambda: _execute(_IDS, top=top, include_sub_organizations=True).scalars().all())
    return list(found)


def _execute(statement: Any, **params: Any) -> Any:
    return model.Session.connection().execute(statement, params)


def _once(key: tuple[str, str], find: Callable[[], Any]) -> Any:
    """What ``find`` finds, found once for a page: its list, its total and its title ask for the same."""
    if not has_request_context():
        return find()
    known: dict[tuple[str, str], Any] = g.setdefault("archiver_organizations", {})
    if known.get(key) is None:
        known[key] = find()
    return known[key]


# -- the tree -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """An organization in the tree.

    :ivar parent: name of the one above; empty at the top
    """

    name: str
    title: str
    parent: str


_NODES = sa.text("""
    SELECT g.name, coalesce(nullif(g.title, ''), g.name) AS title, coalesce(min(above.name), '') AS parent
    FROM "group" g
    LEFT JOIN member m ON m.group_id = g.id AND m.table_name = 'group' AND m.state = 'active'
    LEFT JOIN "group" above ON above.id = m.table_id AND above.is_organization AND above.state = 'active'
    WHERE g.is_organization AND g.state = 'active'
    GROUP BY g.id, g.name, g.title
""")


def tree() -> dict[str, Node]:
    """All organizations by name."""
    return {row.name: Node(*row) for row in model.Session.connection().execute(_NODES)}


def children(nodes: dict[str, Node], parent: str) -> set[str]:
    """Names of those right below an organization; of those at the top for "", and "" itself for datasets without one.

    Where parents make a circle, all of them are at the top: nothing else leads to them.

    :raises ObjectNotFound: if there is no such organization
    """
    if parent:
        if parent not in nodes:
            raise tk.ObjectNotFound(f"There is no organization {parent!r}.")
        return {node.name for node in nodes.values() if node.parent == parent}
    return {"", *(node.name for node in nodes.values() if not node.parent or node in path(nodes, node.parent))}


def below(nodes: dict[str, Node], parent: str) -> int:
    """How many organizations are right below one."""
    return sum(1 for node in nodes.values() if parent and node.parent == parent)


def path(nodes: dict[str, Node], name: str) -> list[Node]:
    """An organization with those above it, the topmost first."""
    found: list[Node] = []
    while name in nodes and nodes[name] not in found:
        found.insert(0, nodes[name])
        name = nodes[name].parent
    return found
