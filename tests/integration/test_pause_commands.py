"""``ckan archiver pause``, ``resume`` and ``hosts``, and who says what is paused."""

from __future__ import annotations

import json
import re
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckan.cli.cli import ckan
from ckan.tests import factories

from ckanext.archiver import doctor, monitoring
from ckanext.archiver.queue import pauses
from ckanext.archiver.queue.sql import transaction
from rows import put, requested, run

pytestmark = pytest.mark.usefixtures("clean_site")

BY = ("--as", "alice on web1")

LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} .*\n", re.MULTILINE)


@pytest.fixture
def command(cli: Any) -> Any:
    def invoke(*words: str, exit_code: int = 0) -> str:
        result = cli.invoke(ckan, ["archiver", *words])
        assert result.exit_code == exit_code, result.output
        # On CKAN 2.11, click's runner puts the log into the output.
        return LOG_LINE.sub("", str(result.output if exit_code else result.stdout))

    return invoke


def rows() -> list[tuple[str, ...]]:
    return [tuple(row) for row in run("SELECT queue, host, paused_by, reason FROM archiver_pause ORDER BY 1, 2")]


# -- pause and resume ------------------------------------------------------------------------------------------------


def test_everything_is_paused_and_goes_on(command: Any) -> None:
    put("h.example", 1, lease_token="'x'", leased_until="now() + interval '1 minute'")

    said = command("pause", *BY, "--reason", "The network is\n moved")

    assert rows() == [("", "", "alice on web1", "The network is moved")]
    assert "Everything is paused by alice on web1 since " in said
    assert "UTC: The network is moved." in said
    assert "1 fetch is in flight and will end." in said
    assert "ckan archiver resume\n" in said
    assert command("resume") == "Archiving goes on.\n"
    assert rows() == []
    assert command("resume") == "Nothing is paused.\n"


def test_who_pauses_is_the_user_unless_it_is_said(command: Any) -> None:
    command("pause")
    assert rows() == [("", "", pauses.this_user(), "")]


def test_pausing_again_changes_nothing(command: Any) -> None:
    command("pause", "-q", "bulk", *BY)
    assert "Nothing changed: the queue bulk is paused by alice on web1" in command("pause", "-q", "bulk", "--as", "bob")
    assert rows() == [("bulk", "", "alice on web1", "")]


def test_a_host_is_paused_in_each_of_its_spellings(command: Any) -> None:
    said = command("pause", "--host", "https://Bücher.example:8080/a.csv", *BY)
    assert "The host xn--bcher-kva.example is paused" in said
    assert [row[1] for row in rows()] == ["bücher.example", "xn--bcher-kva.example"]
    command("resume", "--host", "bücher.example")
    assert rows() == []


def test_the_pauses_that_are_left_are_listed(command: Any) -> None:
    command("pause", *BY)
    command("pause", "--host", "h.example", "--queue", "bulk", *BY)
    said = command("resume")
    assert "This pause is ended." in said
    assert "Still: The host h.example on the queue bulk is paused by alice on web1" in said
    assert "ckan archiver resume --queue bulk --host h.example" in said
    assert "There is no such pause." in command("resume", "--queue", "priority", exit_code=1)
    assert "1 pause ended" in command("resume", "--all")
    assert command("resume", "--all") == "Nothing is paused.\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("pause", "--host", "not a host"), "is not a host"),
        (("pause", "--reason", "\x1b[31mred"), "printable"),
        (("pause", "--reason", "x" * 501), "at most 500"),
        (("pause", "--queue", "other"), "'other' is not one of"),
        (("resume", "--all", "--queue", "bulk"), "give it alone"),
        (("hosts", "--resume"), "Name the host"),
        (("hosts", "not a host"), "is not a host"),
        (("hosts", "--limit", "0"), "0 is not in the range"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(command: Any, words: tuple[str, ...], says: str) -> None:
    assert says in " ".join(command(*words, exit_code=2).split())
    assert rows() == []


# -- who says it -----------------------------------------------------------------------------------------------------


def test_the_status_says_what_is_paused(command: Any) -> None:
    put("h.example", requested_at="now() - interval '2 hours'")
    put("other.example", requested_at="now() - interval '1 hours'")
    command("pause", "--host", "h.example", *BY)
    found = monitoring.collect()
    assert 3600 <= found["queues"]["bulk"]["oldest_wait_seconds"] < 3700, "what is paused is not late"
    command("pause", "--queue", "bulk", *BY, "--reason", "Maintenance")

    found = monitoring.collect()

    assert [(pause["queue"], pause["host"], pause["by"]) for pause in found["pauses"]] == [
        ("bulk", "", "alice on web1"),
        ("", "h.example", "alice on web1"),
    ]
    assert found["queues"]["bulk"]["waiting"] == 2
    assert found["queues"]["bulk"]["oldest_wait_seconds"] == 0
    first, second, *_ = monitoring.lines(found)
    assert first.startswith("PAUSED: The queue bulk is paused by alice on web1 since ")
    assert first.endswith("UTC: Maintenance. To go on: ckan archiver resume --queue bulk")
    assert second.endswith("To go on: ckan archiver resume --host h.example")
    samples = monitoring.prometheus(found)
    assert 'archiver_paused{queue="bulk"} 1' in samples
    assert 'archiver_paused{queue="priority"} 0' in samples
    assert "archiver_paused_by_host 1" in samples


def test_an_update_says_that_it_waits(command: Any) -> None:
    factories.Resource(url="http://h.example/a.csv", package_id=factories.Dataset(name="stops")["id"])
    command("pause", "--queue", "priority", *BY)
    said = command("update", "stops")
    assert "The queue priority is paused by alice on web1 since " in said
    assert "1 link: paused by alice on web1" in said
    command("resume", "--queue", "priority")
    command("pause", "--host", "h.example", *BY)
    assert "1 link: paused by alice on web1" in command("update", "stops")
    assert len(requested()) == 1


def test_the_doctor_warns_of_a_pause(command: Any) -> None:
    def levels() -> list[tuple[str, str, bool]]:
        found = doctor.run(checks={"pauses": doctor.CHECKS["pauses"]})
        return [(str(report.level), report.remedy, "longer than a day" in report.message) for report in found]

    assert levels() == [("ok", "", False)]
    command("pause", "--host", "h.example", *BY)
    assert levels() == [("warning", "ckan archiver resume --host h.example", False)]
    run("UPDATE archiver_pause SET paused_at = now() - interval '25 hours'")
    assert levels() == [("warning", "ckan archiver resume --host h.example", True)]


@pytest.mark.parametrize("arguments", [("pause",), ("resume",), ("resume", "--all")])
def test_an_empty_host_is_not_everything(command: Any, arguments: tuple[str, ...]) -> None:
    """As a script has it whose variable is empty."""
    assert "Error: " in command(*arguments, "--host", "", exit_code=2)
    assert rows() == []


def test_editors_read_it_and_nobody_else(app: Any, command: Any) -> None:
    sysadmin, editor, other = factories.SysadminWithToken(), factories.UserWithToken(), factories.UserWithToken()
    factories.Organization(users=[{"name": editor["name"], "capacity": "editor"}])
    command("pause", "--as", "<b>alice</b>", "--reason", "The network is moved")

    def page(user: Any) -> str:
        return str(app.get("/report/broken-links", headers={"Authorization": user["token"]} if user else {}).body)

    for user in (sysadmin, editor):
        assert "All checks are paused by &lt;b&gt;alice&lt;/b&gt; since " in page(user)
        assert "Reason: The network is moved." in page(user)
    for user in (other, None):
        assert "paused by" not in page(user)
    command("resume")
    assert "paused by" not in page(sysadmin)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "All checks are paused by alice on web1"),
        (("--queue", "priority"), "Checks that people request are paused by alice on web1"),
        (("--host", "h.example"), "Checks of links on h.example are paused by alice on web1"),
        (("--queue", "bulk"), ""),
    ],
)
def test_check_now_says_that_it_waits(app: Any, command: Any, options: tuple[str, ...], says: str) -> None:
    user = factories.SysadminWithToken()
    resource = factories.Resource(url="http://h.example/a.csv")
    run("DELETE FROM archiver_request")
    command("pause", *BY, *options)
    where = f"/dataset/{resource['package_id']}/resource/{resource['id']}/check"

    page = app.post(where, headers={"Authorization": user["token"]}).body

    assert "The check is in the queue." in page
    assert ("paused by" in page) is bool(says)
    assert says in page
    assert requested("priority") == {resource["id"]}


def test_the_action_says_what_it_waits_for(command: Any) -> None:
    dataset = factories.Dataset()
    resource = factories.Resource(url="http://h.example/a.csv", package_id=dataset["id"])
    run("DELETE FROM archiver_request")
    check = tk.get_action("archiver_check")
    context = {"user": factories.Sysadmin()["name"]}
    assert check(dict(context), {"id": dataset["id"]})["paused"] is None
    command("pause", *BY)
    run("DELETE FROM archiver_request")
    for id_ in (dataset["id"], resource["id"]):
        run("DELETE FROM archiver_request")
        assert check(dict(context), {"id": id_})["paused"]["by"] == "alice on web1"


# -- hosts -----------------------------------------------------------------------------------------------------------


def host(name: str, **columns: str) -> None:
    names, values = "".join(f", {name}" for name in columns), "".join(f", {value}" for value in columns.values())
    run(
        f"INSERT INTO archiver_host (host{names}) VALUES (:host{values}) ON CONFLICT (host) DO UPDATE "
        f"SET host = EXCLUDED.host{''.join(f', {column} = EXCLUDED.{column}' for column in columns)}",
        host=name,
    )


def test_the_hosts_that_most_wait_for_come_first(command: Any) -> None:
    assert "Nothing waits for any host" in command("hosts")
    put("few.example", 2)
    put("many.example", 5)
    put("many.example", 1, lease_token="'x'", leased_until="now() + interval '1 minute'")
    host("many.example", open_until="now() + interval '1 hour'", failing_since="now() - interval '2 hours'")
    host("asked.example", wait_until="now() + interval '1 hour'")
    host("quiet.example")
    run("INSERT INTO archiver_pause (queue, host, paused_by) VALUES ('', 'few.example', 'alice')")

    found = json.loads(command("hosts", "--json"))["hosts"]

    assert [(one["host"], one["waiting"], one["in_flight"], one["state"]) for one in found] == [
        ("many.example", 5, 1, "down"),
        ("few.example", 2, 0, "paused"),
        ("asked.example", 0, 0, "asked"),
    ]
    lines = command("hosts", "--limit", "2").splitlines()
    assert "Pace: " in lines[0]
    assert [line.split()[:3] for line in lines[-2:]] == [["many.example", "5", "1"], ["few.example", "2", "0"]]
    assert "down since 20" in lines[-2]
    assert "+00" not in lines[-2]
    assert "." not in lines[-2].partition("down")[2], "times have no microseconds"


def test_one_host_in_full(command: Any) -> None:
    assert "Nothing is known of h.example" in command("hosts", "h.example")
    put("h.example", 3)
    host("h.example", open_until="now() + interval '1 hour'", network_failures="7", address="'192.0.2.7'")
    run(
        "INSERT INTO archival (id, package_id, resource_id, source_url, verdict, reason, checked_at) VALUES "
        "('a', 'p', 'the-resource', 'http://h.example/a', 'broken', 'Nothing answers.', timezone('utc', now())), "
        "('b', 'p', 'works', 'http://h.example/b', 'ok', '', timezone('utc', now()))"
    )

    said = command("hosts", "http://H.example/x")

    for words in ("h.example", "7 in a row", "192.0.2.7", "down; left alone until", "the-resource  broken: Nothing"):
        assert words in said
    assert "works" not in said
    assert json.loads(command("hosts", "h.example", "--json"))["last_failures"][0]["resource_id"] == "the-resource"


def test_a_host_is_resumed(command: Any) -> None:
    later = "now() + interval '1 hour'"
    (waiting,) = put("h.example", not_before=later, attempts="2")
    (held,) = put("h.example", not_before=later, held="'disk-full'")
    (other,) = put("other.example", not_before=later)
    host(
        "h.example", open_until=later, wait_until=later, next_at=later, bulk_at=later, opened="3", network_failures="9"
    )
    with transaction():
        pauses.pause("bulk", ["h.example"], "alice")

    assert "Requests go to h.example again." in command("hosts", "h.example", "--resume")

    due = {row[0] for row in run("SELECT resource_id FROM archiver_request WHERE not_before <= now()")}
    assert due == {waiting, held}
    assert {other} == requested() - due
    (row,) = run(
        "SELECT open_until, wait_until, opened, network_failures, bulk_at <= now() FROM archiver_host "
        "WHERE host = 'h.example'"
    )
    assert tuple(row) == (None, None, 0, 0, True)
    assert rows() == []
    assert "Nothing is known of new.example yet." in command("hosts", "new.example", "--resume")


def test_what_is_held_says_when_it_goes_and_goes_at_once_when_the_host_is_resumed(command: Any) -> None:
    put("h.example", held="'disk-broken'", not_before="now() + interval '5 minutes'")
    (line,) = (line for line in command("hosts", "h.example").splitlines() if "Next request" in line)
    assert line.endswith(" UTC")
    command("hosts", "h.example", "--resume")
    assert run("SELECT not_before <= now() FROM archiver_request")[0][0]
    assert "Next request  now" in command("hosts", "h.example")
