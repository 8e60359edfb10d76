"""Keeps the facet in the search index up to date: the value of a dataset's links and the value that the index has are
two columns.

A dataset is indexed again only when the two differ, so a round in which no verdict changed indexes nothing, and
nothing is lost when a worker or Solr dies in between. Indexing opens its own transactions: none is open while Solr
works.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import ckan.plugins as p
import ckan.plugins.toolkit as tk
import pysolr
import sqlalchemy as sa
from ckan import model
from ckan.lib import search as ckan_search

from ckanext.archiver import config, links, search
from ckanext.archiver.ckan_context import ckan_context
from ckanext.archiver.queue import leases, sql
from ckanext.archiver.worst_link import COPY, FACET_SQL

log = logging.getLogger(__name__)

LEASE_SECONDS = 120
"""For a batch of datasets; then another worker may index beside a slow one. In a dead one's place it may at once."""

MAX_FAILURES = 5
"""Datasets of a batch that may fail by themselves; when more fail, the index itself is taken to be away."""

BATCH, SMALL_BATCH = 50, 5
"""Datasets of a batch; the small one while this worker archives."""

FAILED_SECONDS = 3600
_failed: dict[str, float] = {}
"""Datasets that could not be indexed → when to try again (``time.monotonic``)."""

_NOTE = sa.text(f"""
    INSERT INTO archiver_dataset AS d (package_id, facet)
    SELECT noted.id, {FACET_SQL}
    FROM unnest(CAST(:ids AS text[])) AS noted (id)
    LEFT JOIN (archival a JOIN resource r ON r.id = a.resource_id AND r.state = 'active' AND {links.HAS_LINK_SQL})
        ON a.package_id = noted.id
    GROUP BY noted.id ORDER BY noted.id
    ON CONFLICT (package_id) DO UPDATE SET facet = EXCLUDED.facet
    WHERE d.facet IS DISTINCT FROM EXCLUDED.facet
""")  # noqa: S608 - constants only


def note_facet(*package_ids: str) -> None:
    """Write the facet values of datasets as their links are now, in the caller's transaction."""
    model.Session.connection().execute(_NOTE, {"ids": list(package_ids)})


def indexes_itself() -> bool:
    """Whether ckanext-qa is loaded: it indexes each dataset of an event itself, after its own work. Whether it has done
    so, the index knows."""
    return p.plugin_loaded("qa")


def refresh_dataset(package_id: str) -> None:
    """Index one dataset again if its facet changed."""
    _refresh("AND package_id = :id", {"id": package_id})


def refresh_left() -> int:
    """Index a batch of the datasets whose facet changed, unless another worker is indexing.

    The batch is small while this worker archives, which needs the processor as well.

    :returns: how many were indexed
    """
    limit = SMALL_BATCH if leases.busy() else BATCH
    with sql.transaction():
        is_stale = sql.run(_STALE + "AND package_id <> ALL(:skipped) LIMIT 1", skipped=_skipped()).first() is not None
    if not is_stale or not _take_lease():
        return 0
    try:
        return _refresh("AND package_id <> ALL(:skipped) LIMIT :limit", {"skipped": _skipped(), "limit": limit})
    finally:
        _leave_lease()


# A row and no advisory lock: indexing takes long, so it holds no transaction, and behind PgBouncer (transaction mode) a
# session's lock stays with a connection that others use next. Two workers at it do no harm.
_TAKE_LEASE = f"""
    INSERT INTO archiver_state AS s (key, value) VALUES ('indexing', to_jsonb(CAST(:worker AS text)))
    ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = now()
    WHERE s.value = EXCLUDED.value OR s.value = 'null' OR s.updated_at < now() - :seconds * interval '1 second'
        OR NOT EXISTS (SELECT 1 FROM archiver_worker w WHERE to_jsonb(w.worker_id) = s.value AND {sql.WORKER_IS_ALIVE})
"""  # noqa: S608 - constants only
_LEAVE_LEASE = """
    UPDATE archiver_state SET value = 'null' WHERE key = 'indexing' AND value = to_jsonb(CAST(:worker AS text))
"""


def _take_lease() -> bool:
    with sql.transaction():
        params = {"worker": leases.worker_id(), "seconds": LEASE_SECONDS, "dead": config.worker_dead_seconds()}
        return bool(sql.run(_TAKE_LEASE, **params).rowcount)


def _leave_lease() -> None:
    with sql.transaction():
        sql.run(_LEAVE_LEASE, worker=leases.worker_id())


def _skipped() -> list[str]:
    now = time.monotonic()
    for package_id in [package_id for package_id, until in _failed.items() if until < now]:
        del _failed[package_id]
    return list(_failed)


_STALE = "SELECT package_id, facet, indexed_facet FROM archiver_dataset WHERE facet IS DISTINCT FROM indexed_facet "

# If another process indexed the dataset at the same time, it is not known which was last: it is indexed once more.
_INDEXED = """
    UPDATE archiver_dataset SET
        indexed_facet = CASE WHEN indexed_facet IS NOT DISTINCT FROM :before THEN CAST(:facet AS text) END
    WHERE package_id = :id
"""


def _refresh(which: str, params: dict[str, object]) -> int:
    stale = {row.package_id: row for row in model.Session.connection().execute(sa.text(_STALE + which), params)}
    model.Session.commit()
    if indexes_itself():
        indexed = _has_index(stale)
        indexed += _index([package_id for package_id in _overdue(stale) if package_id not in indexed])
    else:
        indexed = _index(list(stale))
    for package_id in indexed:
        # The value that was read before indexing: a newer one leaves the row stale, and it is indexed again.
        row = stale[package_id]
        model.Session.connection().execute(
            sa.text(_INDEXED), {"facet": row.facet, "before": row.indexed_facet, "id": package_id}
        )
    model.Session.commit()
    return len(indexed)


QA_SECONDS = 120
"""How long ckanext-qa has to index a dataset after its facet changed; then it is indexed here."""

_waiting_since: dict[tuple[str, str | None], float] = {}
"""Datasets that ckanext-qa is to index, with the facet, → since when (``time.monotonic``)."""


def _overdue(stale: Mapping[str, Any]) -> list[str]:
    """Those stale datasets that ckanext-qa has not indexed in time: it may have no worker, or fail on them."""
    now = time.monotonic()
    keys = {(package_id, row.facet) for package_id, row in stale.items()}
    for key in keys:
        _waiting_since.setdefault(key, now)
    overdue = {key for key in keys if now - _waiting_since[key] > QA_SECONDS}
    for key in [key for key, since in _waiting_since.items() if key in overdue or now - since > 3600]:
        del _waiting_since[key]
    return sorted(package_id for package_id, _ in overdue)


def _has_index(stale: Mapping[str, Any]) -> list[str]:
    """Those stale datasets that the search index has with their new facet already."""
    by_facet: dict[str, list[str]] = {}
    for package_id, row in stale.items():
        by_facet.setdefault(row.facet or search.NOT_CHECKED, []).append(package_id)
    found: list[str] = []
    try:
        solr = ckan_search.make_connection()
        for facet, ids in by_facet.items():
            any_id = " OR ".join(f'"{package_id}"' for package_id in ids)
            verdict, has_copy, _ = facet.partition(COPY)
            copy = f'{"+" if has_copy else "-"}{search.COPY_FIELD}:"true"'
            wanted = [f'{search.FIELD}:"{verdict}"', copy, f"id:({any_id})"]
            results = solr.search("*:*", fq=wanted, fl="id", rows=len(ids))
            found += [document["id"] for document in results.docs]
    except (ckan_search.SearchError, pysolr.SolrError, OSError) as e:
        log.warning("The search index does not answer: %s. The datasets stay marked as stale.", e)
    return list(dict.fromkeys(found))


def _index(package_ids: list[str]) -> list[str]:
    """Index datasets, with one commit at the end.

    :returns: those that were indexed; a dataset that cannot be is skipped for ``FAILED_SECONDS``
    """
    if not package_ids:
        return []
    failed = {}
    with ckan_context():
        for package_id in package_ids:
            error = _index_one(package_id)
            if error:
                failed[package_id] = error
            if len(failed) == len(package_ids) or len(failed) > MAX_FAILURES:
                # The index itself is down.
                log.warning("The search index does not accept datasets: %s. They stay marked as stale.", error)
                return []
        try:
            ckan_search.commit()
        except (ckan_search.SearchError, OSError) as e:
            log.warning("The search index does not commit: %s. The datasets stay marked as stale.", e)
            return []
    for package_id, error in failed.items():
        log.warning("Dataset %s cannot be indexed, trying again in an hour: %s", package_id, error)
        _failed[package_id] = time.monotonic() + FAILED_SECONDS
    return [package_id for package_id in package_ids if package_id not in failed]


def _index_one(package_id: str) -> str:
    """Index a dataset.

    :returns: why it cannot be indexed; empty when it was
    """
    try:
        ckan_search.rebuild(package_ids=[package_id])
    except tk.ObjectNotFound:
        log.info("Dataset %s no longer exists; nothing to index", package_id)
    except Exception as e:  # noqa: BLE001 - indexing runs hooks of all plugins; one dataset must not stop the others
        model.Session.rollback()
        return f"{type(e).__name__}: {e}"
    return ""
