"""Authorization: the actions about a resource or dataset require the right to see it."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk
from ckan import model

from ckanext.archiver.logic.report_auth import (
    archiver_link_list,
    archiver_redirect_apply,
    archiver_snooze,
    archiver_summary,
)

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
]


@tk.auth_allow_anonymous_access
def archiver_resource_show(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """As ``resource_show``."""
    return _as("resource_show", context, data_dict)


@tk.auth_allow_anonymous_access
def archiver_dataset_show(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """As ``package_show``."""
    return _as("package_show", context, data_dict)


@tk.auth_allow_anonymous_access
def archiver_history(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """As ``resource_show``."""
    return _as("resource_show", context, data_dict)


def archiver_check(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Those who may edit: a resource or dataset as ``package_update``, an organization as ``organization_update``.

    In the order in which the action looks for the object: an organization can have a name like another object's id.
    """
    id_ = data_dict["id"]
    resource = model.Resource.get(id_)
    if resource is not None:
        return _as("package_update", context, {"id": resource.package_id})
    action = "package_update" if model.Package.get(id_) is not None else "organization_update"
    return _as(action, context, {"id": id_})


def archiver_status_show(context: dict[str, Any], data_dict: dict[str, Any]) -> dict[str, Any]:
    """Sysadmins only, for whom CKAN does not call auth functions."""
    return {"success": False, "msg": tk._("Only sysadmins may see the state of the archiver.")}


def _as(action: str, context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    try:
        tk.check_access(action, context, data_dict)
    except tk.NotAuthorized as e:
        return {"success": False, "msg": str(e)}
    return {"success": True}
