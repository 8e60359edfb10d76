"""Schemas of the actions' parameters."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk


def archiver_history() -> dict[str, Any]:
    """One resource, and a number of days."""
    return archiver_show() | {
        "days": [
            tk.get_validator("ignore_missing"),
            tk.get_validator("natural_number_validator"),
            tk.get_validator("limit_to_configured_maximum")("ckanext-archiver.history_days", 400),
        ],
    }


def archiver_link_list() -> dict[str, Any]:
    """The size of a page; the list checks its filters itself."""
    return {
        "limit": [
            tk.get_validator("ignore_missing"),
            tk.get_validator("is_positive_integer"),
            tk.get_validator("limit_to_configured_maximum")("ckanext-archiver.list_limit", 1000),
        ],
    }


def archiver_show() -> dict[str, Any]:
    """One resource by id, or one dataset by id or name."""
    return {
        "id": [
            tk.get_validator("not_missing"),
            tk.get_validator("not_empty"),
            tk.get_validator("unicode_safe"),
        ],
    }
