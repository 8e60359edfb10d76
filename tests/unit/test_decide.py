"""``decide``: what a run comes to in the tables, without CKAN, a database, a disk or a clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ckanext.archiver.archiving.decide import decide, decide_poisoned
from ckanext.archiver.archiving.types import ClaimedRequest, Link, Options, Run
from ckanext.archiver.engine.outcome import Cause, Outcome, Verdict
from ckanext.archiver.queue.claims import Claim, CurrentResource
from ckanext.archiver.queue.hosts import Admission, OutageCheck
from ckanext.archiver.queue.types import Queue, Reason
from ckanext.archiver.verdict import Rules

NOW = datetime(2026, 3, 2, 12, tzinfo=timezone.utc)
EARLIER = datetime(2026, 2, 1, 12)  # noqa: DTZ001 - as the columns have it
URL = "http://data.example/stops.csv"

OPTIONS = Options(
    rules=Rules(), retry_delays=(30, 300), hold_seconds=600, recheck="weekly", site_url="https://portal.example"
)
OUTAGE = OutageCheck(seen=20, failed=20)
SOME_WORK = OutageCheck(seen=20, failed=15)

OK = Outcome(Cause.OK, "ok-checked", requests=1)
RESET = Outcome(Cause.UNREACHABLE, "reset", requests=1, transient=True)
GONE = Outcome(Cause.GONE, "http-gone", {"status": 404, "phrase": "Not Found"}, requests=1, http_status=404)
DISK = Outcome(Cause.OWN_FAULT, "disk-full")
STOPPED = Outcome(Cause.OWN_FAULT, "stopped")


COPY = {
    "cache_filepath": "/archive/r1/r1/old.csv",
    "cache_url": "https://portal.example/dataset/p1/resource/r1/cached",
    "size": 3,
    "sha256": "old",
    "hash": "old1",
    "changed_at": EARLIER,
    "cached_at": EARLIER,
    "etag": '"1"',
    "last_modified": "Mon",
}


def archival(verdict: str = "ok", **columns: Any) -> dict[str, Any]:
    """An archival's row about :data:`URL`."""
    row: dict[str, Any] = dict.fromkeys(
        ("id", "package_id", "resource_id", "created", "source_url", "verdict", "detail")
    )
    row.update(dict.fromkeys(("first_failure", "last_success", "failure_count", "broken_since", "mimetype")))
    row.update(dict.fromkeys((*COPY, "source_format", "doubt_detail", "doubt_since", "doubt_count")))
    row.update(id="a1", source_url=URL, verdict=verdict, detail="", failure_count=0, created=EARLIER)
    return {**row, **columns}


def a_run(
    outcome: Outcome,
    known: dict[str, Any] | None = None,
    *,
    admission: Admission | None = None,
    actual_copy: dict[str, Any] | None = None,
    **claim: Any,
) -> Run:
    values = {"queue": Queue.BULK, "reason": Reason.ROUND, "attempts": 0, "holds": 0, "deaths": 0, **claim}
    of = Claim(resource_id="r1", package_id="p1", host="data.example", token="t", worker_id="w", **values)
    link = Link("r1", "p1", "stops", "transport", URL, URL, "", "CSV", None, known)
    return Run(ClaimedRequest(of, link, admission or Admission()), link, outcome, actual_copy=actual_copy or {})


def current(**changes: Any) -> CurrentResource:
    return replace(CurrentResource(NOW, URL, "", None), **changes)


# -- which of the ends ---------------------------------------------------------------------------------------------

# outcome, claim, archival, outage → verdict of the row or None, deferred for how long or None, attempts, held, final
ENDS = {
    "works": (OK, {}, None, None, "ok", None, None, "", True),
    "gone, new link": (GONE, {}, None, None, "broken", None, None, "", True),
    "transient, new link: shown at once": (RESET, {}, None, None, "failing", 30, 1, "", False),
    "transient, second try": (RESET, {"attempts": 1}, None, None, "failing", 300, 2, "", False),
    "transient, no retries left": (RESET, {"attempts": 2}, None, None, "failing", None, None, "", True),
    "transient, known link: not shown yet": (RESET, {}, archival(), None, None, 30, 1, "", False),
    "transient, confirm now": (RESET, {"reason": Reason.CONFIRM}, archival(), None, "failing", 30, 1, "", False),
    "transient, confirm now, failing already": (
        RESET,
        {"reason": Reason.CONFIRM},
        archival("failing"),
        None,
        None,
        30,
        1,
        "",
        False,
    ),
    "transient, a caller waits": (RESET, {"at_once": True}, archival(), None, "failing", None, None, "", True),
    "not transient, known link": (replace(RESET, transient=False), {}, archival(), None, "failing", None, None, "", 1),
    "disk": (DISK, {}, archival(), None, None, 600, None, "disk-full", False),
    "disk, a caller waits": (DISK, {"at_once": True}, archival(), None, None, 600, None, "disk-full", False),
    "stopped": (STOPPED, {}, archival(), None, None, 0, None, "", False),
    "outage": (RESET, {}, archival(), OUTAGE, None, 600, None, "outage", False),
    "outage, but this link works": (OK, {}, archival(), OUTAGE, "ok", None, None, "", True),
    "outage, but this host answered": (GONE, {}, archival(), OUTAGE, "broken", None, None, "", True),
    "outage, a caller waits": (RESET, {"at_once": True}, archival(), OUTAGE, "failing", None, None, "", True),
    "outage, held often, none answers": (RESET, {"holds": 3}, archival(), OUTAGE, None, 600, None, "outage", False),
    "outage, held often, some answer": (RESET, {"holds": 3}, archival(), SOME_WORK, None, 30, 1, "", False),
    "outage, held twice, some answer": (RESET, {"holds": 2}, archival(), SOME_WORK, None, 600, None, "outage", False),
}


@pytest.mark.parametrize("name", ENDS)
def test_how_a_run_ends(name: str) -> None:
    outcome, claim, known, outage, verdict, delay, attempts, held, is_final = ENDS[name]
    decision = decide(a_run(outcome, known, **claim), current(), outage, OPTIONS)
    assert (decision.values or {}).get("verdict") == verdict
    assert decision.is_final is bool(is_final)
    if delay is None:
        assert decision.deferral is None
    else:
        assert decision.deferral is not None
        assert (decision.deferral.delay, decision.deferral.attempts, decision.deferral.held) == (delay, attempts, held)
    assert bool(decision.held) == bool(held), "what is held is logged"
    assert decision.observation is not None
    assert decision.observation.held is (bool(held) or outcome is STOPPED)


@pytest.mark.parametrize("change", [{"url": "http://new.example/"}, {"url_type": "upload"}, {"timestamp": EARLIER}])
def test_a_link_that_was_edited_during_the_run_is_due_again(change: dict[str, Any]) -> None:
    decision = decide(a_run(GONE, archival(), attempts=2), current(**change), OUTAGE, OPTIONS)
    assert decision.values is None
    assert not decision.is_final
    assert decision.deferral is not None
    assert (decision.deferral.delay, decision.deferral.attempts, decision.deferral.held) == (0, 0, "")
    assert decision.observation is not None, "its host was reached all the same"
    assert not decision.observation.held


def test_a_host_that_is_known_to_be_down_learns_nothing() -> None:
    down = Admission(down_since=NOW - timedelta(days=1))
    outcome = Outcome(Cause.UNREACHABLE, "host-down", {"host": "data.example", "since": "2026-03-01"})
    decision = decide(a_run(outcome, archival(), admission=down), current(), None, OPTIONS)
    assert decision.observation is None
    assert decision.values is not None
    assert decision.values["verdict"] == "failing"


def test_a_run_that_tries_a_host_again_says_so() -> None:
    decision = decide(a_run(OK, admission=Admission(probes=True)), current(), None, OPTIONS)
    assert decision.observation is not None
    assert decision.observation.probes


def test_a_provisional_row_counts_nothing() -> None:
    known = archival("ok", failure_count=0, last_success=EARLIER)
    decision = decide(a_run(RESET, known, reason=Reason.CONFIRM), current(), None, OPTIONS)
    assert decision.values is not None
    assert (decision.values["failure_count"], decision.values["is_broken"]) == (0, None)
    assert decision.values["failing_since"] == NOW.replace(tzinfo=None)
    assert decision.values["last_success"] == EARLIER


def test_the_same_input_gives_the_same_decision() -> None:
    run = a_run(GONE, archival())
    assert decide(run, current(), None, OPTIONS) == decide(run, current(), None, OPTIONS)
    with pytest.raises(AttributeError):
        run.decision.is_final = True  # type: ignore[misc]


def test_a_link_that_killed_its_workers_is_not_sure() -> None:
    outcome = Outcome(Cause.OWN_FAULT, "poison", {"times": 3}, url=URL)
    decision = decide_poisoned(a_run(outcome, archival("broken", failure_count=4), deaths=3), NOW, OPTIONS)
    assert decision.is_final
    assert decision.values is not None
    assert (decision.values["verdict"], decision.values["is_broken"]) == ("not-sure", None)
    assert "3 times" in decision.values["reason"]
    assert decision.values["failure_count"] == 4


# -- the row -------------------------------------------------------------------------------------------------------


def values_of(run: Run, options: Options = OPTIONS) -> dict[str, Any]:
    decision = decide(run, current(), None, options)
    assert decision.values is not None
    return dict(decision.values)


def fetched(sha256: str) -> Outcome:
    path = Path("/archive/r1/r1/new.csv")
    return replace(OK, detail="ok", temp_path=path, size=9, sha256=sha256, sha1="new1", mimetype="text/csv", etag='"2"')


def test_a_new_copy_is_described() -> None:
    values = values_of(a_run(fetched("new"), archival(**COPY)))
    assert (values["cache_filepath"], values["size"], values["sha256"]) == ("/archive/r1/r1/new.csv", 9, "new")
    assert values["changed_at"] == values["cached_at"] == NOW.replace(tzinfo=None)
    assert (values["etag"], values["last_modified"]) == ('"2"', None)
    assert values["cache_url"] == "https://portal.example/dataset/p1/resource/r1/cached"


def test_the_web_server_may_publish_copies() -> None:
    options = replace(OPTIONS, cache_url_root="https://cache.example/files")
    values = values_of(a_run(fetched("new")), options)
    assert values["cache_url"] == "https://cache.example/files/r1/r1/new.csv"


@pytest.mark.parametrize("outcome", [GONE, replace(OK, detail="ok-not-modified", not_modified=True)])
def test_the_url_of_a_copy_follows_the_options_without_a_download(outcome: Outcome) -> None:
    options = replace(OPTIONS, cache_url_root="https://cache.example/files")
    values = values_of(a_run(outcome, archival(**COPY)), options)
    assert values["cache_url"] == "https://cache.example/files/r1/r1/old.csv"


def test_the_url_of_a_copy_elsewhere_stays() -> None:
    elsewhere = {**COPY, "cache_filepath": "/elsewhere/old.csv", "cache_url": "https://old.example/old.csv"}
    values = values_of(a_run(GONE, archival(**elsewhere)))
    assert values["cache_url"] == "https://old.example/old.csv"


def test_the_same_bytes_have_not_changed() -> None:
    values = values_of(a_run(fetched("old"), archival(**COPY)))
    assert (values["status_id"], values["changed_at"]) == (1, EARLIER)
    assert values["cached_at"] == NOW.replace(tzinfo=None)


def test_a_304_keeps_copy_and_validators() -> None:
    values = values_of(a_run(replace(OK, detail="ok-not-modified", not_modified=True), archival(**COPY)))
    assert {name: values[name] for name in COPY} == COPY
    assert values["status_id"] == 1


def test_a_failure_keeps_the_copy() -> None:
    values = values_of(a_run(GONE, archival(**COPY)))
    assert {name: values[name] for name in COPY} == COPY


def test_a_validator_is_not_kept_for_another_url() -> None:
    values = values_of(a_run(GONE, archival(**{**COPY, "source_url": "http://other.example/"})))
    assert (values["etag"], values["last_modified"]) == (None, None)
    assert values["cache_filepath"] == COPY["cache_filepath"], "a copy of an older address is better than none"


@pytest.mark.parametrize(("sha256", "changed_at"), [("old", EARLIER), ("other", NOW.replace(tzinfo=None))])
def test_a_copy_that_the_row_does_not_describe_is_described_as_it_is(sha256: str, changed_at: datetime) -> None:
    actual = {"size": 5, "hash": "h", "sha256": sha256, "cached_at": EARLIER}
    values = values_of(a_run(GONE, archival(**COPY), actual_copy=actual))
    assert {name: values[name] for name in actual} == actual
    assert (values["etag"], values["last_modified"], values["changed_at"]) == (None, None, changed_at)


def test_a_new_row_has_no_id_yet_and_an_old_one_keeps_its_own() -> None:
    assert values_of(a_run(OK))["id"] is None
    values = values_of(a_run(OK, archival()))
    assert (values["id"], values["created"]) == ("a1", EARLIER)


def test_the_next_check_is_planned() -> None:
    values = values_of(a_run(OK))
    assert values["next_check_at"] == (NOW + timedelta(days=7)).replace(tzinfo=None)
    assert values_of(a_run(OK), replace(OPTIONS, recheck="off"))["next_check_at"] is None
    later = decide(a_run(OK), current(), None, OPTIONS, jitter=1.0).values
    assert later is not None
    assert later["next_check_at"] > values["next_check_at"]


@pytest.mark.parametrize("reason", [Reason.CONFIRM, Reason.CALLED])
def test_a_check_that_a_person_asks_for_does_not_put_off_that_of_a_broken_link(reason: Reason) -> None:
    def next_check(outcome: Outcome = GONE, hours: int = 3, **claim: Any) -> datetime:
        planned = (NOW + timedelta(hours=hours)).replace(tzinfo=None)
        found = values_of(a_run(outcome, archival("broken", next_check_at=planned), **claim))["next_check_at"]
        assert isinstance(found, datetime)
        return found.replace(tzinfo=timezone.utc)

    assert next_check(reason=reason) == NOW + timedelta(hours=3)
    regular = next_check()
    assert regular > NOW + timedelta(hours=3)
    assert next_check(hours=-1, reason=reason) == regular, "it was due"
    assert next_check(hours=999, reason=reason) == regular
    assert next_check(OK, reason=reason) > NOW + timedelta(hours=3), "it works"
    assert next_check(replace(GONE, retry_after=86400), reason=reason) > NOW + timedelta(hours=3)


def test_verdicts_are_those_of_the_older_contract_too() -> None:
    values = values_of(a_run(GONE))
    assert (values["verdict"], values["is_broken"], values["status_id"]) == (str(Verdict.BROKEN), True, 12)
    assert values["reason"] == "The server says the file is gone (404 Not Found)."


# -- what the report sorts out by -------------------------------------------------------------------------------

MOVED = replace(OK, permanent_url="https://data.example/stops.csv")


@pytest.mark.parametrize(
    ("outcome", "known", "seen"),
    [
        (MOVED, None, 1),
        (MOVED, archival(permanent_url=MOVED.permanent_url), 1),
        (MOVED, archival(permanent_url=MOVED.permanent_url, permanent_seen=2), 3),
        (MOVED, archival(permanent_url="https://elsewhere.example/", permanent_seen=2), 1),
        (OK, archival(permanent_url=MOVED.permanent_url, permanent_seen=2), 0),
        (MOVED, archival(permanent_url=MOVED.permanent_url, permanent_seen=2, source_url="http://old.example/"), 1),
    ],
)
def test_a_permanent_redirect_is_counted_while_it_stays(
    outcome: Outcome, known: dict[str, Any] | None, seen: int
) -> None:
    values = decide(a_run(outcome, known), current(), None, OPTIONS).values
    assert values is not None
    assert values["permanent_seen"] == seen


NAIVE_NOW = NOW.replace(tzinfo=None)


@pytest.mark.parametrize(
    ("outcome", "known", "repaired"),
    [
        (OK, None, None),
        (OK, archival("ok"), None),
        (OK, archival("failing"), None),
        (OK, archival("broken"), NAIVE_NOW),
        (OK, archival("ok", repaired_at=EARLIER), EARLIER),
        (GONE, archival("broken", repaired_at=None), None),
        (GONE, archival("failing", repaired_at=EARLIER, failure_count=9, first_failure=EARLIER), None),
    ],
)
def test_a_broken_link_that_works_again_was_repaired(
    outcome: Outcome, known: dict[str, Any] | None, repaired: datetime | None
) -> None:
    values = decide(a_run(outcome, known), current(), None, OPTIONS).values
    assert values is not None
    assert values["repaired_at"] == repaired


# -- doubtful files ------------------------------------------------------------------------------------------------

PAGE = Outcome(
    Cause.SOFT_404,
    "soft-html",
    {"format": "CSV"},
    requests=1,
    doubtful=True,
    temp_path=Path("/archive/r1/r1/page.html"),
    size=70,
    sha256="page",
    sha1="page1",
    mimetype="text/html",
)


def looks(outcomes: list[tuple[float, Outcome]], known: dict[str, Any], options: Options = OPTIONS) -> list[Any]:
    """One check after the other, each so many hours after the first; what is decided in each."""
    decisions = []
    for hours, outcome in outcomes:
        decision = decide(a_run(outcome, known), current(now=NOW + timedelta(hours=hours)), None, options)
        assert decision.values is not None
        known = dict(decision.values)
        decisions.append(decision)
    return decisions


@pytest.mark.parametrize(
    ("hours", "kept"),
    [
        ([0, 18, 36], [False, False, True]),
        ([0, 1, 2], [False, False, False]),
        ([0, 40], [False, False]),
        ([0, 1, 2, 37], [False, False, False, True]),
        ([0, 18, 36, 60], [False, False, True, True]),
    ],
)
def test_a_doubtful_file_replaces_a_copy_after_three_checks_over_36_hours(hours: list[float], kept: list[bool]) -> None:
    decisions = looks([(hour, PAGE) for hour in hours], archival(**COPY, source_format="CSV"))
    assert [decision.values["sha256"] == "page" for decision in decisions] == kept
    assert {decision.values["verdict"] for decision in decisions} == {"not-sure"}
    transitions = [decision.history_detail for decision in decisions]
    assert transitions.count("doubt-replaced") == (1 if True in kept else 0), "the history says so once"
    if True in kept:
        assert transitions.index("doubt-replaced") == kept.index(True)


def test_a_file_that_is_being_prepared_is_not_sure_and_checked_again_in_an_hour() -> None:
    preparing = Outcome(Cause.SOFT_404, "soft-not-ready", {"status": 202, "phrase": "Accepted"}, requests=1)
    now = NOW
    known = archival(**COPY, last_success=EARLIER)
    for _ in range(50):
        decision = decide(a_run(preparing, known), current(now=now), None, OPTIONS)
        assert decision.values is not None
        known = {**known, **decision.values}
        assert (known["verdict"], known["cache_filepath"]) == ("not-sure", COPY["cache_filepath"])
        assert known["next_check_at"] == (now + timedelta(hours=1)).replace(tzinfo=None)
        now += timedelta(hours=1)


def test_what_is_planned_while_a_file_is_in_doubt_confirms_it_in_time() -> None:
    for jitter in (-1.0, 0.0, 1.0):
        known, now = archival(**COPY, source_format="CSV"), NOW
        for _ in range(3):
            decision = decide(a_run(PAGE, known), current(now=now), None, OPTIONS, jitter=jitter)
            known = dict(decision.values or {})
            now = known["next_check_at"].replace(tzinfo=timezone.utc)
        assert decision.history_detail == "doubt-replaced"


def test_a_failure_in_between_does_not_end_the_doubt_and_a_good_file_does() -> None:
    down = replace(RESET, transient=False)
    known = archival(**COPY, source_format="CSV")
    decisions = looks([(0, PAGE), (10, down), (20, PAGE), (36, PAGE)], known)
    assert decisions[-1].values["sha256"] == "page"
    decisions = looks([(0, PAGE), (10, fetched("old")), (20, PAGE), (36, PAGE)], known)
    assert decisions[-1].values["sha256"] == "old"
    other = replace(PAGE, detail="soft-root", facts={"host": "data.example"})
    decisions = looks([(0, PAGE), (18, other), (36, PAGE)], known)
    assert decisions[-1].values["sha256"] == "old", "it was not the same answer"


def test_after_an_edit_a_doubtful_file_is_taken_at_once() -> None:
    new_format = looks([(0, PAGE)], archival(**COPY, source_format="XLSX"))[0]
    assert new_format.values["sha256"] == "page"
    new_url = looks([(0, PAGE)], archival(**{**COPY, "source_url": "http://other.example/"}, source_format="CSV"))[0]
    assert new_url.values["sha256"] == "page"
    adopted = looks([(0, PAGE)], archival(**COPY))[0]
    assert adopted.values["sha256"] == "old", "a row of an older release does not know its format"


# -- a 404 of a link that worked -----------------------------------------------------------------------------------


REMOVED = replace(GONE, detail="http-removed", facts={"status": 410, "phrase": "Gone"}, http_status=410)


def test_a_404_of_a_link_that_worked_is_checked_again_in_an_hour_and_broken_after_twelve() -> None:
    decisions = looks([(0, GONE), (1, GONE), (12, GONE)], archival("ok", last_success=EARLIER))
    assert [decision.values["verdict"] for decision in decisions] == ["failing", "failing", "broken"]
    due = [decision.values["next_check_at"] for decision in decisions]
    assert due[:2] == [(NOW + timedelta(hours=hours)).replace(tzinfo=None) for hours in (1, 12)]


@pytest.mark.parametrize("jitter", [-1.0, 0.0, 1.0])
def test_the_planned_checks_of_a_404_confirm_it(jitter: float) -> None:
    known, now = archival("ok", last_success=EARLIER), NOW
    for _ in range(3):
        known = dict(decide(a_run(GONE, known), current(now=now), None, OPTIONS, jitter=jitter).values or {})
        now = known["next_check_at"].replace(tzinfo=timezone.utc)
    assert known["verdict"] == "broken"


@pytest.mark.parametrize(
    ("outcome", "known"),
    [
        (REMOVED, archival("ok", last_success=EARLIER)),
        (GONE, None),
        (GONE, archival("failing")),
        (GONE, archival("ok", last_success=EARLIER, source_url="http://data.example/before")),
    ],
    ids=["410", "new", "never seen working", "just edited"],
)
def test_what_is_gone_for_certain_is_broken_at_once(outcome: Outcome, known: dict[str, Any] | None) -> None:
    assert values_of(a_run(outcome, known))["verdict"] == "broken"


def test_a_link_that_comes_back_is_fine() -> None:
    decisions = looks([(0, GONE), (1, OK)], archival("ok", last_success=EARLIER))
    assert [decision.values["verdict"] for decision in decisions] == ["failing", "ok"]
    assert decisions[1].values["failing_since"] is None


def test_a_doubt_without_a_file_replaces_nothing() -> None:
    """Where links are only checked."""
    looked = replace(PAGE, temp_path=None, sha256=None, sha1=None)
    decisions = looks([(0, looked), (18, looked), (36, looked)], archival(**COPY, source_format="CSV"))
    assert [decision.values["sha256"] for decision in decisions] == ["old"] * 3
    assert [decision.values["doubt_count"] for decision in decisions] == [1, 2, 3]
