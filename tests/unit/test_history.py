"""The strip, the uptime and the outages of a link."""

from __future__ import annotations

import datetime

import pytest

from ckanext.archiver import history
from ckanext.archiver.engine.outcome import Verdict

TODAY = datetime.date(2026, 3, 10)


def checks(*words: str) -> list[history.Check]:
    """ "3 ok": three days ago it worked; oldest first."""
    found = []
    for word in words:
        days, verdict = word.split()
        moment = datetime.datetime(2026, 3, 10, 12) - datetime.timedelta(days=float(days))  # noqa: DTZ001 - naive UTC
        found.append((moment, Verdict(verdict)))
    return found


def test_a_day_is_filled_in_proportion() -> None:
    strip = history.days(checks("1 ok", "1 ok", "1 broken", "0 ok"), TODAY, 3)
    assert [day.date.day for day in strip] == [8, 9, 10]
    assert strip[0].shares == {}
    assert strip[1].shares == {Verdict.OK: pytest.approx(2 / 3), Verdict.BROKEN: pytest.approx(1 / 3)}
    assert strip[2].shares == {Verdict.OK: 1}


@pytest.mark.parametrize(
    ("words", "percent"),
    [
        ([], None),
        (["1 not-sure"], None),
        (["3 ok", "1 not-sure"], 100.0),
        (["3 ok", "2 broken"], 50.0),
        (["3 ok", "2 broken", "2 ok"], 75.0),
        (["100 broken", "2 ok"], 100.0),
    ],
)
def test_days_that_are_not_known_do_not_count(words: list[str], percent: float | None) -> None:
    assert history.uptime(history.days(checks(*words), TODAY, 90), 90) == percent


def test_an_outage_ends_with_a_check_that_works() -> None:
    found = history.outages(checks("9 failing", "8 broken", "7 not-sure", "6 ok", "5 ok", "2 failing"))
    assert [(outage.start.day, outage.end and outage.end.day) for outage in found] == [(1, 4), (8, None)]
    assert history.outages(checks("2 ok", "1 not-sure")) == []
