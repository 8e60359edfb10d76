"""What a list of links is asked for: the parameters of the list page, of the exports and of the API."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

import ckan.plugins.toolkit as tk

from ckanext.archiver.engine.outcome import Cause, Verdict
from ckanext.archiver.storable import is_storable

ANY = "any"
NO_HOST = "-"
"""The value of the filter ``host`` for links without a server, like ``mailto:`` or a URL that cannot be read, and for
those that only an older release has checked."""

NEVER = "none"
SNOOZED = "snoozed"

STATES = (*(verdict.value for verdict in Verdict), NEVER, SNOOZED, ANY)
"""The values of the filter ``verdict``: a verdict, never checked, left alone until a date, or all."""


class Sort(str, Enum):
    """The orders of a list."""

    LONGEST = "longest"
    """In this state for the longest time first."""
    NEWEST = "newest"
    """In this state most recently first."""
    DATASET = "dataset"
    """By the dataset's name, then as in the dataset."""
    HOST = "host"
    """By the server's name."""

    __str__ = str.__str__


class BadFilter(ValueError):
    """A parameter that cannot be understood; the text is a sentence for people that names it.

    :ivar parameter: its name
    """

    def __init__(self, parameter: str, sentence: str) -> None:
        super().__init__(sentence)
        self.parameter = parameter


@dataclass(frozen=True)
class LinkFilter:
    """Which links. Empty values select nothing out."""

    organization: str = ""
    """Name or id."""
    include_sub_organizations: bool = False
    verdict: str = Verdict.BROKEN.value
    cause: str = ""
    host: str = ""
    res_format: str = ""
    since: datetime.date | None = None
    """In its state since this day or later."""
    before: datetime.date | None = None
    """In its state since before this day."""
    has_copy: bool | None = None
    moved: bool | None = None
    """With a permanent redirect."""
    mine: bool = False
    """Of the organizations whose datasets the reader may edit."""
    q: str = ""
    """Text in the dataset's or resource's name, or in the URL."""
    sort: Sort | None = None

    def order(self) -> Sort:
        """The order that was asked for, else the state's own."""
        return self.sort or self.sorts()[0]

    def sorts(self) -> tuple[Sort, ...]:
        """The orders that this state offers: only broken and failing links have a time since when."""
        if self.verdict in (Verdict.BROKEN, Verdict.FAILING):
            return (Sort.LONGEST, Sort.NEWEST, Sort.DATASET, Sort.HOST)
        # The others can have links that were never checked, which have no server yet.
        return (Sort.DATASET,) if self.verdict in (ANY, NEVER, SNOOZED) else (Sort.DATASET, Sort.HOST)

    def parameters(self) -> dict[str, str]:
        """The filter as parameters of a URL, without those that have their default."""
        values = {name: value for name, value in asdict(self).items() if value != getattr(EVERYTHING_BROKEN, name)}
        if self.verdict == EVERYTHING_BROKEN.verdict and self.moved:
            values["verdict"] = self.verdict
        return {name: _text(value) for name, value in values.items()}

    def with_(self, **changes: Any) -> LinkFilter:
        """The same with other values; a sort that the new state does not offer is dropped."""
        changed = replace(self, **changes)
        return changed if changed.sort in (None, *changed.sorts()) else replace(changed, sort=None)


EVERYTHING_BROKEN = LinkFilter()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def parse(arguments: Mapping[str, Any]) -> LinkFilter:
    """The filter that the parameters of a URL, or of an action, say.

    :raises BadFilter: for the first parameter that cannot be understood
    """
    moved = _boolean(arguments, "moved")
    found = LinkFilter(
        organization=_word(arguments, "organization"),
        include_sub_organizations=bool(_boolean(arguments, "include_sub_organizations")),
        # A link that has moved works, mostly.
        verdict=_choice(arguments, "verdict", STATES) or (ANY if moved else Verdict.BROKEN.value),
        cause=_choice(arguments, "cause", tuple(cause.value for cause in Cause)),
        host=_host(_word(arguments, "host")),
        res_format=_word(arguments, "res_format"),
        since=_day(arguments, "since"),
        before=_day(arguments, "before"),
        has_copy=_boolean(arguments, "has_copy"),
        moved=moved,
        mine=bool(_boolean(arguments, "mine")),
        q=_word(arguments, "q"),
    )
    offered = tuple(found.sorts())
    sort = _choice(arguments, "sort", offered if arguments.get("verdict") else tuple(Sort))
    if sort not in offered:
        # A form has the order of the state before; the new one follows from its other fields.
        sort = ""
    return replace(found, sort=Sort(sort) if sort else None)


def _word(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    text = str(value or "").strip()
    if isinstance(value, (list, dict)) or len(text) > 300 or not is_storable(text):
        raise BadFilter(name, tk._("{name} is too long, or no text.").format(name=name))
    return text


def _host(text: str) -> str:
    """The server's name in what people enter as one: a whole URL, or a name with its port."""
    if text == NO_HOST:
        return text
    try:
        return urlsplit(text if "//" in text else f"//{text}").hostname or text.lower()
    except ValueError:
        return text.lower()


def _choice(arguments: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = _word(arguments, name)
    if value and value not in choices:
        listed = ", ".join(str(choice) for choice in choices)
        raise BadFilter(name, tk._("{name} must be one of {choices}.").format(name=name, choices=listed))
    return value


def _boolean(arguments: Mapping[str, Any], name: str) -> bool | None:
    value = arguments.get(name)
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str) or value in (0, 1):
            return bool(tk.asbool(value))
    except ValueError:
        pass
    raise BadFilter(name, tk._("{name} must be 1 or 0.").format(name=name))


def day(text: str) -> datetime.date:
    """A day like 2026-10-31.

    :raises ValueError: for anything else
    """
    # Not fromisoformat, which takes other forms too from Python 3.11 on; and strptime takes digits of any script.
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        raise ValueError(text)
    return datetime.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=datetime.timezone.utc).date()


def _day(arguments: Mapping[str, Any], name: str) -> datetime.date | None:
    text = _word(arguments, name)
    if not text:
        return None
    try:
        return day(text)
    except ValueError as e:
        raise BadFilter(name, tk._("{name} is a day like 2026-10-31.").format(name=name)) from e


# -- where a page ended -------------------------------------------------------------------------------------


def cursor(values: list[Any]) -> str:
    """The place after a row, as a parameter of a URL."""
    text = json.dumps([value.isoformat() if isinstance(value, datetime.datetime) else value for value in values])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str, kinds: Sequence[type], name: str = "after") -> list[Any]:
    """The values that :func:`cursor` wrote.

    :param kinds: of the values
    :param name: the parameter, "after" or "previous"
    :raises BadFilter: for what it did not write
    """
    try:
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        values = None
    is_list = isinstance(values, list) and len(values) == len(kinds)
    if not is_list or not all(map(_is_of_kind, values, kinds)):
        sentence = tk._("{name} must be the value of the same name that another page gave.").format(name=name)
        raise BadFilter(name, sentence)
    return list(values)


def _is_of_kind(value: Any, kind: type) -> bool:
    if value is None:
        return True
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31
    if not is_storable(value):
        return False
    return kind is not datetime.datetime or _is_moment(value)


def _is_moment(text: str) -> bool:
    """Whether a text is what ``datetime.isoformat`` writes: ``fromisoformat`` reads more from Python 3.11 on."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?", text, re.ASCII):
        return False
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
