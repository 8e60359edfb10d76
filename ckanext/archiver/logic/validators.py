"""Validators of parameters that come as any JSON value; CKAN's own fail on some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ckan.plugins.toolkit as tk

from ckanext.archiver.storable import is_storable


def text(value: Any) -> str:
    """A text.

    :raises Invalid: for anything else
    """
    if not is_storable(value):
        raise tk.Invalid(tk._("A text is needed."))
    return str(value)


def switch(value: Any) -> bool:
    """True or false, as CKAN's options have them. What is neither is not taken for false.

    :raises Invalid: for anything else
    """
    try:
        if isinstance(value, (bool, str)) or value in (0, 1):
            return bool(tk.asbool(value))
    except ValueError:
        pass
    raise tk.Invalid(tk._("true or false is needed."))


def whole_number(least: int, most: int) -> Callable[[Any], int]:
    """A whole number within bounds, as a number or in ASCII digits.

    :raises Invalid: for anything else
    """

    def number(value: Any) -> int:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number and not (isinstance(value, str) and value.isascii() and value.isdecimal()):
            raise tk.Invalid(tk._("A whole number is needed."))
        # One of thousands of digits is not read: it is too large with its first twenty.
        found = int(value) if is_number else int(value[:20])
        if found < least:
            raise tk.Invalid(tk._("At least {count}.").format(count=least))
        if found > most:
            raise tk.Invalid(tk._("At most {count}.").format(count=most))
        return found

    return number


def ids(most: int) -> Callable[[Any], list[str]]:
    """A list of ids of resources, or one.

    :raises Invalid: for anything else, and for more than ``most``
    """

    def listed(value: Any) -> list[str]:
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not found or not all(map(is_storable, found)):
            raise tk.Invalid(tk._("A list of ids of resources is needed."))
        if len(found) > most:
            raise tk.Invalid(tk._("At most {count} ids.").format(count=most))
        return found

    return listed
