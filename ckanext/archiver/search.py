"""What package_show, package_search and the search index say about links.

A dict that comes from the index already went through ``after_dataset_show``, so it carries what was true when
it was indexed: old keys are taken out before fresh ones are put in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import ckan.plugins.toolkit as tk
from ckan import model

from ckanext.archiver import links
from ckanext.archiver.engine.outcome import Verdict
from ckanext.archiver.model import Archival, aggregate_archivals_for_a_dataset

KEY = "archiver"
"""The key in a dataset or resource dict that is ours."""

WITHOUT_KEYS = "archiver_without_keys"
"""In the context of package_show: leave our keys out."""

FIELD = "archiver_status"
"""The field of the search index, and name of the facet. One value per dataset."""

NOT_CHECKED = "none"
"""Value of the field for a dataset none of whose links was looked at yet."""

PackageDict = dict[str, Any]


def strip(pkg_dict: PackageDict) -> None:
    """Take our keys out of a dataset and its resources, in place."""
    pkg_dict.pop(KEY, None)
    resources = pkg_dict.get("resources")
    # On the way in this is whatever a client sent; complaining about it is the schema's business.
    for resource in resources if isinstance(resources, list) else ():
        if isinstance(resource, dict):
            resource.pop(KEY, None)


def add_to_package(context: Mapping[str, Any], pkg_dict: PackageDict) -> None:
    """Put fresh keys into the dict of package_show; for ``after_dataset_show``.

    Nothing is put into a dict that will be saved: by an update (``for_update``), or with each edit and for ever in the
    activity stream (which says ``for_view=False``).
    """
    strip(pkg_dict)
    is_saved = context.get("for_update") or context.get("for_view") is False
    if is_saved or context.get(WITHOUT_KEYS) or not pkg_dict.get("id"):
        return
    _add([pkg_dict])


def add_to_search(results: dict[str, Any]) -> dict[str, Any]:
    """Put fresh keys into a page of results, by one query, and words into its facet.

    For ``after_dataset_search``.
    """
    # With the parameter fl, a result is what the client chose and may lack id and resources.
    datasets = [dataset for dataset in results["results"] if isinstance(dataset, dict)]
    for dataset in datasets:
        strip(dataset)
    _add([dataset for dataset in datasets if dataset.get("id") and isinstance(dataset.get("resources"), list)])
    for item in results.get("search_facets", {}).get(FIELD, {}).get("items", ()):
        item["display_name"] = facet_label(item["name"])
    return results


def _add(datasets: list[PackageDict]) -> None:
    ids = [dataset["id"] for dataset in datasets]
    if not ids:
        return
    found = model.Session.query(Archival).filter(Archival.package_id.in_(ids))
    archivals = {archival.resource_id: archival for archival in found}
    for dataset in datasets:
        of_dataset = []
        for resource in dataset.get("resources") or ():
            archival = archivals.get(resource["id"])
            if archival is not None and links.has_link(resource.get("url"), resource.get("url_type")):
                resource[KEY] = archival.as_dict()
                of_dataset.append(archival)
        if of_dataset:
            dataset[KEY] = aggregate_archivals_for_a_dataset(of_dataset)


def index_fields(pkg_dict: dict[str, Any]) -> dict[str, Any]:
    """Put the facet's value into what is sent to the index; for ``before_dataset_index``.

    A dict cannot be indexed, so none of ours stays.
    """
    if isinstance(pkg_dict.get(KEY), dict):
        del pkg_dict[KEY]
    pkg_dict[FIELD] = facet_value(Archival.get_for_package(pkg_dict["id"]))
    return pkg_dict


def facet_value(archivals: Iterable[Archival]) -> str:
    """The value of ``archiver_status`` for a dataset with these archivals: the verdict of its worst link."""
    worst = aggregate_archivals_for_a_dataset(archivals)
    if worst["verdict"]:
        return str(worst["verdict"])
    if worst["status_id"] is None and worst["is_broken"] is None:
        return NOT_CHECKED
    # A row that an older release, or other code, wrote.
    return {True: Verdict.BROKEN, False: Verdict.OK}.get(worst["is_broken"], Verdict.NOT_SURE).value


def facets(facets_dict: dict[str, Any]) -> dict[str, Any]:
    """Add the facet to a search page; for all three hooks of ``IFacets``."""
    facets_dict[FIELD] = tk._("Link state")
    return facets_dict


def facet_label(value: str) -> str:
    """What a value of the facet is called on a page."""
    labels = {
        Verdict.OK.value: tk._("Links work"),
        Verdict.FAILING.value: tk._("A link is failing"),
        Verdict.BROKEN.value: tk._("A link is broken"),
        Verdict.NOT_SURE.value: tk._("Not sure"),
        NOT_CHECKED: tk._("Not checked yet"),
    }
    return labels.get(value, value)
