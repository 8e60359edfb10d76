"""What the actions of the report take. Values of filters are judged by :mod:`ckanext.archiver.report.filters`."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk

from ckanext.archiver.logic import validators
from ckanext.archiver.report.filters import LinkFilter

MAX_IDS = 200


def _validators(*names: str) -> list[Any]:
    return [tk.get_validator(name) for name in names]


_OPTIONAL_TEXT = [*_validators("ignore_missing"), validators.text]


def link_list() -> dict[str, Any]:
    """A filter, and which page of it."""
    return {
        **dict.fromkeys(LinkFilter.__dataclass_fields__, _validators("ignore_missing")),
        "after": _OPTIONAL_TEXT,
        "previous": _OPTIONAL_TEXT,
        "limit": [tk.get_validator("default")(50), validators.whole_number(1, 1000)],
    }


def summary() -> dict[str, Any]:
    """An organization, or nothing."""
    return {
        "organization": _OPTIONAL_TEXT,
        "include_sub_organizations": [*_validators("ignore_missing"), validators.switch],
    }


def redirect_apply() -> dict[str, Any]:
    """Some resources."""
    return {
        "ids": [tk.get_validator("not_missing"), validators.ids(MAX_IDS)],
        "dry_run": [*_validators("ignore_missing"), validators.switch],
    }


def snooze() -> dict[str, Any]:
    """Some resources, a day and a reason."""
    return {
        "ids": [tk.get_validator("not_missing"), validators.ids(MAX_IDS)],
        "until": _OPTIONAL_TEXT,
        "reason": _OPTIONAL_TEXT,
    }
