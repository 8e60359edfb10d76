"""Schemas of the actions' parameters."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk

from ckanext.archiver.logic import validators


def archiver_history() -> dict[str, Any]:
    """One resource, and a number of days."""
    return archiver_show() | {"days": [tk.get_validator("ignore_missing"), validators.whole_number(0, 400)]}


def archiver_show() -> dict[str, Any]:
    """One resource by id, or one dataset by id or name."""
    return {"id": [tk.get_validator("not_missing"), tk.get_validator("not_empty"), validators.text]}
