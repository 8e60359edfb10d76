"""The actions of the API.

``package_create`` and ``package_update`` are CKAN's own with one step before them: the keys that package_show adds
under ``archiver`` are removed, so that a client that sends back what it was shown stores none of them. Every other
action that saves a resource goes through these two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ckan.plugins.toolkit as tk
from ckan import model

from ckanext.archiver import compat, monitoring, search
from ckanext.archiver.logic import schema
from ckanext.archiver.logic.report_action import (
    archiver_link_list,
    archiver_redirect_apply,
    archiver_snooze,
    archiver_summary,
)
from ckanext.archiver.model import Archival, aggregate_archivals_for_a_dataset

__all__ = [
    "archiver_dataset_show",
    "archiver_link_list",
    "archiver_redirect_apply",
    "archiver_resource_show",
    "archiver_snooze",
    "archiver_status_show",
    "archiver_summary",
    "package_create",
    "package_update",
]

Action = Callable[[Any, dict[str, Any]], Any]


@tk.side_effect_free
def archiver_resource_show(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """The state of one resource's link: whether it works, why not, since when, and its copy.

    Requires the right to see the resource (``resource_show``).

    :param id: id of the resource
    :type id: string

    :returns: the archival, as ``package_show`` has it under the resource's ``archiver``. Times are ISO 8601
        in UTC, without an offset. ``is_broken`` is true, false, or null when that is not sure or not confirmed
    :rtype: dictionary
    :raises NotFound: if there is no such resource, or its link was never checked
    """
    id_ = _id(context, data_dict)
    resource = model.Resource.get(id_)
    if resource is None or resource.state != model.State.ACTIVE:
        raise tk.ObjectNotFound(tk._("There is no resource {id}.").format(id=id_))
    tk.check_access("archiver_resource_show", context, {"id": resource.id})
    archival = Archival.get_for_resource(resource.id)
    if archival is None:
        raise tk.ObjectNotFound(tk._("The resource {id} has not been checked yet.").format(id=id_))
    return archival.as_dict()


@tk.side_effect_free
def archiver_dataset_show(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """The state of a dataset: that of its worst link.

    Requires the right to see the dataset (``package_show``).

    :param id: id or name of the dataset
    :type id: string

    :returns: ``status_id``, ``status``, ``reason``, ``is_broken`` and ``verdict``, as ``package_show`` has
        them under ``archiver``
    :rtype: dictionary
    :raises NotFound: if there is no such dataset, or none of its links was checked
    """
    id_ = _id(context, data_dict)
    package = model.Package.get(id_)
    if package is None:
        raise tk.ObjectNotFound(tk._("There is no dataset {id}.").format(id=id_))
    tk.check_access("archiver_dataset_show", context, {"id": package.id})
    archivals = Archival.get_for_package(package.id)
    if not archivals:
        raise tk.ObjectNotFound(tk._("No resource of the dataset {id} has been checked yet.").format(id=id_))
    return aggregate_archivals_for_a_dataset(archivals)


@tk.side_effect_free
def archiver_status_show(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """The state of the queues, the round, the hosts, the workers and the disk. For sysadmins.

    :returns: what ``ckan archiver status --json`` prints: ``queues`` (``waiting``, ``running``, ``in_broker`` and
        ``oldest_wait_seconds`` of each), ``rate_per_second``, ``round`` (``started_at``, ``eta_seconds``, ``last``),
        ``hosts_paused``, ``broker`` (``answers``, ``error``, ``workers_polling``), ``workers``,
        ``queues_without_worker``, ``held``, ``set_aside``, ``links`` (by verdict), ``disk``, ``notices_waiting``,
        ``subscriber_failures``, ``datasets_to_index``, ``database`` (``dead_rows``,
        ``oldest_transaction_seconds``) and ``time``. Times are ISO 8601 with an offset
    :rtype: dictionary
    """
    tk.check_access("archiver_status_show", context, data_dict)
    return monitoring.collect()


def _id(context: Any, data_dict: dict[str, Any]) -> str:
    data, errors = tk.navl_validate(data_dict, schema.archiver_show(), context)
    if errors:
        raise tk.ValidationError(errors)
    return data["id"]


@tk.chained_action
def package_create(next_action: Action, context: Any, data_dict: dict[str, Any]) -> Any:
    """CKAN's own, without the keys that package_show adds under ``archiver``."""
    search.strip(data_dict)
    return next_action(context, data_dict)


@tk.chained_action
def package_update(next_action: Action, context: Any, data_dict: dict[str, Any]) -> Any:
    """CKAN's own, without the keys that package_show adds under ``archiver``."""
    search.strip(data_dict)
    if compat.update_compares() and not context.get("original_package"):
        # CKAN would compare with what package_show returns, our keys included, and treat every resource as changed.
        original = _as_saved(context, data_dict.get("id") or data_dict.get("name"))
        if original is not None:
            context["original_package"] = original
    return next_action(context, data_dict)


def _as_saved(context: Any, name_or_id: Any) -> dict[str, Any] | None:
    package = model.Package.get(name_or_id) if isinstance(name_or_id, str) else None
    if package is None:
        return None
    show_context = {"user": context.get("user"), "ignore_auth": True, search.WITHOUT_KEYS: True}
    shown: dict[str, Any] = tk.get_action("package_show")(show_context, {"id": package.id})
    return shown
