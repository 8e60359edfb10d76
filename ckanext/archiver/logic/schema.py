"""What the actions take."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk


def archiver_show() -> dict[str, Any]:
    """One object, by id (or name, where it has one)."""
    return {
        "id": [
            tk.get_validator("not_missing"),
            tk.get_validator("not_empty"),
            tk.get_validator("unicode_safe"),
        ],
    }
