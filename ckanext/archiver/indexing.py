"""Keeps the facet of the search index true: what a dataset's links say, and what the index has, are two columns.

A dataset is indexed again only when they differ, so a round over a portal where nothing changed indexes nothing,
and a worker or Solr that dies in between is made up for later.
"""

from __future__ import annotations

import logging

import ckan.plugins as p
import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model
from ckan.lib import search as ckan_search

from ckanext.archiver.worker.context import ckan_context

log = logging.getLogger(__name__)

_NOTE = """
    INSERT INTO archiver_dataset AS d (package_id, facet)
    SELECT :id, CASE max(CASE a.verdict WHEN 'broken' THEN 3 WHEN 'failing' THEN 2 WHEN 'not-sure' THEN 1
                         WHEN 'ok' THEN 0 END)
                WHEN 3 THEN 'broken' WHEN 2 THEN 'failing' WHEN 1 THEN 'not-sure' WHEN 0 THEN 'ok' END
    FROM archival a JOIN resource r ON r.id = a.resource_id
    WHERE a.package_id = :id AND r.state = 'active'
    ON CONFLICT (package_id) DO UPDATE SET facet = EXCLUDED.facet
    WHERE d.facet IS DISTINCT FROM EXCLUDED.facet
"""


def note_facet(package_id: str) -> None:
    """Note what a dataset's links say now, in the caller's transaction."""
    model.Session.connection().execute(sa.text(_NOTE), {"id": package_id})


def indexes_itself() -> bool:
    """Whether ckanext-qa is there: it indexes what it hears of, after it has done its own work."""
    return p.plugin_loaded("qa")


def refresh_dataset(package_id: str) -> None:
    """Index one dataset again if its facet changed."""
    _refresh("AND package_id = :id", {"id": package_id})


def refresh_left(limit: int = 100) -> int:
    """Index a batch of the datasets whose facet changed.

    :returns: how many were indexed
    """
    return _refresh("LIMIT :limit", {"limit": limit})


def _refresh(which: str, params: dict[str, object]) -> int:
    statement = (
        f"SELECT package_id, facet FROM archiver_dataset WHERE facet IS DISTINCT FROM indexed_facet {which}"  # noqa: S608 - constants
    )
    stale = model.Session.connection().execute(sa.text(statement), params).all()
    model.Session.commit()
    if not stale:
        return 0
    if not indexes_itself() and not _index([package_id for package_id, _ in stale]):
        return 0
    for package_id, facet in stale:
        # With the value that was read before indexing: a newer one stays stale and comes again.
        model.Session.connection().execute(
            sa.text("UPDATE archiver_dataset SET indexed_facet = :facet WHERE package_id = :id"),
            {"facet": facet, "id": package_id},
        )
    model.Session.commit()
    return len(stale)


def _index(package_ids: list[str]) -> bool:
    """Index datasets with one commit at the end. False when the index does not take them."""
    with ckan_context():
        try:
            for package_id in package_ids:
                _index_one(package_id)
            ckan_search.commit()
        except (ckan_search.SearchError, OSError) as e:
            log.warning(
                "The search index does not take %s datasets: %s. They stay noted.", len(package_ids), e
            )
            return False
    return True


def _index_one(package_id: str) -> None:
    try:
        ckan_search.rebuild(package_ids=[package_id])
    except tk.ObjectNotFound:
        log.info("Dataset %s is gone; there is nothing to index", package_id)
