"""What workers count, and the ways to read it."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest
import sqlalchemy as sa
from ckan import model
from ckan.tests import factories
from prometheus_client.parser import text_string_to_metric_families

from _stack.layout import free_port
from ckanext.archiver import archiving, counters, monitoring
from ckanext.archiver.queue.sql import run, transaction
from ckanext.archiver.worker import saved_counters
from origin_server import Origin

pytestmark = [pytest.mark.usefixtures("clean_site"), pytest.mark.ckan_config("ckanext-archiver.host_interval", 0)]

TOKEN = "a-token-of-prometheus"


@pytest.fixture(autouse=True)
def from_now_on() -> None:
    saved_counters.begin()


def archive(url: str) -> None:
    dataset = factories.Dataset(resources=[{"url": url}])
    assert archiving.archive_resource(dataset["resources"][0]["id"], at_once=True) is not None


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_check_is_counted_with_its_verdict_bytes_duration_and_wait(origin: Origin, archive_dir: Any) -> None:
    archive(origin.serve("/good.csv", b"a,b\n1,2\n"))
    archive(origin.url("/gone.csv"))
    saved_counters.save()

    found = read(monitoring.prometheus(monitoring.collect()))

    assert found["archiver_checks_total", (("cause", "ok"), ("verdict", "ok"))] == 1
    assert found["archiver_checks_total", (("cause", "gone"), ("verdict", "broken"))] == 1
    assert found["archiver_downloaded_bytes_total", ()] >= 8
    assert found["archiver_check_duration_seconds_count", ()] == 2
    assert found["archiver_check_duration_seconds_bucket", (("le", "+Inf"),)] == 2
    assert found["archiver_queue_wait_seconds_count", (("queue", "priority"),)] == 2
    assert found["archiver_retries_total", ()] == 0


def test_workers_add_to_the_same_sums_and_save_each_count_once() -> None:
    counters.retries.inc(3)
    saved_counters.save()
    saved_counters.save()
    run("UPDATE archiver_counter SET value = value + 5 WHERE name = 'archiver_retries_total'")
    model.Session.commit()
    counters.retries.inc()
    saved_counters.save()

    assert monitoring.state.totals()["archiver_retries_total", "{}"] == 9


def test_what_cannot_be_saved_is_saved_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise sa.exc.OperationalError("INSERT", {}, Exception("away"))

    counters.retries.inc(2)
    with monkeypatch.context() as patch:
        patch.setattr(saved_counters.sql, "run", away)
        with pytest.raises(sa.exc.OperationalError):
            saved_counters.save()
    saved_counters.save()

    assert monitoring.state.totals()["archiver_retries_total", "{}"] == 2


def test_the_buckets_of_a_histogram_are_in_order() -> None:
    counters.queue_wait.labels("bulk").observe(20)
    saved_counters.save()

    text = monitoring.prometheus(monitoring.collect())

    bounds = [
        float(line.partition('le="')[2].partition('"')[0])
        for line in text.splitlines()
        if line.startswith("archiver_queue_wait_seconds_bucket") and 'queue="bulk"' in line
    ]
    assert bounds
    assert bounds == sorted(bounds)


def test_prometheus_reads_with_a_token_that_opens_nothing_else(app: Any, ckan_config: Any) -> None:
    ckan_config["ckanext-archiver.metrics_token"] = TOKEN
    headers = {"Authorization": f"Bearer {TOKEN}"}

    assert "archiver_waiting" in app.get("/archiver/metrics", headers=headers, status=200).get_data(as_text=True)
    app.get("/archiver/metrics", headers={"Authorization": TOKEN}, status=403)
    app.get("/archiver/metrics", headers={"Authorization": f"Bearer {TOKEN}x"}, status=403)
    for path in ("/api/3/action/archiver_status_show", "/api/3/action/config_option_list"):
        app.get(path, headers=headers, status=403)


def test_without_a_token_of_its_own_an_empty_one_opens_nothing(app: Any) -> None:
    app.get("/archiver/metrics", headers={"Authorization": "Bearer "}, status=403)
    app.get("/archiver/metrics", headers={"Authorization": "Bearer x"}, status=403)


def test_an_api_token_may_be_sent_as_bearer(app: Any) -> None:
    for user, status in ((factories.SysadminWithToken(), 200), (factories.UserWithToken(), 403)):
        app.get("/archiver/metrics", headers={"Authorization": f"Bearer {user['token']}"}, status=status)
    deleted = factories.SysadminWithToken()
    with transaction():
        model.User.get(deleted["id"]).state = "deleted"
    app.get("/archiver/metrics", headers={"Authorization": f"Bearer {deleted['token']}"}, status=403)


def test_a_worker_serves_its_own_counters_at_the_first_free_port(ckan_config: Any) -> None:
    first = free_port()
    ckan_config["ckanext-archiver.metrics_port"] = str(first)
    counters.retries.inc()

    ports = [saved_counters.serve(), saved_counters.serve()]

    assert ports[0] is not None
    assert first <= ports[0] < ports[1] < first + saved_counters.PORTS
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[1]}/metrics") as answer:
        found = read(answer.read().decode())
    assert found["archiver_retries_total", ()] >= 1
    assert found["process_resident_memory_bytes", ()] > 1e6


def test_no_port_is_opened_by_default() -> None:
    assert saved_counters.serve() is None
