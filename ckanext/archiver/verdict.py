"""The verdict about a link: pure rules over the current run and the history.

The engine reports a *cause* (what happened in this run); :func:`judge` derives the *verdict* (what people are told)
from it and from the history of the link. Nothing here reads a clock, a database or an option.

How the rules fit together:

* Only a success resets the failures; a 304, unchanged bytes and a file that is too large to keep are successes.
* A run that could not judge the link (blocked, refused by policy, a response that may be a soft failure) is *not-sure*,
  even for a link that was broken: no publisher may be accused on old evidence. It neither counts as a failure nor
  resets the count, so failing → blocked → failing continues the count.
* A broken link stays broken through failures of another kind (404, then 500): the file was not available in between.
* A run that failed by our own fault changes nothing at all.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from ckanext.archiver.engine.outcome import Cause, Verdict


@dataclass(frozen=True)
class Rules:
    """When a failing link is called broken: after so many failed runs in a row, over so many hours."""

    runs: int = 3
    hours: float = 36
    runs_dns: int = 2
    hours_dns: float = 24
    gone_hours: float = 12
    """Hours after its first 404 at which a link that worked before is called broken, if the server says the same
    again.
    """


@dataclass(frozen=True)
class History:
    """What is known of a link before this run; empty for one whose URL was edited. Times are aware UTC.

    :ivar failure_count: failed runs since the last success
    :ivar first_failure: the time of the first of them
    :ivar verdict: the last verdict, None before the first run
    :ivar detail: the detail of the last run
    :ivar worked_before: this very URL was seen working, and was not edited since
    """

    failure_count: int = 0
    first_failure: datetime | None = None
    last_success: datetime | None = None
    verdict: Verdict | None = None
    detail: str = ""
    worked_before: bool = False


@dataclass(frozen=True)
class Judgement:
    """The result to record. ``held``: nothing is recorded, because the run says nothing about the link."""

    verdict: Verdict | None
    failure_count: int = 0
    first_failure: datetime | None = None
    last_success: datetime | None = None
    held: bool = False

    @property
    def is_broken(self) -> bool | None:
        """The three-valued answer of the API."""
        return self.verdict.is_broken if self.verdict else None


class Rule(enum.Enum):
    """The effect of one run."""

    SUCCESS = "a person can get it"
    AT_ONCE = "broken without confirmation"
    CONFIRM = "broken after Rules.runs over Rules.hours"
    CONFIRM_GONE = "broken at once, or after Rules.gone_hours if the link worked before"
    CONFIRM_DNS = "broken after Rules.runs_dns over Rules.hours_dns"
    NOT_SURE = "nothing may be said"
    HOLD = "nothing is written"


CAUSE_RULES: dict[Cause, Rule] = {
    Cause.OK: Rule.SUCCESS,
    Cause.TOO_LARGE: Rule.SUCCESS,
    Cause.GONE: Rule.AT_ONCE,
    Cause.BAD_URL: Rule.AT_ONCE,
    Cause.SERVER_ERROR: Rule.CONFIRM,
    Cause.UNREACHABLE: Rule.CONFIRM,
    Cause.TLS: Rule.CONFIRM,
    Cause.REDIRECT: Rule.CONFIRM,
    Cause.BLOCKED: Rule.NOT_SURE,
    Cause.REFUSED_BY_POLICY: Rule.NOT_SURE,
    Cause.SOFT_404: Rule.NOT_SURE,
    Cause.OWN_FAULT: Rule.HOLD,
}

# Details with another rule than their cause. Of the soft failures only those are certain in which the service itself
# reports, in its own protocol, that this request is wrong. An ArcGIS error of the 500s means that the service does not
# work, which is often temporary, so it is confirmed like any server error.
DETAIL_RULES: dict[str, Rule] = {
    "dns-not-found": Rule.CONFIRM_DNS,
    # Deployments and firewalls answer 404 for an hour; a 410 is meant.
    "http-gone": Rule.CONFIRM_GONE,
    "ftp-gone": Rule.CONFIRM_GONE,
    "soft-service-exception": Rule.AT_ONCE,
    "soft-arcgis-error": Rule.AT_ONCE,
    "soft-arcgis-failure": Rule.CONFIRM,
    "soft-service-failure": Rule.CONFIRM,
}


def rule_for(cause: Cause, detail: str) -> Rule:
    """The rule of one run."""
    return DETAIL_RULES.get(detail) or CAUSE_RULES[cause]


def judge(cause: Cause, detail: str, history: History, rules: Rules, now: datetime) -> Judgement:
    """Judge one run of a link.

    :param cause: what happened
    :param detail: what exactly happened (a key of ``reasons.REASONS``)
    :param history: of the same URL
    :param now: the end of the run, aware UTC
    """
    rule = rule_for(cause, detail)
    if rule is Rule.SUCCESS:
        return Judgement(Verdict.OK, last_success=now)
    if rule in (Rule.HOLD, Rule.NOT_SURE):
        held = rule is Rule.HOLD
        return Judgement(
            history.verdict if held else Verdict.NOT_SURE,
            history.failure_count,
            history.first_failure,
            history.last_success,
            held=held,
        )
    count = history.failure_count + 1
    since = history.first_failure or now
    broken = history.verdict is Verdict.BROKEN or _confirmed(rule, detail, history, count, now - since, rules)
    return Judgement(Verdict.BROKEN if broken else Verdict.FAILING, count, since, history.last_success)


def _confirmed(rule: Rule, detail: str, history: History, count: int, span: timedelta, rules: Rules) -> bool:
    if rule is Rule.AT_ONCE:
        return True
    says_again = history.detail == detail and span >= timedelta(hours=rules.gone_hours)
    if rule is Rule.CONFIRM_GONE and (says_again or not history.worked_before):
        return True
    # The shorter rule is for a name that is missing twice in a row, not for one miss after other failures.
    if rule is Rule.CONFIRM_DNS and history.detail in ("", detail):
        return count >= rules.runs_dns and span >= timedelta(hours=rules.hours_dns)
    return count >= rules.runs and span >= timedelta(hours=rules.hours)


# -- the older contract ------------------------------------------------------------------------------------

STATUS_OK = "Archived successfully"
STATUS_NOT_CHANGED = "Content has not changed"
STATUS_URL_INVALID = "URL invalid"
STATUS_DOWNLOAD_ERROR = "Download error"
STATUS_CHOSE_NOT = "Chose not to download"
STATUS_DOWNLOAD_FAILURE = "Download failure"
STATUS_SYSTEM_ERROR = "System error during archival"

_CONFIRMED_STATUS = {Cause.BAD_URL: STATUS_URL_INVALID}
_UNSURE_STATUS = {
    Cause.TOO_LARGE: STATUS_CHOSE_NOT,
    Cause.REFUSED_BY_POLICY: STATUS_CHOSE_NOT,
    Cause.OWN_FAULT: STATUS_SYSTEM_ERROR,
}


def status_text(cause: Cause, verdict: Verdict | None, *, not_changed: bool = False) -> str:
    """The ``Status`` text of older releases, which other extensions compare.

    Each text belongs to one of three groups there (not broken, broken, not sure). So a failure is a "Download failure"
    until it is confirmed and a "Download error" from then on, and the group always agrees with ``is_broken``. The
    exception is "Chose not to download" for a file that is too large, because older code looks for that text.

    :param not_changed: the server answered 304, or the bytes are those of the existing copy
    """
    if cause is Cause.OK:
        return STATUS_NOT_CHANGED if not_changed else STATUS_OK
    if verdict is Verdict.BROKEN:
        return _CONFIRMED_STATUS.get(cause, STATUS_DOWNLOAD_ERROR)
    return _UNSURE_STATUS.get(cause, STATUS_DOWNLOAD_FAILURE)
