"""Keeps the facet of the search index true: what a dataset's links say, and what the index has, are two columns.

A dataset is indexed again only when they differ, so a round over a portal where nothing changed indexes nothing,
and a worker or Solr that dies in between is made up for later.
"""

from __future__ import annotations

import logging
import time

import ckan.plugins as p
import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model
from ckan.lib import search as ckan_search

from ckanext.archiver.ckan_context import ckan_context
from ckanext.archiver.model import WORST_VERDICT_SQL
from ckanext.archiver.queue import leases

log = logging.getLogger(__name__)

LOCK = 0x6172_6369  # "arci"

MOST_FAILURES = 5
"""Datasets of a batch that may fail on their own; when more do, it is the index that fails."""

BATCH, SMALL_BATCH = 50, 5

FAILED_SECONDS = 3600
_failed: dict[str, float] = {}
"""Datasets that the index did not take → when to try again (``time.monotonic``)."""

_NOTE = sa.text(f"""
    INSERT INTO archiver_dataset AS d (package_id, facet)
    SELECT noted.id, {WORST_VERDICT_SQL}
    FROM unnest(CAST(:ids AS text[])) AS noted (id)
    LEFT JOIN (archival a JOIN resource r ON r.id = a.resource_id AND r.state = 'active') ON a.package_id = noted.id
    GROUP BY noted.id ORDER BY noted.id
    ON CONFLICT (package_id) DO UPDATE SET facet = EXCLUDED.facet
    WHERE d.facet IS DISTINCT FROM EXCLUDED.facet
""")  # noqa: S608 - constants only


def note_facet(*package_ids: str) -> None:
    """Note what the links of datasets say now, in the caller's transaction."""
    model.Session.connection().execute(_NOTE, {"ids": list(package_ids)})


def indexes_itself() -> bool:
    """Whether ckanext-qa is there: it indexes what it hears of, after it has done its own work."""
    return p.plugin_loaded("qa")


def refresh_dataset(package_id: str) -> None:
    """Index one dataset again if its facet changed."""
    _refresh("AND package_id = :id", {"id": package_id})


def refresh_left() -> int:
    """Index a batch of the datasets whose facet changed, if no other worker is at it: a small one while this worker
    archives, which needs the processor as well.

    :returns: how many were indexed
    """
    limit = SMALL_BATCH if leases.busy() else BATCH
    # A connection of its own that has the lock and no transaction: indexing takes long, and a dead worker's lock goes
    # with its connection.
    with model.meta.engine.connect() as connection:
        with connection.begin():
            has_lock = connection.execute(sa.text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}).scalar()
        if not has_lock:
            return 0
        try:
            return _refresh("AND package_id <> ALL(:skipped) LIMIT :limit", {"skipped": _skipped(), "limit": limit})
        finally:
            with connection.begin():
                connection.execute(sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})


def _skipped() -> list[str]:
    now = time.monotonic()
    for package_id in [package_id for package_id, until in _failed.items() if until < now]:
        del _failed[package_id]
    return list(_failed)


_STALE = "SELECT package_id, facet, indexed_facet FROM archiver_dataset WHERE facet IS DISTINCT FROM indexed_facet "

# When somebody else indexed it meanwhile, which of us was last is not known: then it is indexed once more.
_INDEXED = """
    UPDATE archiver_dataset SET
        indexed_facet = CASE WHEN indexed_facet IS NOT DISTINCT FROM :before THEN CAST(:facet AS text) END
    WHERE package_id = :id
"""


def _refresh(which: str, params: dict[str, object]) -> int:
    stale = {row.package_id: row for row in model.Session.connection().execute(sa.text(_STALE + which), params)}
    model.Session.commit()
    indexed = list(stale) if indexes_itself() else _index(list(stale))
    for package_id in indexed:
        # With the value that was read before indexing: a newer one stays stale and comes again.
        row = stale[package_id]
        model.Session.connection().execute(
            sa.text(_INDEXED), {"facet": row.facet, "before": row.indexed_facet, "id": package_id}
        )
    model.Session.commit()
    return len(indexed)


def _index(package_ids: list[str]) -> list[str]:
    """Index datasets, with one commit at the end.

    :returns: those that the index has; a dataset that it does not take is left alone for some time
    """
    if not package_ids:
        return []
    failed = {}
    with ckan_context():
        for package_id in package_ids:
            error = _index_one(package_id)
            if error:
                failed[package_id] = error
            if len(failed) == len(package_ids) or len(failed) > MOST_FAILURES:
                # The index itself is away.
                log.warning("The search index takes no datasets: %s. They stay noted.", error)
                return []
        try:
            ckan_search.commit()
        except (ckan_search.SearchError, OSError) as e:
            log.warning("The search index does not commit: %s. The datasets stay noted.", e)
            return []
    for package_id, error in failed.items():
        log.warning("Dataset %s cannot be indexed, trying again in an hour: %s", package_id, error)
        _failed[package_id] = time.monotonic() + FAILED_SECONDS
    return [package_id for package_id in package_ids if package_id not in failed]


def _index_one(package_id: str) -> str:
    """Index a dataset; returns why it cannot be, empty when it was."""
    try:
        ckan_search.rebuild(package_ids=[package_id])
    except tk.ObjectNotFound:
        log.info("Dataset %s is gone; there is nothing to index", package_id)
    except Exception as e:  # noqa: BLE001 - indexing runs hooks of all plugins; one dataset must not stop the others
        model.Session.rollback()
        return f"{type(e).__name__}: {e}"
    return ""
