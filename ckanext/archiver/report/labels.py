"""Datasets that the permission labels of an extension (IPermissionLabels) hide or show, as package_search decides."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ckan.lib.plugins as lib_plugins
import ckan.plugins.toolkit as tk
import pysolr
from ckan import model
from ckan.lib.search.common import make_connection
from ckan.lib.search.query import solr_literal

from ckanext.archiver.errors import ArchiverError

BATCH = 10_000
"""Ids that are read from Solr at a time."""

KEPT_SECONDS = 30
"""For which what Solr said is kept: a page asks several times, and a portal may have many such datasets."""

KEPT = 20
"""Answers that are kept."""

_kept: dict[tuple[str, ...], tuple[float, tuple[str, ...]]] = {}


class SearchAwayError(ArchiverError, OSError):
    """Solr, which knows the labels of datasets, cannot be reached."""


@dataclass(frozen=True)
class Labelled:
    """Ids of the datasets for which the labels of an extension change who sees them.

    :ivar hidden: in the search index, and not for everybody
    :ivar shown: those of them that the reader's labels show
    """

    hidden: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()


def of_user(user: Any) -> Labelled | None:
    """What the labels of an extension decide for a user; None where no extension has its own.

    Labels are known to the search index alone: to ask the extension would be a call for each dataset. A dataset that
    the index does not have is in no list: its rows are judged by :func:`readable`.

    :param user: None for a reader who is not logged in
    :raises SearchAwayError: if Solr cannot be reached
    """
    decides = lib_plugins.get_permission_labels()
    if type(decides) is lib_plugins.DefaultPermissionLabels:
        return None
    of = decides.get_user_dataset_labels
    not_public = f"-{_any_of(of(None))}"
    hidden = _ids(not_public)
    if user is None or not hidden:
        return Labelled(hidden)
    return Labelled(hidden, hidden if user.sysadmin else _ids(not_public, f"+{_any_of(of(user))}"))


def readable(user: Any, package_ids: Collection[str]) -> set[str]:
    """Those of some datasets that the extension itself lets a user see."""
    if user is not None and user.sysadmin:
        return set(package_ids)
    decides = lib_plugins.get_permission_labels()
    mine = set(decides.get_user_dataset_labels(user))
    packages = model.Session.query(model.Package).filter(model.Package.id.in_(list(package_ids)))
    return {package.id for package in packages if mine.intersection(decides.get_dataset_labels(package))}


def _any_of(labels: Sequence[str]) -> str:
    return f"permission_labels:({' OR '.join(map(solr_literal, labels))})"


def _ids(*conditions: str) -> tuple[str, ...]:
    """Ids of the indexed datasets that meet all conditions, some seconds old at most."""
    until, found = _kept.get(conditions, (float("-inf"), ()))
    if time.monotonic() > until:
        try:
            found = tuple(_read(conditions))
        except (pysolr.SolrError, OSError) as e:
            raise SearchAwayError(f"The search index does not answer: {e}") from e
        while len(_kept) >= KEPT:
            del _kept[next(iter(_kept))]
        _kept[conditions] = time.monotonic() + KEPT_SECONDS, found
    return found


def _read(conditions: Sequence[str]) -> Iterator[str]:
    """Read page by page with Solr's cursor."""
    solr = make_connection(decode_dates=False)
    of_this_portal = f"+site_id:{solr_literal(tk.config['ckan.site_id'])}"
    cursor, previous = "*", ""
    while cursor != previous:
        found = solr.search(
            "*:*",
            fq=[of_this_portal, "+entity_type:package", *conditions],
            fl="id",
            rows=BATCH,
            sort="index_id asc",
            cursorMark=cursor,
        )
        yield from (document["id"] for document in found.docs)
        cursor, previous = found.nextCursorMark, cursor
