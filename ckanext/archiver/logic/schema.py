"""Schemas of the actions' parameters."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk


def archiver_show() -> dict[str, Any]:
    """One resource by id, or one dataset by id or name."""
    return {
        "id": [
            tk.get_validator("not_missing"),
            tk.get_validator("not_empty"),
            tk.get_validator("unicode_safe"),
        ],
    }
