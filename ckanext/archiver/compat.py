"""Differences between CKAN's versions, and between those of what CKAN pins."""

from __future__ import annotations

import json
from typing import Any

import ckan.plugins.toolkit as tk


def update_compares() -> bool:
    """Whether package_update compares what it is given with package_show, and saves only the differences (2.12)."""
    return bool(tk.check_ckan_version(min_version="2.12"))


def parsed_json(value: Any) -> Any:
    """A value of a JSON column that a textual statement has read: the driver parses it, or leaves it as text."""
    return json.loads(value) if isinstance(value, str) else value
