"""Datasets that the permission labels of an extension (IPermissionLabels) hide or show, as package_search decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ckan.lib.plugins as lib_plugins
import ckan.plugins.toolkit as tk
from ckan.lib.search.common import make_connection
from ckan.lib.search.query import solr_literal

BATCH = 10_000
"""Ids that are read from Solr at a time."""


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

    Labels are known to the search index alone: to ask the extension would be a call for each dataset.

    :param user: None for a reader who is not logged in
    :raises SolrError: if Solr cannot be reached
    """
    decides = lib_plugins.get_permission_labels()
    if type(decides) is lib_plugins.DefaultPermissionLabels:
        return None
    of = decides.get_user_dataset_labels
    not_public = f"-{_any_of(of(None))}"
    hidden = tuple(_ids([not_public]))
    if user is None or not hidden:
        return Labelled(hidden)
    return Labelled(hidden, hidden if user.sysadmin else tuple(_ids([not_public, f"+{_any_of(of(user))}"])))


def _any_of(labels: Sequence[str]) -> str:
    return f"permission_labels:({' OR '.join(map(solr_literal, labels))})"


def _ids(conditions: Sequence[str]) -> Iterator[str]:
    """Ids of the indexed datasets that meet all conditions, read page by page with Solr's cursor."""
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
