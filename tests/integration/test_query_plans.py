"""The plans of the queue's statements while another session holds a transaction open.

The partial indexes then hold an entry for each lease and message of the round, all dead, and ``ANALYZE`` counts the
live ones only: none, in its sample. A plan that reads such an index as a whole looks free and reads everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from ckan import model

from ckanext.archiver.engine.outcome import Cause, Outcome
from ckanext.archiver.queue import claims, dispatch, due_bulk, hosts, leases, sql
from rows import run

REQUESTS, HOSTS = 20_000, 400


@pytest.fixture
def dead_entries(clean_site: None) -> Iterator[None]:
    """Requests, each of which was sent and claimed once, beside a transaction that was open before."""
    with model.meta.engine.connect().execution_options(isolation_level="REPEATABLE READ") as other:
        other.exec_driver_sql("SELECT count(*) FROM archiver_request")
        run(
            "INSERT INTO archiver_request (resource_id, package_id, queue, host, reason, sent_until) "
            "SELECT 'r' || n, 'p' || n / 5, 'bulk', 'host-' || n % :hosts, 'command', now() + interval '1 hour' "
            "FROM generate_series(1, :requests) n",
            hosts=HOSTS,
            requests=REQUESTS,
        )
        run(
            "UPDATE archiver_request SET sent_until = NULL, lease_token = resource_id, leased_by = 'w', "
            "leased_until = now() + interval '1 hour'"
        )
        run(f"UPDATE archiver_request SET {sql.RELEASE_LEASE}")
        run(
            "INSERT INTO archiver_host (host, bulk_at) SELECT 'host-' || n, now() FROM generate_series(0, :most) n",
            most=HOSTS - 1,
        )
        # All requests of the first host are sent at once, so its next look is set.
        run("UPDATE archiver_request SET host = 'host-0' WHERE resource_id = 'r1'")
        run("DELETE FROM archiver_request WHERE host = 'host-0' AND resource_id <> 'r1'")
        run("UPDATE archiver_host SET bulk_at = now() - interval '1 hour' WHERE host = 'host-0'")
        run("ANALYZE archiver_request, archiver_host")
        yield


@contextmanager
def plans_into(found: dict[str, list[dict[str, Any]]]) -> Iterator[None]:
    """Note the plan of each statement about requests, by its text: a list of nodes."""

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        for part in filter(lambda text: "archiver_request" in text, statement.split(";")):
            with cursor.connection.cursor() as another:
                another.execute("SET LOCAL enable_seqscan = off")
                another.execute("EXPLAIN (FORMAT JSON) " + part, parameters)
                (plan,) = another.fetchone()
                another.execute("SET LOCAL enable_seqscan = on")
            plan = plan if isinstance(plan, list) else json.loads(plan)
            found[" ".join(part.split())] = list(nodes(plan[0]["Plan"]))

    sa.event.listen(model.meta.engine, "before_cursor_execute", explain)
    yield
    sa.event.remove(model.meta.engine, "before_cursor_execute", explain)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def reads_all(node: dict[str, Any]) -> bool:
    """Whether a node reads the whole table of requests, or an index of it without regard to its first column."""
    if node.get("Relation Name") == "archiver_request" and node["Node Type"] == "Seq Scan":
        return True
    first = FIRST_COLUMNS.get(node.get("Index Name", ""))
    return first is not None and f"({first} " not in node.get("Index Cond", "")


FIRST_COLUMNS = {
    "archiver_request_due_idx": "queue",
    "archiver_request_lease_idx": "host",
    "archiver_request_pkey": "resource_id",
    "archiver_request_sent_idx": "host",
    "archiver_request_window_idx": "queue",
    "ix_archiver_request_package_id": "package_id",
}


def test_every_index_of_requests_is_looked_at() -> None:
    names = run("SELECT indexname FROM pg_indexes WHERE tablename = 'archiver_request'")
    assert {row[0] for row in names} == set(FIRST_COLUMNS)


@pytest.mark.usefixtures("dead_entries")
def test_no_statement_of_a_round_reads_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    # A look before this test may have been at later hosts.
    monkeypatch.setattr(due_bulk, "FULL_LOOK_SECONDS", -1)
    monkeypatch.setattr(due_bulk, "IDLE_LOOK_SECONDS", -1)
    found: dict[str, list[dict[str, Any]]] = {}
    with plans_into(found):
        dispatch.tick_bulk()
    model.Session.remove()
    sent = [row[0] for row in run("SELECT resource_id FROM archiver_request WHERE sent_until IS NOT NULL")]
    assert len(sent) == 100
    with plans_into(found):
        _archive(sent[:50])
        _defer(sent[50:98])
        with sql.transaction():
            claims.put_back([claims.Message(sent[-1], "bulk")])
            claims.unsend(sent[-1:])
    assert len(found) > 10, "the statements were seen"
    (next_look,) = (
        plan for text, plan in found.items() if text.startswith("UPDATE archiver_host h SET bulk_at = CASE")
    )
    by_due = [node for node in next_look if node.get("Index Name") == "archiver_request_due_idx"]
    assert len(by_due) == 1, "a host's requests are read once, however often the result is used"
    assert [text for text, plan in found.items() if any(map(reads_all, plan))] == []


def _claim(resource_ids: list[str]) -> list[claims.Claim]:
    with sql.transaction():
        claims.take_in_hand(resource_ids)
        found = claims.claim([claims.Message(one, "bulk") for one in resource_ids], leases.worker_id(), wait=False)
    taken = [claim for claim in found if isinstance(claim, claims.Claim)]
    assert len(taken) == len(resource_ids)
    return taken


def _archive(resource_ids: list[str]) -> None:
    taken = _claim(resource_ids)
    outcome = Outcome(Cause.OK, "ok", requests=1, seconds=0.1)
    with sql.transaction():
        claims.still_leased(taken)
        assert len(claims.still_ours(taken)) == len(taken)
        hosts.leave([hosts.HostObservation(claim.host, outcome) for claim in taken])
        assert len(claims.finish(taken)) == len(taken)


def _defer(resource_ids: list[str]) -> None:
    taken = _claim(resource_ids)
    with sql.transaction():
        assert len(claims.defer([claims.Deferral(claim, delay=60) for claim in taken])) == len(taken)
