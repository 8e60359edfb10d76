"""Statuses and ``Retry-After``: what a head alone says about a link."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckanext.archiver.engine import http_status
from ckanext.archiver.engine.outcome import Cause
from ckanext.archiver.engine.wire import Head

NOW = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("86401", 86_400),
        ("9" * 400, 86_400),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), 300),
        (format_datetime(NOW - timedelta(minutes=5), usegmt=True), 0),
        (format_datetime(NOW + timedelta(days=50), usegmt=True), 86_400),
        ("Mon, 05 Jan 2026 12:10:00 -0000", 600),
        ("Monday, 05-Jan-26 12:00:30 GMT", 30),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("Mon, 99 Jan 2026 12:10:00 GMT", None),
        ("Mon, 05 Jan 99999 12:10:00 GMT", None),
        ("²", None),
    ],
)
def test_retry_after(value: str, seconds: int | None) -> None:
    assert http_status.retry_after(Head(503, {"retry-after": [value]}), NOW) == seconds


@settings(deadline=None)
@given(st.text(max_size=60))
def test_retry_after_of_any_text(value: str) -> None:
    found = http_status.retry_after(Head(503, {"retry-after": [value]}), NOW)
    assert found is None or 0 <= found <= 86_400


@pytest.mark.parametrize("status", range(100, 1000))
def test_every_status_has_one_meaning(status: int) -> None:
    """The table of statuses, as the specification has it."""
    blocked = {401, 402, 403, 406, 407, 418, 420, 423, 428, 429, 440, 449, 451, 498, 509, 511, 999}
    firewalls = {468, 493}
    failure = http_status.failure_of_status(Head(status))
    if status in (200, 201, 203):
        assert failure is None
        return
    assert failure is not None
    if status in (404, 410):
        cause = Cause.GONE
    elif status in blocked | firewalls:
        cause = Cause.BLOCKED
    elif status in (202, 204, 205):
        cause = Cause.SOFT_404
    else:
        cause = Cause.SERVER_ERROR
    assert failure.cause is cause
    assert failure.facts["phrase"]


def test_503_with_a_date_to_come_back_is_blocked() -> None:
    found = http_status.failure_of_status(Head(503, {"retry-after": ["9"]}))
    assert found is not None
    assert found.cause is Cause.BLOCKED
