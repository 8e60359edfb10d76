"""The regular round without cron: what is due, rows without a schedule, one worker at a time."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from ckan import model
from ckan.tests import factories

from ckanext.archiver.queue import enqueue, rounds
from ckanext.archiver.queue.sql import transaction
from rows import run

pytestmark = pytest.mark.usefixtures("clean_site")


def resource(next_check: str | None = "now() - interval '1 hour'") -> str:
    """A resource with an archival whose next check is so; without an archival for None."""
    id_ = factories.Resource(url="http://h.example/")["id"]
    if next_check is not None:
        run(
            "INSERT INTO archival (id, package_id, resource_id, source_url, next_check_at) "  # noqa: S608 - our own
            f"VALUES (:id, 'p', :id, 'http://h.example/', timezone('utc', {next_check}))",
            id=id_,
        )
    run("DELETE FROM archiver_request")
    return str(id_)


def requests() -> set[tuple[str, str, str]]:
    return set(run("SELECT resource_id, queue, reason FROM archiver_request"))


def again() -> None:
    run("DELETE FROM archiver_state")


def test_what_is_due_is_put_and_nothing_else() -> None:
    due, never = resource(), resource(None)
    resource("now() + interval '1 hour'")
    assert rounds.put_due() == 1
    assert requests() == {(due, "bulk", "round")}
    assert rounds.put_never_planned() == 1
    assert requests() == {(due, "bulk", "round"), (never, "bulk", "round")}


def test_a_waiting_request_is_not_doubled_and_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "DUE_AT_ONCE", 1)
    first, second = resource("now() - interval '2 days'"), resource("now() - interval '1 day'")
    assert rounds.put_due() == 1
    assert requests() == {(first, "bulk", "round")}
    again()
    assert rounds.put_due() == 1
    assert {id_ for id_, *_ in requests()} == {first, second}
    again()
    assert rounds.put_due() == 0


def test_deleted_resources_delay_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "DUE_AT_ONCE", 1)
    gone, there = resource("now() - interval '2 days'"), resource("now() - interval '1 day'")
    run("UPDATE resource SET state = 'deleted' WHERE id = :id", id=gone)
    assert rounds.put_due() == 1
    assert {id_ for id_, *_ in requests()} == {there}


def test_rows_of_older_releases_get_into_the_schedule() -> None:
    id_ = resource("NULL")
    assert rounds.put_due() == 0
    assert rounds.put_never_planned() == 1
    assert requests() == {(id_, "bulk", "round")}


def test_the_round_and_a_command_and_an_edit_make_one_request() -> None:
    id_ = resource()
    rounds.put_due()
    assert enqueue.put_selection("true", {}, "bulk", "command") == 0
    again()
    enqueue.put_resource(id_, "priority", "changed")
    model.Session.commit()
    assert rounds.put_due() == 0
    assert requests() == {(id_, "priority", "changed")}


@pytest.mark.ckan_config("ckanext-archiver.recheck", "off")
def test_no_round_when_it_is_off() -> None:
    resource()
    resource(None)
    assert rounds.put_due() == rounds.put_never_planned() == 0
    assert requests() == set()


def test_of_many_workers_one_has_its_turn() -> None:
    turns: list[bool] = []
    barrier = threading.Barrier(8)

    def worker() -> None:
        barrier.wait(10)
        with transaction():
            turns.append(rounds.is_my_turn("x", 60))
        model.Session.remove()

    threads = [threading.Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(turns) == [False] * 7 + [True]
    run("UPDATE archiver_state SET updated_at = now() - interval '61 seconds'")
    assert rounds.is_my_turn("x", 60)


def test_a_selection_that_fails_leaves_a_clean_connection() -> None:
    id_ = resource()
    with pytest.raises(RuntimeError), rounds.Selection("true", {}):
        raise RuntimeError
    with pytest.raises(sa.exc.ProgrammingError), rounds.Selection("no such column", {}):
        pass
    with rounds.Selection("r.id = :id", {"id": id_}) as wanted:
        assert wanted.count == 1
        assert wanted.hosts() == 1
        assert sum(wanted.put("bulk", "command")) == 1
        assert wanted.open() == 1
