"""What a run comes to in the tables: pure rules. Nothing here reads a clock, a database, a disk or an option.

In this order:

* The link was edited during the run: the run says nothing about the new URL, and the request is due again.
* The failure may be our own fault: no verdict, and the request is held.
* The failure is transient and retries are left: the request is deferred. A link without a verdict shows the failure
  until then (a provisional row).
* Else the verdict is final: the archival's row, an entry in the history, and the request is done. A doubtful file
  replaces the copy only where :func:`keeps_file` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ckanext.archiver import clock, schedule
from ckanext.archiver.archiving.types import Decision, Link, Options, Run
from ckanext.archiver.engine import reasons, store
from ckanext.archiver.engine.outcome import Cause, Outcome, Verdict
from ckanext.archiver.model import Status
from ckanext.archiver.queue import claims, hosts
from ckanext.archiver.queue.types import Reason
from ckanext.archiver.verdict import History, Judgement, Rule, judge, rule_for, status_text

NOT_READY = timedelta(hours=1)
"""When a file that its server is still preparing (202) is checked again."""

MAX_HOLDS_WITHOUT_OUTAGE = 3
"""Holds after which a failure counts although many hosts fail, as long as some answer."""


def decide(
    run: Run,
    current: claims.CurrentResource,
    outage: hosts.OutageCheck | None,
    options: Options,
    *,
    jitter: float = 0.0,
) -> Decision:
    """Decide what is written about a run.

    :param run: its file, if one came, is in the archive already (``run.outcome.temp_path``)
    :param current: the resource by now, and the time by the database's clock
    :param outage: where an outage of our own is suspected, how the hosts checked lately answered; else None
    :param jitter: -1 to 1, moves the next regular check
    """
    observation = observe(run)
    if not is_unchanged(run.link, current):
        return Decision(deferral=claims.Deferral(run.claim, attempts=0), observation=observation)
    held = own_fault(run, outage)
    if held:
        if observation is not None:
            observation = replace(observation, held=True)
        deferral = _hold(run, options)
        return Decision(deferral=deferral, observation=observation, held=held if deferral.held else "")
    history = history_of(run.link)
    claim, outcome, now = run.claim, run.outcome, current.now
    if outcome.transient and claim.attempts < len(options.retry_delays) and not claim.at_once:
        values = None
        if _shows_first_failure(run, history):
            values = archival_values(run, _provisional(history, now), now, options, jitter)
        deferral = claims.Deferral(claim, options.retry_delays[claim.attempts], attempts=claim.attempts + 1)
        return Decision(values, deferral, observation)
    judgement = judge(outcome.cause, outcome.detail, history, options.rules, now)
    return Decision(
        archival_values(run, judgement, now, options, jitter),
        observation=observation,
        is_final=True,
        history_detail="doubt-replaced" if _is_taken_over_now(run, now, options) else "",
    )


def decide_poisoned(run: Run, now: datetime, options: Options, *, jitter: float = 0.0) -> Decision:
    """Decide about a link that killed its workers: not sure, with the reason, so that it is not tried for ever."""
    judgement = judge(run.outcome.cause, run.outcome.detail, history_of(run.link), options.rules, now)
    judgement = replace(judgement, verdict=Verdict.NOT_SURE, held=False)
    return Decision(archival_values(run, judgement, now, options, jitter), is_final=True)


# -- the rules ---------------------------------------------------------------------------------------------


def is_unchanged(link: Link, current: claims.CurrentResource) -> bool:
    """Whether the resource is still the one that the run was about."""
    return (current.url, current.url_type, current.timestamp) == (link.url, link.url_type, link.timestamp)


def observe(run: Run) -> hosts.HostObservation | None:
    """What a run says about its host; None where no request was made because the host was known to be down."""
    admission = run.request.admission
    if admission.down_since is not None:
        return None
    return hosts.HostObservation(run.claim.host, run.outcome, probes=admission.probes)


def may_be_outage(run: Run) -> bool:
    """Whether a failure counts only if no outage of our own is suspected."""
    return hosts.may_be_ours(run.outcome) and not run.claim.at_once


def own_fault(run: Run, outage: hosts.OutageCheck | None) -> str:
    """Why this failure may be ours, in words for the log; empty when it is the link's."""
    outcome = run.outcome
    if outcome.cause is Cause.OWN_FAULT:
        return reasons.reason(outcome.detail, outcome.facts)
    if outage is None or not may_be_outage(run):
        return ""
    if outage.some_worked and run.claim.holds >= MAX_HOLDS_WITHOUT_OUTAGE:
        return ""
    return f"{outage.failed} of {outage.seen} hosts fail at once."


def _hold(run: Run, options: Options) -> claims.Deferral:
    outcome = run.outcome
    if outcome.detail in ("stopped", "gave-way"):
        return claims.Deferral(run.claim, to_bulk=outcome.detail == "gave-way")
    held = outcome.detail if outcome.cause is Cause.OWN_FAULT else "outage"
    return claims.Deferral(run.claim, options.hold_seconds, held=held)


def _shows_first_failure(run: Run, history: History) -> bool:
    """Whether a failure is shown before its retries decide what it counts: a person has just typed this URL, or asked
    for it to be confirmed now."""
    if not run.link.known:
        return True
    return run.claim.reason == Reason.CONFIRM and history.verdict not in (Verdict.FAILING, Verdict.BROKEN)


def _provisional(history: History, now: datetime) -> Judgement:
    return Judgement(Verdict.FAILING, history.failure_count, history.first_failure or now, history.last_success)


def history_of(link: Link) -> History:
    """What is known of the link's URL."""
    known = link.known
    if not known or not known["verdict"]:
        return History()
    return History(
        failure_count=known["failure_count"] or 0,
        first_failure=clock.aware(known["first_failure"]),
        last_success=clock.aware(known["last_success"]),
        verdict=Verdict(known["verdict"]),
        detail=known["detail"] or "",
        worked_before=known["last_success"] is not None,
    )


# -- doubtful files ----------------------------------------------------------------------------------------
#
# Doubt never replaces a copy: a file of another kind than promised (a page, a message) is kept only once the same
# answer came in so many checks over so many hours, or at once after the publisher has edited the URL or the format.


def keeps_file(run: Run, now: datetime, options: Options) -> bool:
    """Whether the downloaded file becomes the copy."""
    if not run.outcome.doubtful:
        return run.outcome.cause is Cause.OK
    if run.outcome.temp_path is None:
        return False
    old = run.link.archival or {}
    if old.get("source_url") and (old["source_url"], old["source_format"] or run.link.format) != (
        run.link.url,
        run.link.format,
    ):
        return True
    checks, hours = options.doubt
    doubt = _doubt_values(run, clock.naive(now))
    since = clock.aware(doubt["doubt_since"])
    return doubt["doubt_count"] >= checks and since is not None and now - since >= timedelta(hours=hours)


def _is_taken_over_now(run: Run, now: datetime, options: Options) -> bool:
    """Whether this run replaces a good copy by a doubtful file that was confirmed."""
    known = run.link.known
    if not run.outcome.doubtful or not known.get("cache_filepath") or not keeps_file(run, now, options):
        return False
    # A copy that is younger than the doubt is the doubtful file already.
    return known["cached_at"] is None or known["doubt_since"] is None or known["cached_at"] < known["doubt_since"]


def _doubt_values(run: Run, now: datetime | None) -> dict[str, Any]:
    """The columns about doubt after this run. A failure in between neither counts nor ends it; a file that fits ends
    it."""
    outcome, known = run.outcome, run.link.known
    if outcome.doubtful:
        if known.get("doubt_detail") == outcome.detail and known.get("source_format") == run.link.format:
            return {
                "doubt_detail": outcome.detail,
                "doubt_since": known["doubt_since"],
                "doubt_count": known["doubt_count"] + 1,
            }
        return {"doubt_detail": outcome.detail, "doubt_since": now, "doubt_count": 1}
    if outcome.cause is Cause.OK:
        return dict.fromkeys(("doubt_detail", "doubt_since", "doubt_count"))
    return {name: known.get(name) for name in ("doubt_detail", "doubt_since", "doubt_count")}


# -- the archival's row ------------------------------------------------------------------------------------

COPY_COLUMNS = (
    "cache_filepath",
    "cache_url",
    "size",
    "mimetype",
    "hash",
    "sha256",
    "changed_at",
    "cached_at",
)


def archival_values(
    run: Run, judgement: Judgement, now: datetime, options: Options, jitter: float = 0.0
) -> dict[str, Any]:
    """The columns of the archival after this run; ``id`` is None for a new row."""
    link, outcome = run.link, run.outcome
    old, known = link.archival or {}, link.known
    moment = clock.naive(now)
    verdict = judgement.verdict
    assert verdict is not None  # noqa: S101 - a run that is held writes no row
    not_changed = outcome.not_modified or _is_same_file(outcome, known)
    first_failure = clock.naive(judgement.first_failure)
    broken_since = (known.get("broken_since") or moment) if verdict is Verdict.BROKEN else None
    values = {
        "id": old.get("id"),
        "package_id": link.package_id,
        "resource_id": link.resource_id,
        "resource_timestamp": link.timestamp,
        "source_url": link.url,
        "source_format": link.format,
        "status_id": Status.by_text(status_text(outcome.cause, verdict, not_changed=not_changed)),
        "verdict": str(verdict),
        "is_broken": verdict.is_broken,
        "not_sure_reason": str(outcome.cause) if verdict is Verdict.NOT_SURE else None,
        "first_failure": first_failure,
        "failing_since": first_failure if verdict in (Verdict.FAILING, Verdict.BROKEN) else None,
        "broken_since": broken_since,
        "failure_count": judgement.failure_count,
        "last_success": clock.naive(judgement.last_success),
        "created": old.get("created") or moment,
        "updated": moment,
        "checked_at": moment,
        **_outcome_values(outcome),
        "permanent_seen": _permanent_seen(known, outcome),
        "repaired_at": _repaired_at(old, verdict, moment),
        **_doubt_values(run, moment),
        **_copy_values(run, now, options, not_changed=not_changed),
    }
    next_check = schedule.next_check(
        options.recheck,
        verdict,
        now,
        stable_since=clock.aware(values["changed_at"]),
        broken_since=clock.aware(broken_since),
        retry_after=outcome.retry_after,
        confirm_at=_confirm_at(run, judgement, values, now, options),
        jitter=jitter,
    )
    return {**values, "next_check_at": clock.naive(_not_later_than_planned(next_check, run, verdict, now))}


def _not_later_than_planned(next_check: datetime | None, run: Run, verdict: Verdict, now: datetime) -> datetime | None:
    """When a broken link is checked next: a check that a person asked for does not put off the planned one, which would
    find out that the link works again."""
    planned = clock.aware(run.link.known.get("next_check_at"))
    asked_for = run.claim.reason in (Reason.CONFIRM, Reason.CALLED) and not run.outcome.retry_after
    if not asked_for or verdict is not Verdict.BROKEN or next_check is None or planned is None or planned <= now:
        return next_check
    return min(next_check, planned)


def _outcome_values(outcome: Outcome) -> dict[str, Any]:
    """The columns that say what happened."""
    return {
        "cause": str(outcome.cause),
        "detail": outcome.detail,
        "facts": dict(outcome.facts),
        "reason": reasons.reason(outcome.detail, outcome.facts),
        "http_status": outcome.http_status,
        "url_redirected_to": outcome.final_url if outcome.hops else None,
        "permanent_url": outcome.permanent_url,
        "certificate_expires": clock.naive(outcome.certificate.not_after) if outcome.certificate else None,
    }


def _permanent_seen(known: Mapping[str, Any], outcome: Outcome) -> int:
    """How many checks in a row the permanent redirects led to the same URL."""
    if not outcome.permanent_url:
        return 0
    return 1 + ((known.get("permanent_seen") or 0) if known.get("permanent_url") == outcome.permanent_url else 0)


def _repaired_at(old: Mapping[str, Any], verdict: Verdict, now: datetime | None) -> datetime | None:
    """When the link last worked again after it had been broken.

    :param old: the row, also where it is about another URL: a new URL is how a publisher repairs a link
    """
    if verdict is Verdict.BROKEN:
        return None
    if verdict is Verdict.OK and old.get("verdict") == Verdict.BROKEN:
        return now
    return old.get("repaired_at")


def _confirm_at(
    run: Run, judgement: Judgement, values: Mapping[str, Any], now: datetime, options: Options
) -> datetime | None:
    """When a check can confirm what is not certain yet, where that is sooner than the schedule's next one."""
    if judgement.verdict is Verdict.FAILING and rule_for(run.outcome.cause, run.outcome.detail) is Rule.CONFIRM_GONE:
        again = now + timedelta(hours=options.gone_recheck_hours)
        first = judgement.first_failure or now
        return again if judgement.failure_count <= 1 else max(again, first + timedelta(hours=options.rules.gone_hours))
    if run.outcome.detail == "soft-not-ready":
        return now + NOT_READY
    checks, hours = options.doubt
    if run.outcome.doubtful and values["doubt_count"] < checks:
        since = clock.aware(values["doubt_since"]) or now
        is_last = values["doubt_count"] == checks - 1
        step = now + timedelta(hours=hours / max(checks - 1, 1))
        return max(step, since + timedelta(hours=hours)) if is_last else step
    return None


def _is_same_file(outcome: Outcome, known: Mapping[str, Any]) -> bool:
    """Whether a download has the bytes of the copy we have. Rows of 2.x have a SHA-1 only."""
    if known.get("sha256"):
        return outcome.sha256 == known["sha256"]
    return bool(outcome.sha1) and outcome.sha1 == known.get("hash")


def _copy_values(run: Run, at: datetime, options: Options, *, not_changed: bool) -> dict[str, Any]:
    """The columns about the copy. A failure leaves the copy we have, which is what people want then."""
    link, outcome, now = run.link, run.outcome, clock.naive(at)
    old, known = link.archival or {}, link.known
    values = {name: old.get(name) for name in COPY_COLUMNS}
    path = Path(values["cache_filepath"] or "")
    if path.parts[-3:-1] == (link.resource_id[:2], link.resource_id):
        # The options that it is made of may have changed.
        values["cache_url"] = cache_url(options, link.package_id, link.resource_id, path.name)
    # A validator is of use only for the URL it came from.
    values.update({name: known.get(name) for name in ("etag", "last_modified")})
    if outcome.cause is not Cause.OK and not keeps_file(run, at, options):
        return {**values, **_actual_copy_values(run, now, options)}
    values.update(
        etag=outcome.etag or values["etag"] if outcome.not_modified else outcome.etag,
        last_modified=outcome.last_modified or values["last_modified"]
        if outcome.not_modified
        else outcome.last_modified,
    )
    if outcome.temp_path is None:
        if outcome.mimetype and not outcome.not_modified:
            values["mimetype"] = outcome.mimetype
        return values
    path = outcome.temp_path
    return {
        **values,
        "cache_filepath": str(path),
        "cache_url": cache_url(options, link.package_id, link.resource_id, path.name),
        "size": outcome.size,
        "mimetype": outcome.mimetype,
        "hash": outcome.sha1,
        "sha256": outcome.sha256,
        "changed_at": known.get("changed_at") if not_changed else now,
        "cached_at": now,
    }


def _actual_copy_values(run: Run, now: datetime | None, options: Options) -> dict[str, Any]:
    """The columns of a copy that is not the one the row describes: as the file is. Its validators are not known."""
    if not run.actual_copy:
        return {}
    served = {}
    if "cache_filepath" in run.actual_copy:
        name = Path(run.actual_copy["cache_filepath"]).name
        served["cache_url"] = cache_url(options, run.link.package_id, run.link.resource_id, name)
    old = run.link.archival or {}
    is_same = run.actual_copy["sha256"] == old.get("sha256")
    changed_at = old.get("changed_at") if is_same else now
    return {**run.actual_copy, **served, "changed_at": changed_at, "etag": None, "last_modified": None}


def cache_url(options: Options, package_id: str, resource_id: str, filename: str) -> str:
    """The public URL of a copy: below ``cache_url_root``, else CKAN's own page for it."""
    if options.cache_url_root:
        return store.cache_url(options.cache_url_root, resource_id, filename)
    return f"{options.site_url}/dataset/{package_id}/resource/{resource_id}/cached"
