"""Politeness and the breaker: what a worker may do with a host, and what it learns there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from ckan import model
from ckan.tests import factories

from ckanext.archiver import archiving
from ckanext.archiver.engine.outcome import Cause, Hop, Outcome
from ckanext.archiver.model import Archival
from ckanext.archiver.queue import claims, hosts, leases, rounds
from origin_server import Answer, Origin, Request
from rows import run

pytestmark = [
    pytest.mark.usefixtures("clean_site"),
    pytest.mark.ckan_config("ckanext-archiver.host_interval", 1),
]

OK = Outcome(Cause.OK, "ok", requests=1)
DOWN = Outcome(Cause.UNREACHABLE, "connect-refused", requests=1)


def leave(outcome: Outcome, *, held: bool = False, probes: bool = False) -> None:
    hosts.leave([hosts.HostObservation("h.example", outcome, held, probes)])
    model.Session.commit()


def host() -> Any:
    found = (
        model.Session.connection()
        .execute(
            sa.text(
                "SELECT *, extract(epoch FROM open_until - now()) AS pause, "
                "extract(epoch FROM next_at - now()) AS wait FROM archiver_host WHERE host = 'h.example'"
            )
        )
        .mappings()
        .one()
    )
    model.Session.rollback()
    return found


def enter(url: str = "http://h.example/", *, urgent: bool = False, mine: Sequence[str] = ()) -> hosts.Admission:
    (gate,) = hosts.enter([hosts.Candidate("h.example", url, urgent)], mine)
    model.Session.commit()
    return gate


def fail(times: int) -> None:
    for _ in range(times):
        leave(DOWN)


def test_one_request_per_interval(ckan_config: Any) -> None:
    ckan_config["ckanext-archiver.host_interval"] = 100
    assert enter().wait == 0
    assert 90 < enter().wait <= 100


def test_a_request_of_another_worker_counts() -> None:
    ids = [factories.Resource(url=f"http://h.example/{n}")["id"] for n in range(2)]
    run("UPDATE archiver_host SET next_at = now()")
    first, second = (claims.claim([claims.Message(id_, "priority")], "a")[0] for id_ in ids)
    assert isinstance(first, claims.Claim)
    assert isinstance(second, claims.Claim)
    assert enter(mine=[first.token, second.token]).wait == 0
    run("UPDATE archiver_host SET next_at = now()")
    assert enter(mine=[second.token]).wait == 1, "the interval is over, and the first is still there"


def test_retry_after_holds_for_the_host_also_without_an_interval(ckan_config: Any) -> None:
    ckan_config["ckanext-archiver.host_interval"] = 0
    ckan_config["ckanext-archiver.host_concurrency"] = 0
    leave(Outcome(Cause.BLOCKED, "http-status", requests=1, retry_after=120))
    assert 115 < enter().wait <= 120


def test_five_failures_in_a_row_open_the_breaker() -> None:
    fail(4)
    assert host()["pause"] is None
    leave(OK)
    fail(4)
    assert host()["pause"] is None, "in a row"
    fail(1)
    assert host()["pause"] == pytest.approx(900, abs=5)
    assert enter().down_since is not None


def test_the_pause_doubles_up_to_a_day_and_a_success_ends_it() -> None:
    fail(5)
    pauses = []
    for _ in range(9):
        run("UPDATE archiver_host SET open_until = now(), next_at = now()")
        gate = enter()
        assert gate.wait == 0
        assert gate.down_since is None, "one tries it"
        assert enter().down_since is not None, "and only one"
        leave(DOWN, probes=gate.probes)
        pauses.append(round(host()["pause"] / 60))
    assert pauses == [30, 60, 120, 240, 480, 960, 1440, 1440, 1440]
    leave(OK)
    assert (host()["pause"], host()["network_failures"], host()["opened"]) == (None, 0, 0)


def test_requests_that_were_in_flight_do_not_double_the_pause() -> None:
    fail(5)
    for _ in range(10):
        leave(Outcome(Cause.UNREACHABLE, "read-timeout", requests=1, seconds=30))
    assert host()["pause"] == pytest.approx(900, abs=5)


def test_only_fresh_evidence_counts_for_other_links() -> None:
    fail(5)
    run("UPDATE archiver_host SET open_until = now() + interval '10 hours'")
    assert enter().down_since is not None
    run("UPDATE archiver_host SET last_checked_at = now() - interval '61 minutes', next_at = now()")
    assert enter().wait == pytest.approx(36000, abs=5), "the round waits for the next try"
    gate = enter(urgent=True)
    assert (gate.wait, gate.down_since) == (0, None), "an edit goes and sees"


def test_a_waiting_edit_may_try_the_host_after_a_minute() -> None:
    fail(5)
    run("UPDATE archiver_host SET next_at = now()")
    assert enter(urgent=True).down_since is not None, "the failure is recent"
    run("UPDATE archiver_host SET last_checked_at = now() - interval '61 seconds'")
    assert enter().down_since is not None, "the round does not go again"
    gate = enter(urgent=True)
    assert (gate.wait, gate.down_since, gate.probes) == (0, None, False)
    leave(DOWN)
    assert host()["pause"] == pytest.approx(900, abs=5), "and the pause is as long as it was"


def test_evidence_about_one_port_does_not_count_for_another() -> None:
    for _ in range(5):
        leave(replace(DOWN, url="http://h.example:8080/x"))
    run("UPDATE archiver_host SET next_at = now()")
    assert enter("http://h.example:8080/y").down_since is not None
    assert enter("http://h.example/y").down_since is None


def test_a_redirect_to_a_host_that_is_down_does_not_count_against_the_redirecting_host() -> None:
    for _ in range(6):
        leave(replace(DOWN, hops=(Hop("http://h.example/", 302),)))
    assert host()["network_failures"] == 0


def test_many_hosts_are_entered_and_left_in_one_statement() -> None:
    names = [f"h{number}.example" for number in range(4)]
    gates = hosts.enter([hosts.Candidate(name) for name in (*names, names[0], "")])
    assert [gate.wait for gate in gates] == [0, 0, 0, 0, 1, 0], "the second request to a host waits"
    hosts.leave(
        [
            hosts.HostObservation(names[0], DOWN),
            hosts.HostObservation(names[1], OK),
            hosts.HostObservation(names[0], DOWN),
        ]
    )
    failures = model.Session.connection().execute(
        sa.text("SELECT host, network_failures FROM archiver_host WHERE network_failures > 0")
    )
    assert failures.all() == [(names[0], 2)], "each failure counts"
    model.Session.rollback()


def test_a_name_server_that_knows_no_name_is_our_own_fault() -> None:
    gone = Outcome(Cause.GONE, "dns-not-found")
    hosts.leave([hosts.HostObservation(f"h{number}.example", gone) for number in range(19)])
    assert not hosts.check_outage().is_outage
    assert hosts.check_outage([hosts.HostObservation("h19.example", gone)]).is_outage
    certificate = Outcome(Cause.TLS, "tls-expired")
    assert hosts.check_outage([hosts.HostObservation("h19.example", certificate)]).is_outage
    model.Session.rollback()


def test_what_may_be_our_own_fault_opens_nothing() -> None:
    for _ in range(10):
        leave(DOWN, held=True)
    assert (host()["network_failures"], host()["pause"]) == (0, None)


def test_a_host_without_a_request_admits_the_next_one() -> None:
    run("INSERT INTO archiver_host (host, bulk_at) VALUES ('h.example', now() + interval '5 seconds')")
    leave(Outcome(Cause.GONE, "dns-not-found"))
    run("SELECT 1")
    assert model.Session.connection().execute(sa.text("SELECT bulk_at <= now() FROM archiver_host")).scalar()


def test_leaving_wakes_the_host_when_its_next_request_is_due(ckan_config: Any) -> None:
    ckan_config["ckanext-archiver.host_interval"] = 100
    run("INSERT INTO archiver_host (host, bulk_at) VALUES ('h.example', now() + interval '1 hour')")
    leave(OK)
    row = host()
    assert row["bulk_at"] == row["next_at"]
    assert 90 < row["wait"] <= 100
    run("UPDATE archiver_host SET bulk_at = NULL")
    leave(OK)
    assert host()["bulk_at"] is None, "nothing waits there"


@pytest.mark.ckan_config("ckanext-archiver.retry_delays", "")
@pytest.mark.ckan_config("ckanext-archiver.breaker_failures", 1)
def test_links_of_a_host_that_is_down_are_judged_without_a_request(origin: Origin) -> None:
    url = origin.serve("/data.csv", b"a,b\n")
    resource = factories.Resource(url=url)
    run(
        "INSERT INTO archiver_host (host, open_until, network_failures, failing_since, last_failed, last_checked_at) "
        "VALUES ('127.0.0.1', now() + interval '10 minutes', 5, now() - interval '3 days', true, now())"
    )
    archiving.archive_resource(resource["id"], "priority", worker_id=leases.worker_id())
    archival = Archival.get_for_resource(resource["id"])
    assert (archival.detail, archival.verdict, archival.failure_count) == ("host-down", "failing", 1)
    assert "has not answered since" in archival.reason
    assert origin.requests == []


@pytest.mark.slow
@pytest.mark.ckan_config("ckanext-archiver.recheck", "off")
def test_two_workers_and_edits_are_polite_together(
    origin: Origin, worker: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    """Two real processes for the round and one for edits; the origin writes down who is there when."""
    lock, inside, overlaps, came = threading.Lock(), [0], [], []

    def slow(request: Request) -> Answer:
        with lock:
            inside[0] += 1
            overlaps.append(inside[0])
            came.append(time.monotonic())
        threading.Event().wait(0.3)
        with lock:
            inside[0] -= 1
        return Answer(b"a,b\n1,2\n", 200, {"Content-Type": "text/csv"})

    package = factories.Dataset()
    of_the_round = [
        factories.Resource(package_id=package["id"], url=origin.answer(f"/round{n}.csv", slow))["id"] for n in range(6)
    ]
    run("DELETE FROM archiver_request")
    for process in [worker(queue, ready=False) for queue in ("bulk", "bulk", "priority")]:
        process.await_messages()
    with rounds.Selection("true", {}) as wanted:
        assert sum(wanted.put("bulk", "command")) == 6
    edits = [
        factories.Resource(package_id=package["id"], url=origin.answer(f"/edit{n}.csv", slow))["id"] for n in range(3)
    ]

    def done() -> bool:
        model.Session.rollback()
        return model.Session.query(Archival).filter(Archival.verdict == "ok").count() == len(of_the_round + edits)

    wait_until(done, 60, "all archived")
    assert max(overlaps) == 1
    assert min(later - sooner for sooner, later in zip(came, came[1:], strict=False)) >= 0.99
    paths = [request.path for request in origin.requests]
    assert len(paths) == len(set(paths)) == 9, f"each once: {paths}"
    assert max(paths.index(f"/edit{n}.csv") for n in range(3)) < 8, "edits do not wait for the whole round"
