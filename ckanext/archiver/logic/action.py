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

from ckanext.archiver import (
    checking_now,
    clock,
    compat,
    history,
    link_actions,
    monitoring,
    search,
    states,
)
from ckanext.archiver.logic import schema
from ckanext.archiver.logic.report_action import (
    archiver_link_list,
    archiver_redirect_apply,
    archiver_snooze,
    archiver_summary,
)
from ckanext.archiver.model import BOOKKEEPING, Archival, aggregate_archivals_for_a_dataset
from ckanext.archiver.report import reader

__all__ = [
    "archiver_check",
    "archiver_dataset_show",
    "archiver_history",
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

    :returns: the archival: what ``package_show`` has under the resource's ``archiver``, and all other columns,
        ``requested`` (whether a check is waiting or running) and ``uptime`` (percentages by days: "7", "30", "90" and
        "365"; null when nothing is known). ``is_broken`` is true, false, or null when that is not sure or not
        confirmed. Times are ISO 8601 in UTC: without an offset in the keys of older releases, with one in the others.
        ``cache_filepath`` is shown to sysadmins only, and URLs have no credentials
    :rtype: dictionary
    :raises NotFound: if there is no such resource, or its link was never checked
    """
    id_ = _id(context, data_dict)
    resource = model.Resource.get(id_)
    if resource is None or resource.state != model.State.ACTIVE:
        raise tk.ObjectNotFound(tk._("There is no resource {id}.").format(id=id_))
    tk.check_access("archiver_resource_show", context, {"id": resource.id})
    known = states.of_resource(resource.id, resource.package_id)
    if known is None or known.archival is None:
        raise tk.ObjectNotFound(tk._("The resource {id} has not been checked yet.").format(id=id_))
    columns = [column.name for column in Archival.__table__.columns if column.name not in BOOKKEEPING]
    shown = states.as_dict(known.archival, columns, for_sysadmin=states.is_sysadmin(context))
    strip = history.days(states.checks(resource.id, history.UPTIME_DAYS[-1]), clock.naive_utc().date(), 365)
    return shown | {
        "requested": known.requested,
        "uptime": {str(days): history.uptime(strip, days) for days in history.UPTIME_DAYS},
    }


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


def archiver_check(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Request a check of links now: of a resource, of a dataset, or of all datasets of an organization.

    Requires the right to edit the dataset or organization. Up to 200 links go to the queue ``priority``, more to
    ``bulk``. A resource by itself can be checked once a minute.

    :param id: id of the resource, or id or name of the dataset or organization
    :type id: string

    :returns: ``queue`` and ``requested``, the number of links whose check is now requested or was already; ``paused``,
        null or the operator's pause that the checks wait for (``queue`` and ``host``, empty for all, ``by``,
        ``since``, ``reason``)
    :rtype: dictionary
    :raises NotFound: if there is no such resource, dataset or organization
    :raises ValidationError: if the resource was checked less than a minute ago
    """
    id_ = _id(context, data_dict)
    condition, object_id = _selected(id_)
    tk.check_access("archiver_check", context, {"id": object_id})
    try:
        queue, requested = checking_now.request(condition, object_id)
    except checking_now.TooSoonError as e:
        raise tk.ValidationError({"id": [tk._("This link was checked less than a minute ago.")]}) from e
    who = reader.of_context(context)
    if who.user is not None:
        link_actions.record_check(who, condition, object_id)
    pause = checking_now.pause(condition, object_id, queue)
    return {"queue": queue, "requested": requested, "paused": pause and pause.as_dict()}


def _selected(id_: str) -> tuple[str, str]:
    """(condition on the id, id) of an active resource, dataset or organization.

    :raises ObjectNotFound: there is none
    """
    resource = model.Resource.get(id_)  # archiver_check of logic.auth has this order
    if resource is not None and model.State.DELETED not in (resource.state, resource.package.state):
        return checking_now.OF_RESOURCE, resource.id
    package = model.Package.get(id_)
    if package is not None and package.state != model.State.DELETED:
        return checking_now.OF_DATASET, package.id
    group = model.Group.get(id_)
    if group is not None and group.is_organization and group.state == model.State.ACTIVE:
        return checking_now.OF_ORGANIZATION, group.id
    raise tk.ObjectNotFound(tk._("There is no resource, dataset or organization {id}.").format(id=id_))


@tk.side_effect_free
def archiver_history(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """The history of one resource's link. Requires the right to see the resource (``resource_show``).

    :param id: id of the resource
    :type id: string
    :param days: how many days back (optional, 90 by default, at most 400)
    :type days: integer

    :returns: ``checks`` (dictionaries with ``checked_at``, ``verdict``, ``cause``, ``http_status`` and ``seconds``,
        oldest first) and ``outages`` (dictionaries with ``start`` and ``end``, which is null while it lasts)
    :rtype: dictionary
    :raises NotFound: if there is no such resource
    """
    data, errors = tk.navl_validate(data_dict, schema.archiver_history(), context)
    if errors:
        raise tk.ValidationError(errors)
    resource = model.Resource.get(data["id"])
    if resource is None or resource.state != model.State.ACTIVE:
        raise tk.ObjectNotFound(tk._("There is no resource {id}.").format(id=data["id"]))
    tk.check_access("archiver_history", context, {"id": resource.id})
    days = data.get("days", history.STRIP_DAYS)
    outages = history.outages(states.checks(resource.id, days))
    return {
        "checks": states.checks_in_full(resource.id, days),
        "outages": [{"start": states.iso(outage.start), "end": states.iso(outage.end)} for outage in outages],
    }


@tk.side_effect_free
def archiver_status_show(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """The state of the queues, the round, the hosts, the workers and the disk. For sysadmins.

    :returns: what ``ckan archiver status --json`` prints: ``queues`` (``waiting``, ``running``, ``in_broker`` and
        ``oldest_wait_seconds`` of each; ``in_broker`` is null while the broker does not answer),
        ``rate_per_second``, ``round`` (``started_at``, ``eta_seconds``, ``last``),
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
