"""What ``ckan archiver status``, the action and Prometheus say of queues, workers, hosts and the disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckan.cli.cli import ckan
from ckan.tests import factories
from prometheus_client.parser import text_string_to_metric_families

from _stack.layout import free_port
from ckanext.archiver import monitoring
from ckanext.archiver.cli import watch
from ckanext.archiver.queue import hosts, recovery, rounds
from ckanext.archiver.queue.sql import transaction
from rows import put, run

pytestmark = pytest.mark.usefixtures("clean_site")


@pytest.fixture
def free_port_url() -> str:
    """Of a broker at a port without a listener."""
    return f"redis://127.0.0.1:{free_port()}/0"


def checks(number: int, seconds_ago: int) -> None:
    run(
        "INSERT INTO archival_check (resource_id, checked_at, verdict, cause) SELECT 'r', timezone('utc', now()) "
        "- i * CAST(:seconds AS float) / :number * interval '1 second', 'ok', 'ok' FROM generate_series(1, :number) i",
        number=number,
        seconds=seconds_ago,
    )


def test_an_empty_site() -> None:
    found = monitoring.collect()
    assert found["queues"]["bulk"] == {
        "waiting": 0,
        "running": 0,
        "in_broker": 0,
        "oldest_wait_seconds": 0.0,
        "broker_queue": "bulk",
    }
    assert found["round"] == {"eta_seconds": 0}
    assert found["queues_without_worker"] == ["priority", "bulk"]
    json.dumps(found)


def test_waiting_running_and_the_oldest() -> None:
    put("h.example", 3, requested_at="now() - interval '90 seconds'")
    put("h.example", 2, lease_token="'x'", leased_until="now() + interval '1 minute'")
    put("h.example", 1, "priority", sent_until="now() + interval '1 minute'")
    queues = monitoring.collect()["queues"]
    assert (queues["bulk"]["waiting"], queues["bulk"]["running"]) == (3, 2)
    assert 90 <= queues["bulk"]["oldest_wait_seconds"] < 100
    assert queues["priority"]["in_broker"] == 1


@pytest.mark.ckan_config("ckanext-archiver.host_interval", 1)
def test_the_end_of_the_round_follows_from_the_rate_and_the_largest_host() -> None:
    checks(600, 60)
    for number in range(10):
        put(f"h{number}.example", 100)
    assert monitoring.collect()["rate_per_second"] == pytest.approx(10, abs=0.5)
    assert monitoring.eta() == pytest.approx(100, abs=6), "1,000 at 10 a second"
    run("UPDATE archival_check SET checked_at = checked_at - interval '5 minutes'")
    assert monitoring.eta() == pytest.approx(100, abs=6), "there was nothing to do since"
    put("h1.example", 900)
    assert monitoring.eta() == 1000, "one host alone takes so long, at its pace"


def test_the_end_is_unknown_while_nothing_moves() -> None:
    put("h.example", 10)
    assert monitoring.eta() is None
    run("INSERT INTO archiver_state (key, value) VALUES ('round', jsonb_build_object('started_at', now()))")
    assert "time left unknown" in "\n".join(monitoring.lines(monitoring.collect()))


def test_a_round_has_a_beginning_and_an_end() -> None:
    factories.Resource(url="http://h.example/a")
    run("DELETE FROM archiver_request")
    with rounds.Selection("true", {}) as wanted:
        assert sum(wanted.put("bulk", "command")) == 1
    began = monitoring.collect()["round"]["started_at"]
    assert not rounds.note_finished(), "something is left"
    checks(5, 0)
    run("DELETE FROM archiver_request")
    with transaction():
        assert rounds.note_finished()
        assert not rounds.note_finished()
    found = monitoring.collect()["round"]
    assert "started_at" not in found
    assert found["last"]["started_at"] == began
    assert found["last"]["finished_at"] > began
    with rounds.Selection("true", {}) as wanted:
        list(wanted.put("bulk", "command"))
    found = monitoring.collect()["round"]
    assert found["started_at"] > began
    assert found["last"]["started_at"] == began, "the last one is still told"
    said = next(line for line in monitoring.lines(monitoring.collect()) if line.startswith("round"))
    assert re.fullmatch(r"round +began [\d-]+ \d\d:\d\d UTC, .*; last finished [\d-]+ \d\d:\d\d UTC \(.*\)", said)


def test_paused_hosts_and_why() -> None:
    run(
        "INSERT INTO archiver_host (host, open_until, failing_since, next_at) VALUES "
        "('down.example', now() + interval '1 hour', now() - interval '2 hours', now()), "
        "('busy.example', NULL, NULL, now() + interval '1 hour'), ('fine.example', NULL, NULL, now())"
    )
    put("down.example", 7)
    paused = monitoring.collect()["hosts_paused"]
    assert paused["count"] == 2
    assert [(one["host"], one["why"], one["waiting"]) for one in paused["hosts"]] == [
        ("down.example", "not-responding", 7),
        ("busy.example", "asked-to-wait", 0),
    ]


def test_a_queue_without_a_worker_is_an_alarm() -> None:
    with transaction():
        recovery.record_heartbeat("here:1:x", ["priority"])
    found = monitoring.collect()
    assert found["queues_without_worker"] == ["bulk"]
    assert [line for line in monitoring.alarms(found) if "NO WORKER reads queue bulk" in line]
    run("UPDATE archiver_worker SET seen_at = now() - interval '31 seconds'")
    assert monitoring.collect()["queues_without_worker"] == ["priority", "bulk"], "it has died"


def test_held_verdicts_and_the_outage() -> None:
    put("h.example", 4, held="'outage'")
    put("h.example", 1, held="'disk-full'")
    run(
        "INSERT INTO archiver_host (host, last_checked_at, last_failed, failing_since) "
        "SELECT 'h' || i, now(), true, now() FROM generate_series(1, 25) i"
    )
    assert hosts.check_outage().is_outage
    found = monitoring.collect()
    assert found["held"]["count"] == 5
    assert found["held"]["outage_suspected"] is found["held"]["guard"] is True, "the old name stays for a release"
    assert found["held"]["reasons"] == {"outage": 4, "disk-full": 1}
    assert any("VERDICTS ARE HELD: 25 of 25" in line for line in monitoring.alarms(found))


def test_the_disk(ckan_config: Any) -> None:
    run(
        "INSERT INTO archival (id, package_id, resource_id, cache_filepath, size, verdict) VALUES "
        "('a', 'p', 'r', '/x', 1500000, 'ok'), ('b', 'p', 's', NULL, 99, 'broken')"
    )
    found = monitoring.collect()
    assert found["disk"]["used_bytes"] == 1500000
    assert found["disk"]["free_bytes"] > 0
    assert found["links"] == {"ok": 1, "broken": 1}
    assert "1.4 MiB in 1 copies" in "\n".join(monitoring.lines(found))
    ckan_config["ckanext-archiver.min_free_bytes"] = found["disk"]["free_bytes"] * 1000
    assert any("DISK IS FULL" in line for line in monitoring.alarms(monitoring.collect()))


@pytest.mark.parametrize("name", ["a-file", "a-file/below"])
def test_an_archive_that_cannot_be_one(ckan_config: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "a-file").touch()
    ckan_config["ckanext-archiver.archive_dir"] = str(tmp_path / name)
    alarms = list(monitoring.alarms(monitoring.collect()))
    assert any(line.startswith("THE ARCHIVE CANNOT BE USED: ") and "a-file" in line for line in alarms), alarms


def test_a_broker_that_does_not_answer(cli: Any, ckan_config: Any, free_port_url: str) -> None:
    with transaction():
        recovery.record_heartbeat("here:1:x", ["priority", "bulk"])
    assert monitoring.collect()["broker"] == {"answers": True, "error": None, "workers_polling": 0}
    ckan_config["ckanext-archiver.broker_url"] = free_port_url
    put("h.example", 3, sent_until="now() + interval '1 minute'")
    assert monitoring.collect()["queues"]["bulk"]["in_broker"] is None
    result = cli.invoke(ckan, ["archiver", "status"])
    assert re.search(r"NO BROKER: The broker does not answer: .*[^.]\.\n", result.output)
    assert "unknown in the broker (bulk)" in result.output
    assert result.exit_code == 1
    assert "archiver_broker_up 0.0\n" in monitoring.prometheus(monitoring.collect())


def test_what_was_set_aside_is_counted() -> None:
    run(
        "INSERT INTO archival (id, package_id, resource_id, detail, verdict) "
        "VALUES ('a', 'p', 'r', 'poison', 'not-sure')"
    )
    assert monitoring.collect()["set_aside"] == 1


# -- the ways to it ------------------------------------------------------------------------------------------------


def test_the_exit_code_of_the_command_is_an_alarm(cli: Any) -> None:
    result = cli.invoke(ckan, ["archiver", "status"])
    assert result.exit_code == 1
    assert "NO WORKER reads queue bulk" in result.output
    with transaction():
        recovery.record_heartbeat("here:1:x", ["priority", "bulk"])
    result = cli.invoke(ckan, ["archiver", "status"])
    assert result.exit_code == 0, result.output
    assert re.search(r"^bulk +0 waiting", result.output, re.MULTILINE)


def test_the_command_as_json_and_again_and_again(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    collect, times = monitoring.collect, []

    def twice() -> Any:
        if len(times) == 2:
            raise KeyboardInterrupt
        times.append(1)
        return collect()

    monkeypatch.setattr(monitoring, "collect", twice)
    monkeypatch.setattr(watch, "SECONDS", 0.01)
    result = cli.invoke(ckan, ["archiver", "status", "--json", "--watch"])
    found = [json.loads(line) for line in result.output.splitlines() if line.startswith("{")]
    assert len(found) == 2
    assert found[0]["time"] < found[1]["time"]


def test_one_form_at_a_time(cli: Any) -> None:
    result = cli.invoke(ckan, ["archiver", "status", "--json", "--prometheus"])
    assert result.exit_code == 2
    assert "Give either --json or --prometheus." in result.output


def test_only_sysadmins_may_see_it(app: Any) -> None:
    user, sysadmin = factories.UserWithToken(), factories.SysadminWithToken()
    for path in ("/api/3/action/archiver_status_show", "/archiver/metrics"):
        assert app.get(path, status=403)
        assert app.get(path, headers={"Authorization": user["token"]}, status=403)
        assert app.get(path, headers={"Authorization": sysadmin["token"]}, status=200)
    with pytest.raises(tk.NotAuthorized):
        tk.get_action("archiver_status_show")({"user": user["name"], "ignore_auth": False}, {})
    found = app.get("/api/3/action/archiver_status_show", headers={"Authorization": sysadmin["token"]})
    assert set(json.loads(found.body)["result"]) == set(monitoring.collect())


def test_prometheus_text(app: Any) -> None:
    put("h.example", 3)
    sysadmin = factories.SysadminWithToken()
    answer = app.get("/archiver/metrics", headers={"Authorization": sysadmin["token"]})
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    text = answer.get_data(as_text=True)
    assert 'archiver_waiting{queue="bulk"} 3.0\n' in text
    assert "archiver_round_eta_seconds NaN\n" in text
    names = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in names} <= set(monitoring.HELP)


def test_requests_that_wait_for_a_disk_raise_an_alarm(cli: Any) -> None:
    put("h.example", 2, held="'disk-broken'")
    put("i.example", 1, held="'disk-full'")
    (alarm,) = [line for line in monitoring.alarms(monitoring.collect()) if "CANNOT WRITE" in line]
    assert "disk-broken 2, disk-full 1" in alarm
    assert cli.invoke(ckan, ["archiver", "status"]).exit_code == 1


def test_a_plugin_that_is_not_enabled_is_an_alarm(ckan_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ckan_config, "ckan.plugins", "activity")
    assert next(monitoring.alarms(monitoring.collect())).startswith("THE PLUGIN IS NOT ENABLED")
