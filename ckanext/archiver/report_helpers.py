"""Template helpers of the report and of the strip: names, shares and charts."""

from __future__ import annotations

import datetime
from typing import Any

import ckan.plugins.toolkit as tk
from markupsafe import Markup

from ckanext.archiver import clock, config, history, search, states, summary
from ckanext.archiver.engine.outcome import Cause

Dict = dict[str, Any]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 140, 48, 632, 12, 116
"""The chart's size and the edges of its plot, in the units of its ``viewBox``."""


def archiver_state_label(state: str) -> str:
    """The name of a link's state."""
    return search.state_label(state)


def archiver_cause_label(cause: str) -> str:
    """The name of a cause; an unknown one is its own name."""
    labels = {
        Cause.GONE.value: tk._("The file is gone"),
        Cause.BAD_URL.value: tk._("Not a valid URL"),
        Cause.SERVER_ERROR.value: tk._("Server error"),
        Cause.UNREACHABLE.value: tk._("The server cannot be reached"),
        Cause.TLS.value: tk._("Certificate"),
        Cause.BLOCKED.value: tk._("The server refuses the archiver"),
        Cause.REDIRECT.value: tk._("Redirect"),
        Cause.SOFT_404.value: tk._("Not the file that was promised"),
        Cause.TOO_LARGE.value: tk._("Too large"),
        Cause.REFUSED_BY_POLICY.value: tk._("Not allowed by this portal"),
        Cause.OWN_FAULT.value: tk._("A fault of the archiver"),
    }
    return labels.get(cause, cause or tk._("Unknown"))


def archiver_share(part: int, whole: int) -> float:
    """A percentage with one decimal; 0 of nothing."""
    return round(100 * part / whole, 1) if whole else 0.0


TRANSLATED = ("de", "en", "es", "fr", "pl")
"""The languages that have a catalogue; pages in any other language show our sentences in English."""


def archiver_text_attributes() -> Markup:
    """Attributes of an element with a sentence of ours: its language and direction, where these are not the page's."""
    is_translated = str(tk.h.lang() or "en").split("_")[0] in TRANSLATED
    return Markup("") if is_translated else Markup(' lang="en" dir="auto"')


def archiver_report_link() -> bool:
    """Whether the footer links to the report."""
    return config.report_link()


def archiver_broken_links_of(organization_id: str) -> int:
    """The number of broken links of an organization's public datasets."""
    return summary.broken_links_of(organization_id)


def archiver_chart(chart: list[Dict]) -> Dict:
    """The line of the share of broken links.

    :param chart: at least two dicts with ``day``, ``links`` and ``broken``, oldest first
    :returns: ``points`` and ``area`` (of SVG), ``grid`` (pairs of height and label), ``first`` and ``last`` (dates) and
        ``text``, the same in words
    """
    shares = [archiver_share(day["broken"], day["links"]) for day in chart]
    top = max(*shares, 1.0)
    step = (RIGHT - LEFT) / (len(chart) - 1)
    points = [
        (round(LEFT + step * place, 1), round(BOTTOM - (BOTTOM - TOP) * share / top, 1))
        for place, share in enumerate(shares)
    ]
    line = " ".join(f"{x},{y}" for x, y in points)
    first, last = (tk.h.render_datetime(chart[place]["day"]) for place in (0, -1))
    return {
        "points": line,
        "area": f"{LEFT},{BOTTOM} {line} {RIGHT},{BOTTOM}",
        "grid": [
            (BOTTOM - (BOTTOM - TOP) * part / 2, archiver_percent(round(top * part / 2, 1))) for part in (0, 1, 2)
        ],
        "first": first,
        "last": last,
        "text": tk._("Share of broken links: {first} on {first_day}, {last} on {last_day}").format(
            first=archiver_percent(shares[0]), last=archiver_percent(shares[-1]), first_day=first, last_day=last
        ),
    }


def archiver_percent(value: float) -> str:
    """A percentage in the reader's notation: "7.4 %"."""
    return str(tk._("{number} %").format(number=tk.h.localised_number(value)))


# -- the strip of the resource page ------------------------------------------------------------------------


def archiver_history(resource_id: str) -> Dict | None:
    """The last days of a resource's link, oldest first; None without any check.

    :returns: ``days`` (dicts with ``title`` and ``parts``, which are (CSS class, percentage)) and ``text``, the same
        in words
    """
    checks = states.checks(resource_id, history.STRIP_DAYS)
    if not checks:
        return None
    strip = history.days(checks, clock.naive_utc().date())
    return {"days": [_day(day) for day in strip], "text": _history_text(strip, checks)}


def _day(day: history.Day) -> Dict:
    parts = [(f"archiver-day-{verdict}", round(100 * share)) for verdict, share in sorted(day.shares.items())]
    said = ", ".join(search.state_label(verdict) for verdict in sorted(day.shares)) or search.state_label(
        search.NOT_CHECKED
    )
    moment = datetime.datetime.combine(day.date, datetime.time())
    return {"title": f"{tk.h.render_datetime(moment)}: {said}", "parts": parts or [("archiver-day-unknown", 100)]}


def _history_text(strip: list[history.Day], checks: list[history.Check]) -> str:
    """Such as "98.2 % in 90 days; 2 outages, the longest 3 days"."""
    percent = history.uptime(strip, history.STRIP_DAYS)
    if percent is None:
        return tk._("Not sure in the last {days} days").format(days=history.STRIP_DAYS)
    text = tk._("Worked {percent} of the checked days of the last {days}").format(
        percent=archiver_percent(percent), days=history.STRIP_DAYS
    )
    outages = history.outages(checks)
    if not outages:
        return str(text)
    now = clock.naive_utc()
    longest = max(((outage.end or now) - outage.start) for outage in outages).days + 1
    count = tk.ungettext("{count} outage", "{count} outages", len(outages)).format(count=len(outages))
    length = tk.ungettext("the longest of {days} day", "the longest of {days} days", longest).format(days=longest)
    return f"{text}; {count}, {length}"
