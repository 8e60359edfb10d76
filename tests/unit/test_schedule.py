"""When a link is checked next."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from ckanext.archiver import schedule
from ckanext.archiver.engine.outcome import Verdict

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def pause(recheck="adaptive", verdict=Verdict.OK, *, stable=None, broken=None, retry_after=None, jitter=0.0):
    found = schedule.next_check(
        recheck,
        verdict,
        NOW,
        stable_since=None if stable is None else NOW - timedelta(days=stable),
        broken_since=None if broken is None else NOW - timedelta(days=broken),
        retry_after=retry_after,
        jitter=jitter,
    )
    return (found - NOW) / timedelta(days=1)


@pytest.mark.parametrize(
    ("stable", "days"), [(None, 1), (0, 1), (2, 1), (4, 1), (8, 2), (40, 10), (120, 30), (4000, 30)]
)
def test_a_file_is_looked_at_the_less_the_longer_it_is_stable(stable, days):
    assert pause(stable=stable) == days


def test_a_failing_link_is_looked_at_twice_a_day():
    assert pause(verdict=Verdict.FAILING, stable=1000) == 0.5


@pytest.mark.parametrize(("broken", "days"), [(None, 0.5), (0, 0.5), (8, 1), (40, 5), (1000, 7)])
def test_a_broken_link_is_looked_at_less_and_less_but_every_week(broken, days):
    assert pause(verdict=Verdict.BROKEN, broken=broken) == days


def test_what_we_may_not_see_is_tried_weekly():
    assert pause(verdict=Verdict.NOT_SURE) == 7


@pytest.mark.parametrize("verdict", list(Verdict))
def test_weekly_is_weekly_for_all(verdict):
    assert pause("weekly", verdict, stable=1000, broken=1000) == 7


@pytest.mark.parametrize("jitter", [-1, -0.3, 0, 1])
def test_a_weekly_line_in_a_crontab_comes_before_the_weekly_round(jitter):
    """Else the round would look at half of the links an hour before cron requests all of them."""
    assert 7 <= pause("weekly", jitter=jitter) <= 7.7


def test_no_regular_round():
    assert schedule.next_check("off", Verdict.OK, NOW, stable_since=None) is None


def test_not_before_the_server_wants_us_back():
    assert pause(verdict=Verdict.FAILING, retry_after=86400) == 1
    assert pause(verdict=Verdict.FAILING, retry_after=60) == 0.5


def test_what_was_checked_together_does_not_come_back_together():
    times = {schedule.next_check("adaptive", Verdict.OK, NOW, stable_since=None) for _ in range(200)}
    assert len(times) > 100
    assert min(times) >= NOW + timedelta(hours=21.5)
    assert max(times) <= NOW + timedelta(hours=26.5)
