"""Readers of option values by type. A bad value is one sentence that names the option."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import ckan.plugins.toolkit as tk

from ckanext.archiver.errors import ConfigError

PREFIX = "ckanext-archiver."

T = TypeVar("T")

# A larger number is a typing error, and nothing could hold it: no socket's timeout, no interval or column of the
# database.
MAX_SECONDS = 1_000_000
MAX_HOURS = MAX_DAYS = 100_000
MAX_COUNT = 1_000_000_000
MAX_BYTES = 10**18

_remembered: dict[str, Any] = {}


def option(reader: Callable[[], T]) -> Callable[[], T]:
    """A reader whose value a worker remembers (see :func:`remember`)."""

    @functools.wraps(reader)
    def read() -> T:
        if reader.__name__ in _remembered:
            return cast("T", _remembered[reader.__name__])
        return reader()

    return read


def remember(readers: tuple[Callable[[], Any], ...]) -> None:
    """Read these options now, and answer with the same values from now on.

    :raises ConfigError: for the first bad value
    """
    _remembered.update({reader.__name__: reader() for reader in readers})


def _raw(name: str) -> Any:
    return tk.config.get(name if name.startswith("ckan.") else PREFIX + name)


def text(name: str) -> str:
    """The option as text without spaces around; empty when it is not set."""
    return str(_raw(name) or "").strip()


def _number(name: str, kind: type, minimum: float, maximum: float, zero_means: str = "") -> Any:
    value = _raw(name)
    try:
        number = kind(str(value).strip())
    except (TypeError, ValueError):
        number = None
    if number is None or not minimum <= number <= maximum:  # also for what is not a number, and infinity
        what = "a whole number" if kind is int else "a number"
        extra = f" (0 for {zero_means})" if zero_means else ""
        raise ConfigError(f"{PREFIX}{name} must be {what} from {minimum} to {maximum}{extra}, not {value!r}.")
    return number


def integer(name: str, minimum: int = 1, maximum: int = MAX_COUNT, zero_means: str = "") -> int:
    """A whole number in a range.

    :param zero_means: what 0 stands for, in words for the error
    :raises ConfigError: for any other value
    """
    return int(_number(name, int, minimum, maximum, zero_means))


def seconds(name: str, minimum: float = 0, maximum: float = MAX_SECONDS, zero_means: str = "") -> float:
    """A number in a range, fractions allowed.

    :raises ConfigError: for any other value
    """
    return float(_number(name, float, minimum, maximum, zero_means))


def boolean(name: str) -> bool:
    """True or false.

    :raises ConfigError: for any other value
    """
    # Declared without CKAN's type "bool", which reads every word that it does not know as false.
    value = _raw(name)
    try:
        return tk.asbool(value)
    except ValueError as e:
        raise ConfigError(f"{PREFIX}{name} must be true or false, not {value!r}.") from e


def choice(name: str, choices: tuple[str, ...]) -> str:
    """One of several words.

    :raises ConfigError: for any other value
    """
    value = text(name)
    if value not in choices:
        raise ConfigError(f"{PREFIX}{name} must be one of {', '.join(choices)}, not {value!r}.")
    return value


def scheme(url: str) -> str:
    """The scheme of a URL; empty for a URL that cannot be parsed, or that lacks the host it needs."""
    try:
        # A list of brokers counts as its first.
        parts = urlsplit(url.partition(";")[0])
        _ = parts.port
    except ValueError:
        return ""
    if parts.scheme in ("http", "https") and not parts.hostname:
        return ""
    return parts.scheme


def without_password(url: str) -> str:
    """The URL as an error message may show it."""
    return re.sub(r"//[^@/]*@", "//***@", url)


def json_object(name: str, allowed: Mapping[str, tuple[Any, str]], *, example: str) -> dict[str, Any]:
    """A JSON object; empty when the option is not set. A bad value is not shown: it may hold a password.

    :param allowed: by key, the types that its value may have and what to call them ("a number" is 0 or more)
    :param example: an object as people would write it, for the error
    :raises ConfigError: for any other text
    """
    full_name = f"{PREFIX}{name}"
    try:
        found = json.loads(text(name) or "{}")
    except ValueError as e:
        raise ConfigError(f"{full_name} must be a JSON object like {example}: {e}.") from e
    if not isinstance(found, dict):
        raise ConfigError(f"{full_name} must be a JSON object like {example}.")
    for key, value in found.items():
        if key not in allowed:
            raise ConfigError(f"{full_name} may have {', '.join(sorted(allowed))}, not {key!r}.")
        types, what = allowed[key]
        if not isinstance(value, types) or (what == "a number" and (isinstance(value, bool) or value < 0)):
            raise ConfigError(f"{full_name}: {key} must be {what}.")
    return found
