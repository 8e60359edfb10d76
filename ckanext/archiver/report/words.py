"""What states, orders and filters are called on the pages of the report."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

import ckan.plugins.toolkit as tk
from flask_babel import format_date

from ckanext.archiver import advice
from ckanext.archiver.engine import reasons
from ckanext.archiver.engine.outcome import Cause, Verdict
from ckanext.archiver.engine.reasons import N_
from ckanext.archiver.report.filters import ANY, EVERYTHING_BROKEN, NEVER, NO_HOST, SNOOZED, LinkFilter, Sort
from ckanext.archiver.report.organizations import Organization
from ckanext.archiver.verdict import CAUSE_RULES, Rule


def states() -> dict[str, str]:
    """``{state: name}``, in the order of the page."""
    return {
        Verdict.BROKEN.value: tk._("Broken"),
        Verdict.FAILING.value: tk._("Failing"),
        Verdict.NOT_SURE.value: tk._("Not sure"),
        Verdict.OK.value: tk._("Working"),
        NEVER: tk._("Not checked yet"),
        SNOOZED: tk._("Left alone"),
        ANY: tk._("All"),
    }


def sorts(wanted: LinkFilter) -> dict[str, str]:
    """``{order: name}`` of the orders that the filter's state offers."""
    names = {
        Sort.LONGEST: tk._("longest in this state first"),
        Sort.NEWEST: tk._("newest first"),
        Sort.DATASET: tk._("by dataset"),
        Sort.HOST: tk._("by server"),
    }
    return {sort.value: names[sort] for sort in wanted.sorts()}


_UNCERTAIN = (Rule.NOT_SURE, Rule.HOLD)


def causes(wanted: LinkFilter) -> list[str]:
    """The causes that links in the filter's state can have, and the one that is set."""
    return [cause for cause in advice.NAMES if cause == wanted.cause or _can_have(wanted.verdict, cause)]


def _can_have(state: str, cause: str) -> bool:
    rule = CAUSE_RULES[Cause(cause)]
    if state in (Verdict.BROKEN, Verdict.FAILING):
        # Of what is not the expected file, a service's own reports of an error are certain.
        return cause == Cause.SOFT_404 or rule not in (Rule.SUCCESS, *_UNCERTAIN)
    if state == Verdict.NOT_SURE:
        return rule in _UNCERTAIN
    return state in (ANY, SNOOZED) or (state == Verdict.OK and rule is Rule.SUCCESS)


def chips(wanted: LinkFilter, organization: Organization | None = None) -> list[tuple[str, dict[str, str]]]:
    """The filters that are set: what each is called, and the parameters without it.

    :param organization: that of the filter
    """
    labels = {
        "organization": tk._("Organization: {name}").format(name=organization.title if organization else ""),
        "include_sub_organizations": tk._("with sub-organizations"),
        "mine": tk._("my organizations"),
        "cause": tk._("Cause: {name}").format(name=advice.name(wanted.cause)),
        "host": tk._("Without a server") if wanted.host == NO_HOST else tk._("Server: {name}").format(name=wanted.host),
        "res_format": tk._("Format: {name}").format(name=wanted.res_format),
        "since": tk._("since {date}").format(date=day(wanted.since)),
        "before": tk._("since before {date}").format(date=day(wanted.before)),
        "has_copy": tk._("with a cached copy") if wanted.has_copy else tk._("without a cached copy"),
        "moved": tk._("moved permanently") if wanted.moved else tk._("not moved permanently"),
        "q": tk._("Text: {text}").format(text=wanted.q),
    }
    return [
        (label, wanted.with_(**{name: getattr(EVERYTHING_BROKEN, name)}).parameters())
        for name, label in labels.items()
        if getattr(wanted, name) != getattr(EVERYTHING_BROKEN, name)
    ]


def day(date: datetime.date | str | None) -> str:
    """A day in the reader's language. CKAN's ``render_datetime`` takes it for midnight UTC, which is another day in the
    site's time zone west of Greenwich.

    :param date: ISO 8601 as text
    """
    if not date:
        return ""
    return isolated(str(format_date(datetime.date.fromisoformat(str(date)), "long")))


def isolated(text: str) -> str:
    """A text in the page's language for a sentence that may be in English: on pages from right to left it keeps its own
    direction, by invisible characters (UAX 9, section 2.4)."""
    return f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}" if text and tk.h.is_rtl_language() else text


def minute(moment: datetime.datetime | str) -> str:
    """A date and the time of day in the reader's language and the site's time zone.

    CKAN's own words for both together (``with_hours``) are in the American order in most of its languages.

    :param moment: UTC; ISO 8601 as text
    """
    day, time = tk.h.render_datetime(moment), tk.h.render_datetime(moment, date_format="%H:%M (%Z)")
    return isolated(f"{day}, {time}") if day else ""


UNITS: dict[str, str] = {
    "bytes": N_("{number} bytes"),
    "KiB": N_("{number} KiB"),
    "MiB": N_("{number} MiB"),
    "GiB": N_("{number} GiB"),
    "TiB": N_("{number} TiB"),
}


def size(number: int) -> str:
    """A number of bytes in the reader's notation: "8.2 KiB". CKAN's own has odd units in some languages."""
    amount, unit = reasons.size_text(number).split(" ")
    return str(tk._(UNITS[unit]).format(number=tk.h.localised_number(float(amount))))


def paused(pause: Mapping[str, str]) -> str:
    """What an operator has paused, for editors.

    :param pause: ``queue`` and ``host`` (empty for all), ``by``, ``since`` (ISO 8601) and ``reason``
    """
    if pause["host"]:
        text = tk._("Checks of links on {host} are paused by {by} since {since}.")
    else:
        text = {
            "priority": tk._("Checks that people request are paused by {by} since {since}."),
            "bulk": tk._("The regular checks are paused by {by} since {since}."),
        }.get(pause["queue"], tk._("All checks are paused by {by} since {since}."))
    since = datetime.datetime.fromisoformat(pause["since"])
    text = text.format(host=pause["host"], by=pause["by"], since=minute(since))
    reason = tk._("Reason: {reason}.").format(reason=pause["reason"].rstrip(".")) if pause["reason"] else ""
    return " ".join(filter(None, (text, reason, tk._("What is requested waits, and is checked when the pause ends."))))
