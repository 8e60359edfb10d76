"""Who may call the actions of the report: what they show and change is limited to what the caller may see and edit."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk

from ckanext.archiver import link_actions
from ckanext.archiver.report import reader


@tk.auth_allow_anonymous_access
def archiver_link_list(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Everyone: the list has what they may see."""
    return {"success": True}


@tk.auth_allow_anonymous_access
def archiver_summary(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Everyone: the numbers are of what they may see."""
    return {"success": True}


def archiver_redirect_apply(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Those who may edit some dataset; links of others are left out."""
    return _edits(context)


def archiver_snooze(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Those who may edit some dataset; links of others are left out."""
    return _edits(context)


def _edits(context: Any) -> dict[str, Any]:
    if link_actions.may_edit_anything(reader.of_context(context)):
        return {"success": True}
    return {"success": False, "msg": tk._("There is no dataset that you may edit.")}
