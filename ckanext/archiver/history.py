"""What the checks of a link say over time: a strip of days, its uptime and its outages. Pure.

A day without a check is unknown: it counts neither for the link nor against it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ckanext.archiver.engine.outcome import Verdict

STRIP_DAYS = 90
UPTIME_DAYS = (7, 30, 90, 365)

FAILED = (Verdict.FAILING, Verdict.BROKEN)

Check = tuple[datetime.datetime, Verdict]
"""When a link was checked, and the verdict."""


@dataclass(frozen=True)
class Day:
    """One day of a link.

    :ivar shares: the share of the day's checks for each verdict that occurred; empty for a day without a check
    """

    date: datetime.date
    shares: dict[Verdict, float]

    @property
    def up(self) -> float | None:
        """The share of checks that worked, among those with a sure verdict; None when there is none."""
        sure = sum(share for verdict, share in self.shares.items() if verdict is not Verdict.NOT_SURE)
        return self.shares.get(Verdict.OK, 0.0) / sure if sure else None


@dataclass(frozen=True)
class Outage:
    """A time without a check that worked.

    :ivar end: the first check that worked again; None while it lasts
    """

    start: datetime.datetime
    end: datetime.datetime | None


def days(checks: Iterable[Check], today: datetime.date, count: int = STRIP_DAYS) -> list[Day]:
    """The last days, oldest first, ``today`` included."""
    by_date: dict[datetime.date, list[Verdict]] = {}
    for moment, verdict in checks:
        by_date.setdefault(moment.date(), []).append(verdict)
    strip = []
    for back in reversed(range(count)):
        date = today - datetime.timedelta(days=back)
        verdicts = by_date.get(date, [])
        strip.append(
            Day(date, {verdict: verdicts.count(verdict) / len(verdicts) for verdict in dict.fromkeys(verdicts)})
        )
    return strip


def uptime(strip: Sequence[Day], count: int) -> float | None:
    """The percentage of the last ``count`` days on which the link worked; None when no day is known."""
    known = [day.up for day in strip[-count:] if day.up is not None]
    return round(100 * sum(known) / len(known), 1) if known else None


def outages(checks: Iterable[Check]) -> list[Outage]:
    """The outages, oldest first.

    :param checks: oldest first; a check that is not sure neither begins nor ends an outage
    """
    found: list[Outage] = []
    start: datetime.datetime | None = None
    for moment, verdict in checks:
        if verdict in FAILED and start is None:
            start = moment
        elif verdict is Verdict.OK and start is not None:
            found.append(Outage(start, moment))
            start = None
    if start is not None:
        found.append(Outage(start, None))
    return found
