"""Template helpers of the strip of days, and of text that has no translation."""

from __future__ import annotations

import datetime
from typing import Any

import ckan.plugins.toolkit as tk
from markupsafe import Markup

from ckanext.archiver import clock, history, search, states
from ckanext.archiver.engine.outcome import Verdict
from ckanext.archiver.report import words

Dict = dict[str, Any]

TRANSLATED = ("de", "en", "es", "fr", "pl")
"""The languages that have a catalogue; pages in any other language show our sentences in English."""


def archiver_text_attributes(direction: str = "auto") -> Markup:
    """Attributes of an element with sentences of ours: its language and direction, where these are not the page's.

    :param direction: "auto" for one sentence, which may begin with a name in any script; "ltr" for a whole page of ours
    """
    is_translated = str(tk.h.lang() or "en").split("_")[0] in TRANSLATED
    return Markup("") if is_translated else Markup(' lang="en" dir="{}"').format(direction)


def archiver_day(date: datetime.date | str | None) -> str:
    """A day in the reader's language."""
    return words.day(date)


def archiver_percent(value: float) -> str:
    """A percentage in the reader's notation: "7.4 %"."""
    return str(tk._("{number} %").format(number=tk.h.localised_number(value)))


# -- the strip of the resource page ------------------------------------------------------------------------


def archiver_history(resource_id: str) -> Dict | None:
    """The last days of a resource's link, oldest first; None without any check.

    :returns: ``days`` (dicts with ``title`` and ``parts``, which are (CSS class, percentage)), ``text``, the same in
        words, and ``worked``, whether any check did
    """
    checks = states.checks(resource_id, history.STRIP_DAYS)
    if not checks:
        return None
    strip = history.days(checks, clock.naive_utc().date())
    worked = any(verdict is Verdict.OK for _, verdict in checks)
    return {"days": [_day(day) for day in strip], "text": _history_text(strip, checks), "worked": worked}


def _day(day: history.Day) -> Dict:
    parts = [(f"archiver-day-{verdict}", round(100 * share)) for verdict, share in sorted(day.shares.items())]
    said = ", ".join(search.state_label(verdict) for verdict in sorted(day.shares)) or search.state_label(
        search.NOT_CHECKED
    )
    return {"title": f"{words.day(day.date)}: {said}", "parts": parts or [("archiver-day-unknown", 100)]}


def _history_text(strip: list[history.Day], checks: list[history.Check]) -> str:
    """Such as "Worked on 98.2 % of the days checked …; 2 outages, the longest 3 days"."""
    percent = history.uptime(strip, history.STRIP_DAYS)
    if percent is None:
        return tk._("Not sure in the last {days} days").format(days=history.STRIP_DAYS)
    worked = tk._("Worked on {percent} of the days checked in the last {days} days").format(
        percent=archiver_percent(percent), days=history.STRIP_DAYS
    )
    found = history.outages(checks)
    return str(tk._("{worked}; {outages}").format(worked=worked, outages=_outages_text(found)) if found else worked)


def _outages_text(outages: list[history.Outage]) -> str:
    now = clock.naive_utc()
    longest = max(((outage.end or now) - outage.start) for outage in outages).days + 1
    if len(outages) == 1:
        return str(tk.ungettext("1 outage of {days} day", "1 outage of {days} days", longest).format(days=longest))
    count = tk.ungettext("{count} outage", "{count} outages", len(outages)).format(count=len(outages))
    length = tk.ungettext("the longest {days} day", "the longest {days} days", longest).format(days=longest)
    return f"{count}, {length}"
