"""The time: aware UTC in code, naive UTC in the old columns."""

from __future__ import annotations

import datetime


def utc() -> datetime.datetime:
    """Now, aware, in UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


def naive_utc() -> datetime.datetime:
    """Now, naive, in UTC: for DateTime columns."""
    return utc().replace(tzinfo=None)


def aware(moment: datetime.datetime | None) -> datetime.datetime | None:
    """A column's naive UTC time as an aware one."""
    return None if moment is None else moment.replace(tzinfo=datetime.timezone.utc)


def naive(moment: datetime.datetime | None) -> datetime.datetime | None:
    """An aware time as naive UTC."""
    return None if moment is None else moment.astimezone(datetime.timezone.utc).replace(tzinfo=None)
