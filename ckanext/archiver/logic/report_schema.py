"""What the actions of the report take. Values of filters are judged by :mod:`ckanext.archiver.report.filters`."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk

from ckanext.archiver.report.filters import LinkFilter

MAX_IDS = 200


def _validators(*names: str) -> list[Any]:
    return [tk.get_validator(name) for name in names]


def link_list() -> dict[str, Any]:
    """A filter, and which page of it."""
    return {
        **dict.fromkeys(LinkFilter.__dataclass_fields__, _validators("ignore_missing")),
        "after": _validators("ignore_missing", "unicode_safe"),
        "previous": _validators("ignore_missing", "unicode_safe"),
        "limit": [tk.get_validator("default")(50), tk.get_validator("is_positive_integer"), _at_most(1000)],
    }


def summary() -> dict[str, Any]:
    """An organization, or nothing."""
    return {
        "organization": _validators("ignore_missing", "unicode_safe"),
        "include_sub_organizations": _validators("ignore_missing", "boolean_validator"),
    }


def redirect_apply() -> dict[str, Any]:
    """Some resources."""
    return {
        "ids": [tk.get_validator("not_missing"), _ids],
        "dry_run": _validators("ignore_missing", "boolean_validator"),
    }


def snooze() -> dict[str, Any]:
    """Some resources, a day and a reason."""
    return {
        "ids": [tk.get_validator("not_missing"), _ids],
        "until": _validators("ignore_missing", "unicode_safe"),
        "reason": _validators("ignore_missing", "unicode_safe"),
    }


def _at_most(largest: int) -> Any:
    def check(value: int) -> int:
        if value > largest:
            raise tk.Invalid(tk._("At most {count}.").format(count=largest))
        return value

    return check


def _ids(value: Any) -> list[str]:
    ids = [value] if isinstance(value, str) else value
    if not isinstance(ids, list) or not ids or not all(isinstance(id_, str) and "\x00" not in id_ for id_ in ids):
        raise tk.Invalid(tk._("A list of ids of resources is needed."))
    if len(ids) > MAX_IDS:
        raise tk.Invalid(tk._("At most {count} ids.").format(count=MAX_IDS))
    return ids
