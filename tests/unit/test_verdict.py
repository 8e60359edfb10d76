"""Whole histories of links, run by run: what is said after each."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckanext.archiver.engine.outcome import Cause, Verdict
from ckanext.archiver.engine.reasons import REASONS
from ckanext.archiver.verdict import (
    CAUSE_RULES,
    DETAIL_RULES,
    History,
    Judgement,
    Rule,
    Rules,
    judge,
    rule_for,
    status_text,
)

RULES = Rules()
MONDAY = datetime(2026, 1, 5, 8, tzinfo=timezone.utc)

# What may happen in a run, by a short name.
EVENTS = {
    "ok": (Cause.OK, "ok"),
    "304": (Cause.OK, "ok-not-modified"),
    "large": (Cause.TOO_LARGE, "too-large"),
    "404": (Cause.GONE, "http-gone"),
    "410": (Cause.GONE, "http-removed"),
    "dns": (Cause.GONE, "dns-not-found"),
    "bad-url": (Cause.BAD_URL, "url-prose"),
    "500": (Cause.SERVER_ERROR, "http-status"),
    "cut": (Cause.SERVER_ERROR, "truncated"),
    "down": (Cause.UNREACHABLE, "connect-timeout"),
    "tls": (Cause.TLS, "tls-expired"),
    "loop": (Cause.REDIRECT, "redirect-loop"),
    "403": (Cause.BLOCKED, "http-blocked"),
    "private": (Cause.REFUSED_BY_POLICY, "address-refused"),
    "html": (Cause.SOFT_404, "soft-html"),
    "exception": (Cause.SOFT_404, "soft-service-exception"),
    "arcgis": (Cause.SOFT_404, "soft-arcgis-error"),
    "arcgis-500": (Cause.SOFT_404, "soft-arcgis-failure"),
    "disk": (Cause.OWN_FAULT, "disk-full"),
}


def run(history: str, rules: Rules = RULES, hours: float = 24) -> list[str]:
    """What is said after each run. ``"500 500+2 ok"``: runs are ``hours`` apart, or as many as ``+`` says.

    A held run is written as the verdict that stays, in brackets.
    """
    now, known, said = MONDAY, History(), []
    for place, word in enumerate(history.split()):
        name, _, gap = word.partition("+")
        now += timedelta(hours=(float(gap) if gap else hours) if place else 0)
        cause, detail = EVENTS[name]
        found = judge(cause, detail, known, rules, now)
        said.append(f"({found.verdict})" if found.held else str(found.verdict))
        if not found.held:
            worked_before = found.last_success is not None
            known = History(
                found.failure_count, found.first_failure, found.last_success, found.verdict, detail, worked_before
            )
    return said


HISTORIES = {
    "good": ("ok ok 304", "ok ok ok"),
    "gone, never seen working": ("404", "broken"),
    "gone, after it worked": ("ok 404 404+1 404+10.9 404+0.1", "ok failing failing failing broken"),
    "gone, after it worked, seldom": ("ok 404 404+13", "ok failing broken"),
    "gone for an hour": ("ok 404 ok+1 404 304", "ok failing ok failing ok"),
    "gone, then blocked, then gone": ("ok 404 403+1 404+12 404+1", "ok failing not-sure failing broken"),
    "gone for good": ("ok 410", "ok broken"),
    "gone between server errors": ("ok 500 404+12 500+12 404+12", "ok failing failing failing broken"),
    "recovered": ("500 500 500 ok 500", "failing failing broken ok failing"),
    "too large is well": ("500 500 large 500", "failing failing ok failing"),
    "bad url": ("bad-url", "broken"),
    "server errors, daily": ("ok 500 500 500 500", "ok failing failing broken broken"),
    "server errors, hourly": ("ok 500 500+1 500+1 500+1 500+32 500+1", "ok" + " failing" * 5 + " broken"),
    "long but seldom": ("500 500+200", "failing failing"),
    "exactly 36 hours": ("500 500+18 500+18", "failing failing broken"),
    "just under 36 hours": ("500 500+18 500+17.9", "failing failing failing"),
    "weekend outage, Friday evening to Monday, daily": (
        "ok down down down ok",
        "ok failing failing broken ok",
    ),
    "weekend outage, every second day": ("ok down+30 down+30 ok+30", "ok failing failing ok"),
    "outage of a night": ("ok down+1 down+1 down+6 ok+1", "ok failing failing failing ok"),
    "flaky host": ("ok 500 ok down ok 500 500 ok cut", "ok failing ok failing ok failing failing ok failing"),
    "mixed failures": ("500 down tls", "failing failing broken"),
    "certificate": ("tls tls tls ok", "failing failing broken ok"),
    "redirects": ("loop loop loop", "failing failing broken"),
    "no such name": ("dns dns", "failing broken"),
    "no such name, soon again": ("dns dns+1 dns+1 dns+22", "failing failing failing broken"),
    "no such name after another failure": ("500 dns dns", "failing failing broken"),
    "no such name for a moment": ("ok dns ok dns", "ok failing ok failing"),
    "blocked": ("ok 403 403 403 403", "ok not-sure not-sure not-sure not-sure"),
    "broken turns blocked": ("404 403", "broken not-sure"),
    "broken, blocked, gone again": ("404 403 404", "broken not-sure broken"),
    "failing, blocked, failing": ("500 403 500 500", "failing not-sure failing broken"),
    "blocked, failing": ("403 403 403 500", "not-sure not-sure not-sure failing"),
    "broken, then another failure": ("404 500 down", "broken broken broken"),
    "broken, blocked, another failure": ("404 403 500", "broken not-sure failing"),
    "refused by policy": ("private private", "not-sure not-sure"),
    "page instead of data": ("html html html html", "not-sure not-sure not-sure not-sure"),
    "page between failures": ("500 html 500 500", "failing not-sure failing broken"),
    "service exception": ("ok exception ok", "ok broken ok"),
    "arcgis error": ("arcgis", "broken"),
    "arcgis is ill": ("arcgis-500 arcgis-500 arcgis-500", "failing failing broken"),
    "our own fault says nothing": ("disk ok disk", "(None) ok (ok)"),
    "our own fault in a failure": ("500 disk 500 disk 500", "failing (failing) failing (failing) broken"),
    "our own fault for a broken link": ("404 disk disk", "broken (broken) (broken)"),
}


@pytest.mark.parametrize(("history", "said"), HISTORIES.values(), ids=HISTORIES.keys())
def test_history(history: str, said: str) -> None:
    assert run(history) == said.split()


def test_rules_are_options() -> None:
    assert run("500 500+1", Rules(runs=2, hours=1)) == ["failing", "broken"]
    assert run("500", Rules(runs=1, hours=0)) == ["broken"]
    assert run("dns dns+1", Rules(runs_dns=2, hours_dns=1)) == ["failing", "broken"]
    assert run("ok 404 404+1", Rules(gone_hours=1)) == ["ok", "failing", "broken"]


def test_success_resets_everything() -> None:
    old = History(5, MONDAY, None, Verdict.BROKEN, "http-status")
    now = MONDAY + timedelta(days=9)
    for name in ("ok", "304", "large"):
        assert judge(*EVENTS[name], old, Rules(), now) == Judgement(Verdict.OK, 0, None, now)


def test_a_run_that_says_nothing_keeps_the_count() -> None:
    old = History(2, MONDAY, MONDAY - timedelta(days=1), Verdict.FAILING, "http-status")
    for name in ("403", "html", "disk"):
        found = judge(*EVENTS[name], old, Rules(), MONDAY + timedelta(days=1))
        assert (found.failure_count, found.first_failure, found.last_success) == (2, MONDAY, old.last_success)


def test_every_cause_has_a_rule_and_every_special_detail_a_sentence() -> None:
    assert set(CAUSE_RULES) == set(Cause)
    assert set(DETAIL_RULES) <= set(REASONS)
    assert rule_for(Cause.GONE, "http-gone") is Rule.CONFIRM_GONE
    assert rule_for(Cause.GONE, "http-removed") is Rule.AT_ONCE


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), st.floats(0.1, 100)), min_size=1, max_size=30))
def test_no_history_accuses_without_confirmation(events: list[tuple[str, float]]) -> None:
    """Broken needs one certain failure or three failures since the last success, whatever came between."""
    said = run(" ".join(f"{name}+{gap}" for name, gap in events))
    certain = {name for name, found in EVENTS.items() if rule_for(*found) in (Rule.AT_ONCE, Rule.CONFIRM_GONE)}
    failures: list[str] = []
    for (name, _), verdict in zip(events, said, strict=True):
        rule = rule_for(*EVENTS[name])
        if rule is Rule.SUCCESS:
            failures.clear()
        elif rule in (Rule.AT_ONCE, Rule.CONFIRM, Rule.CONFIRM_DNS, Rule.CONFIRM_GONE):
            failures.append(name)
        if verdict == "broken":
            assert certain & set(failures) or len(failures) >= (2 if "dns" in failures else 3)
        if rule is Rule.NOT_SURE:
            assert verdict == "not-sure"


# -- the texts of older releases ------------------------------------------------------------------------------

# As the older contract groups them: not broken, broken, not sure.
GROUPS = {
    "Archived successfully": False,
    "Content has not changed": False,
    "URL invalid": True,
    "URL request failed": True,
    "Download error": True,
    "Chose not to download": None,
    "Download failure": None,
    "System error during archival": None,
}


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("history", [History(), History(9, MONDAY - timedelta(days=9), None, Verdict.BROKEN)])
def test_status_text_never_contradicts_is_broken(name: str, history: History) -> None:
    cause, detail = EVENTS[name]
    found = judge(cause, detail, history, Rules(), MONDAY)
    text = status_text(cause, found.verdict)
    if found.held:
        return
    # A file that is too large is well, and has always been "Chose not to download".
    assert GROUPS[text] is (None if cause is Cause.TOO_LARGE else found.is_broken)


@pytest.mark.parametrize(
    ("cause", "verdict", "text"),
    [
        (Cause.OK, Verdict.OK, "Archived successfully"),
        (Cause.TOO_LARGE, Verdict.OK, "Chose not to download"),
        (Cause.BAD_URL, Verdict.BROKEN, "URL invalid"),
        (Cause.GONE, Verdict.BROKEN, "Download error"),
        (Cause.UNREACHABLE, Verdict.BROKEN, "Download error"),
        (Cause.UNREACHABLE, Verdict.FAILING, "Download failure"),
        (Cause.BLOCKED, Verdict.NOT_SURE, "Download failure"),
        (Cause.REFUSED_BY_POLICY, Verdict.NOT_SURE, "Chose not to download"),
        (Cause.OWN_FAULT, None, "System error during archival"),
    ],
)
def test_status_text(cause: Cause, verdict: Verdict | None, text: str) -> None:
    assert status_text(cause, verdict) == text


def test_status_text_of_an_unchanged_file() -> None:
    assert status_text(Cause.OK, Verdict.OK, not_changed=True) == "Content has not changed"
