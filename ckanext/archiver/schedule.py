"""When a link is checked next: pure rules."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from ckanext.archiver.engine.outcome import Verdict

DAY = timedelta(days=1)
HALF_DAY = timedelta(hours=12)
WEEK = timedelta(days=7)
MONTH = timedelta(days=30)
JITTER = 0.1


def next_check(
    recheck: str,
    verdict: Verdict,
    now: datetime,
    *,
    stable_since: datetime | None,
    broken_since: datetime | None = None,
    retry_after: int | None = None,
    confirm_at: datetime | None = None,
    jitter: float | None = None,
) -> datetime | None:
    """The time of the next regular check, None when there are no regular rounds.

    :param recheck: "adaptive", "weekly" or "off"
    :param stable_since: when the bytes last changed
    :param broken_since: when the link was found broken
    :param retry_after: seconds the server asked us to stay away
    :param confirm_at: when a check can confirm what is not certain yet: the next check is not later than that
    :param jitter: -1 to 1: the position within ±10 %; random when it is not given, so that links that were checked
        together are not due together again
    """
    if recheck == "off":
        return None
    pause = WEEK if recheck == "weekly" else _adaptive(verdict, now, stable_since, broken_since)
    spread = random.uniform(-1, 1) if jitter is None else jitter  # noqa: S311 - not a secret
    # The weekly round is later, never sooner: a crontab line that requests everything each week goes first.
    pause *= 1 + JITTER * (abs(spread) if recheck == "weekly" else spread)
    if confirm_at is not None:
        pause = min(pause, confirm_at - now)
    return now + max(pause, timedelta(seconds=retry_after or 0))


def _adaptive(
    verdict: Verdict, now: datetime, stable_since: datetime | None, broken_since: datetime | None
) -> timedelta:
    if verdict is Verdict.FAILING:
        return HALF_DAY
    if verdict is Verdict.BROKEN:
        # The longer a link has been broken, the less often it is checked, but at least once a week.
        return min(max((now - (broken_since or now)) / 8, HALF_DAY), WEEK)
    if verdict is Verdict.NOT_SURE:
        return WEEK
    return min(max((now - (stable_since or now)) / 4, DAY), MONTH)
