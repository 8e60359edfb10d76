"""The whole way with real processes: CKAN's web server, a worker, a broker, a publisher's web server.

An edit over HTTP, the request and its message, the download, the archival, what other extensions hear, and what
people see. And that an editor is never held up, whatever the broker does.
"""

from __future__ import annotations

import base64
import html
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from ckan import model
from ckan.lib.redis import connect_to_redis
from ckan.tests import factories

from _stack.layout import free_port
from ckanext.archiver.model import Archival, ArchiverNotice, ArchiverRequest
from origin_server import Origin
from site_fixtures import Broker, Process

pytestmark = [pytest.mark.usefixtures("clean_site"), pytest.mark.slow]

Dict = dict[str, Any]
Fresh = Callable[[], Any]
Wait = Callable[..., None]
StartWeb = Callable[..., str]
StartWorker = Callable[..., Process]

STOPS = b"id,name\n1,Kirkgate\n2,Briggate\n"

HELD_UP = 1.5
"""Seconds within which an edit is saved, whatever the broker does."""


class Site:
    """CKAN as a publisher uses it: over HTTP, with a token."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.token = factories.SysadminWithToken()["token"]
        model.Session.commit()

    def call(self, action: str, data: Dict) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": self.token}
        request = urllib.request.Request(f"{self.url}/api/3/action/{action}", json.dumps(data).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["result"]

    def page(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return html.unescape(answer.read().decode())

    def create(self, url: str) -> Dict:
        """A dataset of one resource; returns the resource."""
        dataset = self.call(
            "package_create",
            {
                "name": "bus-stops",
                "owner_org": self._organization(),
                "resources": [{"name": "Stops", "url": url, "format": "CSV"}],
            },
        )
        return dataset["resources"][0]

    def _organization(self) -> str:
        return self.call("organization_create", {"name": "transport", "title": "Department for Transport"})["id"]


def archival(fresh: Fresh, resource_id: str) -> Archival | None:
    return fresh().query(Archival).filter_by(resource_id=resource_id).first()


def requests(fresh: Fresh) -> dict[str, str]:
    return {request.resource_id: request.queue for request in fresh().query(ArchiverRequest)}


# -- the whole way -------------------------------------------------------------------------------------------------

LISTENER = """
import json
import ckan.plugins as p
from ckanext.archiver.interfaces import IPipe

class Plugin(p.SingletonPlugin):
    p.implements(IPipe, inherit=True)

    def receive_data(self, operation, queue, **params):
        with open({path!r}, "a") as file:
            file.write(json.dumps([operation, queue, params]) + "\\n")
"""


class Listener:
    """Another extension, installed in a folder of its own, that writes down what it hears."""

    def __init__(self, folder: Path) -> None:
        self._heard = folder / "heard.jsonl"
        info = folder / "listener-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / "listener.py").write_text(LISTENER.format(path=str(self._heard)))
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: listener\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[ckan.plugins]\nlistener = listener:Plugin\n")

    @property
    def heard(self) -> list[list[Any]]:
        """``[operation, queue, params]`` of each call, in their order."""
        return [json.loads(line) for line in self._heard.read_text().splitlines()] if self._heard.exists() else []


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Listener:
    folder = tmp_path / "listener"
    made = Listener(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))  # for the processes that the test starts
    return made


@pytest.mark.timed
def test_an_edit_goes_the_whole_way(
    web: StartWeb,
    worker: StartWorker,
    origin: Origin,
    fresh: Fresh,
    wait_until: Wait,
    listener: Listener,
    archive_dir: Path,
) -> None:
    site = Site(web())
    url = origin.serve("/files/stops.csv", STOPS)

    # The edit, and its request and message while no worker runs.
    resource = site.call("package_show", {"id": site.create(url)["package_id"]})["resources"][0]
    resource_id = resource["id"]
    assert requests(fresh) == {resource_id: "priority"}
    (message,) = connect_to_redis().lrange("priority", 0, -1)
    (arguments, _, _) = json.loads(base64.b64decode(json.loads(message)["body"]))
    assert arguments == [resource_id, "priority"], "ids only"
    assert archival(fresh, resource_id) is None
    assert "archiver" not in resource

    # The worker.
    worker("priority", settings={"ckan.plugins": "archiver listener"})
    wait_until(lambda: archival(fresh, resource_id), timeout=20)
    wait_until(lambda: len(listener.heard) >= 2, timeout=10)

    row = archival(fresh, resource_id)
    assert row is not None
    assert (row.verdict, row.status, row.is_broken) == ("ok", "Archived successfully", False)
    assert row.source_url == url
    assert row.cache_filepath == str(archive_dir / resource_id[:2] / resource_id / "stops.csv")
    assert Path(row.cache_filepath).read_bytes() == STOPS
    assert origin.asked("/files/stops.csv", "GET") == 1
    assert connect_to_redis().llen("priority") == 0
    assert requests(fresh) == {}

    # What other extensions heard: each once, the dataset after its resource.
    assert listener.heard == [
        ["archived", "priority", {"resource_id": resource_id, "cache_filepath": row.cache_filepath}],
        ["package-archived", "priority", {"package_id": row.package_id, "cache_filepath": None}],
    ]
    wait_until(lambda: fresh().query(ArchiverNotice).count() == 0)

    # What people and programs see.
    shown = site.call("package_show", {"id": "bus-stops"})
    assert shown["archiver"]["is_broken"] is False
    assert shown["resources"][0]["archiver"]["cache_filepath"] == row.cache_filepath
    page = site.page(f"/dataset/bus-stops/resource/{resource_id}")
    assert "Download cached copy" in page
    assert site.page(f"/dataset/bus-stops/resource/{resource_id}/cached").encode() == STOPS
    assert json.loads(site.page("/report/broken-links?format=json"))["num_broken_packages"] == 0
    wait_until(lambda: site.call("package_search", {"fq": "archiver_status:ok"})["count"] == 1)

    # The file goes away: an editor changes the link, and sees within three seconds that the new one is dead.
    began = time.monotonic()
    site.call("resource_patch", {"id": resource_id, "url": origin.url("/files/lost.csv")})
    gone = "The server says the file is gone (404 Not Found)."
    wait_until(lambda: gone in site.page(f"/dataset/bus-stops/resource/{resource_id}"), timeout=5)
    assert time.monotonic() - began < 3
    row = archival(fresh, resource_id)
    assert row is not None
    assert (row.verdict, row.is_broken, row.status) == ("broken", True, "Download error")
    assert "Stops" in site.page("/report/broken-links/transport")
    report = json.loads(site.page("/report/broken-links?format=json"))
    assert (report["num_broken_packages"], report["num_broken_resources"]) == (1, 1)
    wait_until(lambda: site.call("package_search", {"fq": "archiver_status:broken"})["count"] == 1)
    wait_until(lambda: [call[0] for call in listener.heard] == ["archived", "package-archived"] * 2)


def test_an_edit_that_is_rolled_back_sends_nothing(
    web: StartWeb, origin: Origin, fresh: Fresh, refused_commits: Callable[[], None]
) -> None:
    site = Site(web())
    resource = site.create(origin.serve("/stops.csv", STOPS))
    session = fresh()
    session.query(ArchiverRequest).delete()
    session.commit()
    connect_to_redis().delete("priority")

    refused_commits()
    with pytest.raises(urllib.error.HTTPError):
        site.call("resource_patch", {"id": resource["id"], "url": origin.url("/new.csv")})

    assert fresh().get(model.Resource, resource["id"]).url == origin.url("/stops.csv")
    assert requests(fresh) == {}
    assert connect_to_redis().llen("priority") == 0


@pytest.fixture
def refused_commits() -> Any:
    """``refused_commits()``: from now on PostgreSQL refuses every COMMIT that changes a resource, after everything
    before it went well."""

    def run(sql: str) -> None:
        model.Session.rollback()
        with model.meta.engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL lock_timeout = '10s'"))
            connection.execute(sa.text(sql))

    def start() -> None:
        run("""
            CREATE FUNCTION archiver_test_refuse() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
            CREATE CONSTRAINT TRIGGER archiver_test_refuse AFTER INSERT OR UPDATE ON resource
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION archiver_test_refuse()
        """)

    yield start
    run("DROP FUNCTION IF EXISTS archiver_test_refuse CASCADE")


# -- whatever the broker does --------------------------------------------------------------------------------------


def timed(edit: Callable[[], Any]) -> float:
    began = time.monotonic()
    edit()
    return time.monotonic() - began


@pytest.mark.timed
def test_a_dead_broker_delays_no_edit_and_loses_nothing(
    broker: Broker, web: StartWeb, worker: StartWorker, origin: Origin, fresh: Fresh, wait_until: Wait
) -> None:
    site = Site(web())
    worker("priority")
    origin.serve("/new.csv", STOPS)
    resource_id = site.create(origin.serve("/stops.csv", STOPS))["id"]
    wait_until(lambda: archival(fresh, resource_id), timeout=20)
    broker.kill()

    seconds = timed(lambda: site.call("resource_patch", {"id": resource_id, "url": origin.url("/new.csv")}))

    assert seconds < HELD_UP
    assert requests(fresh) == {resource_id: "priority"}
    assert site.call("resource_show", {"id": resource_id})["url"] == origin.url("/new.csv")

    broker.start()  # empty: it forgot everything
    wait_until(lambda: origin.asked("/new.csv") and not requests(fresh), timeout=45)
    row = archival(fresh, resource_id)
    assert row is not None
    assert (row.verdict, row.source_url) == ("ok", origin.url("/new.csv"))


@pytest.mark.timed
def test_a_broker_that_hangs_delays_one_edit_for_a_moment(
    broker: Broker, web: StartWeb, worker: StartWorker, origin: Origin, fresh: Fresh, wait_until: Wait
) -> None:
    """It takes connections and never answers: worse than a dead one."""
    site = Site(web())
    resource_id = site.create(origin.serve("/stops.csv", STOPS))["id"]
    assert redis.Redis.from_url(broker.url).llen("priority") == 1
    broker.pause()
    try:
        first = timed(lambda: site.call("resource_patch", {"id": resource_id, "url": origin.url("/1.csv")}))
        second = timed(lambda: site.call("resource_patch", {"id": resource_id, "url": origin.url("/2.csv")}))
    finally:
        broker.resume()

    assert first < HELD_UP
    assert second < HELD_UP
    assert requests(fresh) == {resource_id: "priority"}
    origin.serve("/2.csv", STOPS)
    worker("priority")
    wait_until(lambda: archival(fresh, resource_id), timeout=20)
    wait_until(lambda: not requests(fresh))
    assert origin.asked("/1.csv") == 0
    assert origin.asked("/2.csv") == 1


@pytest.mark.timed
def test_a_site_whose_broker_was_never_there_saves_edits_in_time(
    broker: Broker, web: StartWeb, origin: Origin, fresh: Fresh
) -> None:
    broker.kill()
    site = Site(web())

    seconds = timed(lambda: site.create(origin.url("/stops.csv")))

    assert seconds < HELD_UP + 1, "two edits, an organization and a dataset"
    assert list(requests(fresh).values()) == ["priority"]


def test_a_worker_writes_its_log_as_json_where_it_is_to(worker: Callable[..., Any], origin: Origin) -> None:
    settings = {"ckanext-archiver.log_format": "json", "ckanext-archiver.metrics_port": str(free_port())}
    with worker("priority", settings=settings) as process:
        resource = factories.Dataset(resources=[{"url": origin.serve("/logged.csv", b"a,b\n1,2\n")}])["resources"][0]
        process.await_ready(lambda: resource["id"] in process.log, 20)

    # Lines before the first are of the command, not of the worker.
    lines = process.log.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("{"))
    found = [json.loads(line) for line in lines[first:] if line and "Warm shutdown" not in line]
    (checked,) = [line for line in found if line["message"] == "checked"]
    assert checked["resource"] == resource["id"]
    assert checked["verdict"] == "ok"
    assert checked["queue"] == "priority"
    assert any("The metrics of this worker are at" in line["message"] for line in found)
