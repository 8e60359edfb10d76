"""What package_show, package_search and the search index say about links.

A dict from the index went through ``after_dataset_show`` before it was indexed, so its keys are as old as the index:
they are removed before fresh ones are added.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import ckan.plugins.toolkit as tk

from ckanext.archiver import alternatives, links, states, tables
from ckanext.archiver.engine.outcome import Verdict
from ckanext.archiver.model import Archival, aggregate_archivals_for_a_dataset
from ckanext.archiver.worst_link import verdict_of, worst_archival

KEY = "archiver"
"""Our key in the dict of a dataset or resource."""

WITHOUT_KEYS = "archiver_without_keys"
"""In the context of package_show: do not add our keys."""

FIELD = "archiver_status"
"""The field of the search index and the name of the facet. One value per dataset."""

NOT_CHECKED = "none"
"""Value of the field for a dataset without any checked link."""

COPY_FIELD = "archiver_copy"
"""The field of the search index that is "true" for a dataset with a cached copy, and missing for others."""

WAITING = "waiting"
"""State of a link whose first check is requested."""

PackageDict = dict[str, Any]


def strip(pkg_dict: PackageDict) -> None:
    """Remove our keys from a dataset and its resources, in place."""
    pkg_dict.pop(KEY, None)
    resources = pkg_dict.get("resources")
    # On the way in this can be anything that a client sent; the schema reports what is wrong with it.
    for resource in resources if isinstance(resources, list) else ():
        if isinstance(resource, dict):
            resource.pop(KEY, None)


def add_to_package(context: Mapping[str, Any], pkg_dict: PackageDict) -> None:
    """Add fresh keys to the dict of package_show; for ``after_dataset_show``.

    A dict that will be saved gets none: that of an update (``for_update``), and that of the activity stream, which
    keeps it for ever (``for_view=False``).
    """
    strip(pkg_dict)
    is_saved = context.get("for_update") or context.get("for_view") is False
    if is_saved or context.get(WITHOUT_KEYS) or not pkg_dict.get("id"):
        return
    _add([pkg_dict], for_sysadmin=states.is_sysadmin(context))


def add_to_search(results: dict[str, Any]) -> dict[str, Any]:
    """Add fresh keys to a page of results, by one query, and labels to its facet.

    For ``after_dataset_search``.
    """
    # With the parameter fl a result has the fields that the client chose, perhaps without id and resources.
    datasets = [dataset for dataset in results["results"] if isinstance(dataset, dict)]
    for dataset in datasets:
        strip(dataset)
    _add([dataset for dataset in datasets if dataset.get("id") and isinstance(dataset.get("resources"), list)])
    facets_ = results.get("search_facets", {})
    for item in facets_.get(FIELD, {}).get("items", ()):
        item["display_name"] = state_label(item["name"])
    for item in facets_.get(COPY_FIELD, {}).get("items", ()):
        item["display_name"] = tk._("With a cached copy")
    return results


def _add(datasets: list[PackageDict], *, for_sysadmin: bool = False) -> None:
    ids = [resource["id"] for dataset in datasets for resource in dataset.get("resources") or ()]
    rows = {row.resource_id: row for row in states.shown_of_resources(ids)} if ids else {}
    for dataset in datasets:
        of_dataset = []
        for resource in dataset.get("resources") or ():
            row = rows.get(resource["id"])
            if row is not None and links.has_link(resource.get("url"), resource.get("url_type")):
                known = states.mapping_of_shown(row)
                resource[KEY] = states.as_dict(known, states.SHOWN_COLUMNS, for_sysadmin=for_sysadmin)
                if alternative := alternatives.of_link(resource, known):
                    resource[KEY]["alternative_url"] = alternative
                of_dataset.append(row)
        if of_dataset:
            dataset[KEY] = aggregate_archivals_for_a_dataset(of_dataset)


def index_fields(pkg_dict: dict[str, Any]) -> dict[str, Any]:
    """Add the facet's value to what is sent to the index; for ``before_dataset_index``.

    Solr cannot index a dict, so ours is removed. So is what package_show added to the copies of the dataset that CKAN
    keeps in the index as JSON: without this extension nothing would remove it when it is shown again.
    """
    if isinstance(pkg_dict.get(KEY), dict):
        del pkg_dict[KEY]
    _strip_copies(pkg_dict)
    archivals = Archival.get_for_package(pkg_dict["id"]) if tables.exist() else ()
    pkg_dict[FIELD] = facet_value(archivals)
    if any(archival.cache_filepath for archival in archivals):
        pkg_dict[COPY_FIELD] = "true"
    return pkg_dict


def _strip_copies(pkg_dict: dict[str, Any]) -> None:
    """Remove our keys from the copies of a dataset that are JSON. On CKAN 2.11 one copy has the other within it."""
    for name in ("data_dict", "validated_data_dict"):
        copy = pkg_dict.get(name)
        if isinstance(copy, str) and KEY in copy:
            dataset = json.loads(copy)
            strip(dataset)
            _strip_copies(dataset)
            pkg_dict[name] = json.dumps(dataset)


def facet_value(archivals: Iterable[Archival]) -> str:
    """The value of ``archiver_status`` for a dataset with these archivals: the verdict of its worst link."""
    worst = worst_archival(archivals)
    if worst is None or (worst.verdict is None and worst.status_id is None and worst.is_broken is None):
        return NOT_CHECKED
    return verdict_of(worst.verdict, worst.is_broken).value


def facets(facets_dict: dict[str, Any]) -> dict[str, Any]:
    """Add the facet to a search page; for all three hooks of ``IFacets``."""
    facets_dict[FIELD] = tk._("Link state")
    facets_dict[COPY_FIELD] = tk._("Cached copies")
    # Not the last: readers look for a state before a licence.
    if "license_id" in facets_dict:
        facets_dict["license_id"] = facets_dict.pop("license_id")
    return facets_dict


def state_label(state: str) -> str:
    """The name of a link's state, the same on badges, panel, facet and report.

    :param state: a verdict, ``WAITING`` or ``NOT_CHECKED``; another value is its own name
    """
    labels = {
        Verdict.OK.value: tk._("Link works"),
        Verdict.FAILING.value: tk._("Link failing"),
        Verdict.BROKEN.value: tk._("Link broken"),
        Verdict.NOT_SURE.value: tk._("Not sure"),
        WAITING: tk._("Waiting to be checked"),
        NOT_CHECKED: tk._("Not checked yet"),
        "stored": tk._("Stored in this portal"),
    }
    return labels.get(state, state)
