"""``ckan archiver update``: what is selected, how it is put, and what it says."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
import pytest
import sqlalchemy as sa
from ckan import model
from ckan.cli.cli import ckan
from ckan.tests import factories

from _stack.layout import free_port
from ckanext.archiver import archiving
from ckanext.archiver.model import Archival
from ckanext.archiver.queue import claims, leases, rounds
from ckanext.archiver.queue.types import Reason
from origin_server import Origin
from rows import requested, run

pytestmark = pytest.mark.usefixtures("clean_site")


@pytest.fixture
def update(cli: Any) -> Any:
    def invoke(*words: str, exit_code: int = 0) -> Any:
        result = cli.invoke(ckan, ["archiver", "update", *words])
        assert result.exit_code == exit_code, result.output
        return result

    return invoke


@pytest.fixture
def resources() -> dict[str, str]:
    """Resources by name, of three datasets; nothing is requested."""
    organization, group = factories.Organization(name="city"), factories.Group(name="maps")
    datasets = {
        "alpha": factories.Dataset(name="alpha", owner_org=organization["id"]),
        "beta": factories.Dataset(name="beta", groups=[{"name": group["name"]}]),
        "gamma": factories.Dataset(name="gamma"),
    }
    urls = {
        "alpha": ["http://One.Example/1", "http://two.example/2"],
        "beta": ["http://one.example:8080/3"],
        "gamma": ["http://user:secret@one.example./4", "no url"],
    }
    found = {
        f"{name}{number}": factories.Resource(package_id=datasets[name]["id"], url=url)["id"]
        for name, of_one in urls.items()
        for number, url in enumerate(of_one, 1)
    }
    run("DELETE FROM archiver_request")
    return found


def archival(resource_id: str, **columns: Any) -> None:
    names = "".join(f", {name}" for name in columns)
    values = "".join(f", :{name}" for name in columns)
    run(
        f"INSERT INTO archival (id, package_id, resource_id{names}) VALUES (:id, 'p', :id{values})",
        id=resource_id,
        **columns,
    )


def test_everything(update: Any, resources: dict[str, str]) -> None:
    result = update()
    assert requested("bulk") == set(resources.values())
    assert "5 archivals requested on queue bulk." in result.output
    assert "No worker reads queue bulk" in result.output


def test_again_nothing_is_requested_twice(update: Any, resources: dict[str, str]) -> None:
    update()
    before = run("SELECT resource_id, requested_at FROM archiver_request ORDER BY 1")
    result = update()
    assert "0 archivals requested on queue bulk. 5 were requested already." in result.output
    assert run("SELECT resource_id, requested_at FROM archiver_request ORDER BY 1") == before


def test_names_mix(update: Any, resources: dict[str, str]) -> None:
    result = update("city", "maps", resources["gamma2"], "nothing", exit_code=1)
    assert requested("priority") == {resources[name] for name in ("alpha1", "alpha2", "beta1", "gamma2")}
    assert "There is no dataset, resource, organization or group 'nothing'" in result.output


def test_only_unknown_names_request_nothing(update: Any, resources: dict[str, str]) -> None:
    update("nothing", exit_code=1)
    assert requested() == set()


def test_a_named_dataset_is_promoted_and_its_bulk_message_does_nothing(update: Any, resources: dict[str, str]) -> None:
    update()
    update("alpha")
    assert requested("priority") == {resources["alpha1"], resources["alpha2"]}
    of_the_round, of_the_edit = (claims.Message(resources["alpha1"], queue) for queue in ("bulk", "priority"))
    assert claims.claim([of_the_round], "w") == [None], "it comes to nothing"
    assert claims.claim([of_the_edit], "w") != [None]


def test_the_round_does_not_demote(update: Any, resources: dict[str, str]) -> None:
    update("alpha")
    update()
    assert requested("priority") == {resources["alpha1"], resources["alpha2"]}


def test_states(update: Any, resources: dict[str, str]) -> None:
    archival(resources["alpha1"], verdict="broken", is_broken=True, checked_at="2020-01-01", next_check_at="2999-01-01")
    archival(resources["alpha2"], verdict="ok", checked_at="2020-01-01", next_check_at="2020-02-01")
    archival(resources["beta1"], verdict="ok", checked_at="2020-01-01", next_check_at="2999-01-01")
    archival(resources["gamma1"], verdict="failing", checked_at="2020-01-01", next_check_at="2999-01-01")
    for options, expected in (
        (["--broken"], {"alpha1", "gamma1"}),
        (["--stale"], {"alpha2", "gamma2"}),
        (["--never"], {"gamma2"}),
        (["--broken", "--never"], {"alpha1", "gamma1", "gamma2"}),
        (["--broken", "alpha"], {"alpha1"}),
    ):
        update(*options)
        assert requested() == {resources[name] for name in expected}, options
        run("DELETE FROM archiver_request")


@pytest.mark.parametrize("host", ["ONE.example", "one.example.", "one.example:80", "https://one.example/a/link"])
def test_a_host(update: Any, resources: dict[str, str], host: str) -> None:
    update("--host", host)
    assert requested() == {resources[name] for name in ("alpha1", "beta1", "gamma1")}


@pytest.mark.parametrize("host", ["bücher.example", "xn--bcher-kva.example", "[::1]:8080", "http://[::1]/"])
def test_a_host_has_several_spellings(update: Any, host: str) -> None:
    urls = ["http://bücher.example/", "http://[::1]:8080/"]
    ids = [factories.Resource(url=url)["id"] for url in urls]
    run("DELETE FROM archiver_request")
    update("--host", host)
    assert requested() == {ids["::1" in host]}


def test_an_argument_that_is_no_host_is_an_error(update: Any, resources: dict[str, str]) -> None:
    assert "'no host' is not a host." in update("--host", "no host", exit_code=2).output
    assert requested() == set()


def test_since(update: Any, resources: dict[str, str]) -> None:
    run(
        "UPDATE resource SET created = '2020-01-01', last_modified = NULL, metadata_modified = '2020-01-01' "
        "WHERE id <> :id",
        id=resources["beta1"],
    )
    update("--since", "2021-06-01")
    assert requested() == {resources["beta1"]}


def test_a_limit_takes_the_links_checked_longest_ago(update: Any, resources: dict[str, str]) -> None:
    for year, name in enumerate(("beta1", "alpha1", "gamma1", "alpha2"), 2001):
        archival(resources[name], checked_at=f"{year}-01-01")
    update("--limit", "3")
    assert requested() == {resources[name] for name in ("gamma2", "beta1", "alpha1")}


def test_a_dry_run_requests_nothing(update: Any, resources: dict[str, str]) -> None:
    result = update("--dry-run")
    assert "5 archivals on 2 hosts would be requested on queue bulk." in result.output
    assert requested() == set()
    assert run("SELECT count(*) FROM archiver_host") == [(0,)]


def test_numbers_for_scripts(update: Any, resources: dict[str, str]) -> None:
    result = update("--json", "alpha", "nothing", exit_code=1)
    (line,) = [line for line in result.output.splitlines() if line.startswith("{")]
    assert json.loads(line) == {
        "queue": "priority",
        "selected": 2,
        "hosts": 2,
        "requested": 2,
        "unknown": ["nothing"],
        "dry_run": False,
    }


def test_the_short_option_of_older_releases(update: Any, resources: dict[str, str]) -> None:
    update("-q", "bulk", "alpha")
    assert requested("bulk") == {resources["alpha1"], resources["alpha2"]}


def test_progress_of_waiting_does_not_mix_with_the_numbers(
    update: Any, resources: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([2, 1, 0])
    monkeypatch.setattr(rounds.Selection, "open", lambda wanted: next(left))
    real, files = click.progressbar, []
    monkeypatch.setattr(
        click, "progressbar", lambda **kwargs: files.append(kwargs["file"] is sys.stderr) or real(**kwargs)
    )
    update("alpha", "--json", "--wait")
    assert files == [True]


@pytest.mark.parametrize("queue", ["priority", "bulk"])
def test_a_broker_that_is_away_is_reported_and_nothing_is_lost(
    update: Any, resources: dict[str, str], ckan_config: Any, queue: str
) -> None:
    ckan_config["ckanext-archiver.broker_url"] = f"redis://127.0.0.1:{free_port()}/0"
    result = update("alpha", "--queue", queue)
    assert "The broker does not answer: " in result.output
    assert ". The requests are kept in the database." in result.output
    assert requested(queue) == {resources["alpha1"], resources["alpha2"]}


def test_one_is_not_many(update: Any, resources: dict[str, str]) -> None:
    assert "1 archival on 1 host would be requested" in update("alpha", "--limit", "1", "--dry-run").output
    update(resources["alpha1"])
    assert "0 archivals requested on queue priority. 1 was requested" in update(resources["alpha1"]).output


def test_batches_with_progress(update: Any, resources: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "BATCH", 2)
    result = update()
    assert requested() == set(resources.values())
    assert "4 of 5 resources, 4 requested" in result.output
    assert "5 of 5 resources, 5 requested" in result.output


def test_an_edit_does_not_wait_for_the_command(update: Any, resources: dict[str, str]) -> None:
    """Rows that the command has selected and not yet put are not locked."""
    with rounds.Selection("true", {}) as wanted:
        with model.meta.engine.begin() as other:
            other.execute(sa.text("SET LOCAL lock_timeout = '1s'"))
            other.execute(sa.text("UPDATE resource SET name = 'x'"))
            other.execute(
                sa.text(
                    "INSERT INTO archiver_request (resource_id, package_id, queue, host, reason) "
                    "VALUES (:id, 'p', 'priority', 'h', 'changed')"
                ),
                {"id": resources["alpha1"]},
            )
        assert sum(wanted.put("bulk", "command")) == 4
    assert requested("priority") == {resources["alpha1"]}


def test_confirm_now_goes_with_the_request(update: Any, resources: dict[str, str]) -> None:
    update("alpha", "--confirm-now")
    assert run("SELECT DISTINCT reason FROM archiver_request") == [(Reason.CONFIRM,)]


def test_a_host_of_any_length_does_not_prevent_saving() -> None:
    # As long as CKAN's own index of URLs takes it, and too long for an index with other columns.
    host = "".join(f"{i:x}" for i in range(1000))[:2660]
    factories.Resource(url=f"http://{host}.example/")
    assert run("SELECT length(host) FROM archiver_request") == [(255,)]


@pytest.mark.ckan_config("ckanext-archiver.retry_delays", "60 60")
@pytest.mark.parametrize(("options", "verdict"), [((), "ok"), (("--confirm-now",), "failing")])
def test_confirm_now_shows_the_first_failure(update: Any, origin: Origin, options: Any, verdict: str) -> None:
    resource = factories.Resource(url=origin.serve("/data.csv", b"a,b\n1,2\n"))
    archiving.archive_resource(resource["id"], "priority", worker_id=leases.worker_id())
    archival = Archival.get_for_resource(resource["id"])
    assert archival.verdict == "ok"
    worked = archival.last_success
    origin.serve("/data.csv", b"", status=500)
    update(resource["package_id"], *options)
    archiving.archive_resource(resource["id"], "priority", worker_id=leases.worker_id())
    model.Session.expire_all()
    archival = Archival.get_for_resource(resource["id"])
    assert archival.verdict == verdict
    assert archival.last_success == worked
    assert archival.failure_count == 0, "the retries decide what counts"
    assert requested("bulk") == {resource["id"]}, "to be tried again, behind the edits of others"
