"""What older code calls in ``tasks`` and ``lib``: it does what it did in releases 2.x."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ckan.plugins as p
import pytest
import rq
import sqlalchemy as sa
from ckan import model
from ckan.lib.redis import connect_to_redis
from ckan.tests import factories

from ckanext.archiver import config, lib, tasks, utils
from ckanext.archiver import model as archiver_model
from ckanext.archiver.model import Archival
from ckanext.archiver.queue import broker, notices
from ckanext.archiver.queue.celery_app import app, import_other_tasks, settings
from origin_server import Answer, Origin, Request

pytestmark = pytest.mark.usefixtures("clean_site")

CSV = b"id,name\n1,Kirkgate\n"
CAPABILITIES = b"<?xml version='1.0'?>\n<WMT_MS_Capabilities version='1.1.1'></WMT_MS_Capabilities>"
REPORT = b"<?xml version='1.0'?>\n<ServiceExceptionReport version='1.3.0'>no</ServiceExceptionReport>"


def resource(url: str, **kwargs: Any) -> dict[str, Any]:
    return factories.Dataset(resources=[{"url": url, "format": "CSV", **kwargs}])["resources"][0]


def queues() -> set[str]:
    rows = model.Session.execute(sa.text("SELECT DISTINCT queue FROM archiver_request")).scalars().all()
    model.Session.rollback()
    return set(rows)


# -- the tasks, called directly ------------------------------------------------------------------------------------


def test_update_resource_archives_and_returns_json(origin: Origin) -> None:
    url = origin.redirect("/old.csv", origin.serve("/stops.csv", CSV))
    found = json.loads(tasks.update_resource(resource(url)["id"]))
    assert (found["size"], found["hash"]) == (len(CSV), hashlib.sha1(CSV).hexdigest())  # noqa: S324 - the old name
    assert (found["mimetype"], found["request_type"]) == ("text/csv", "GET")
    assert found["url_redirected_to"] == origin.url("/stops.csv")
    assert Path(found["cache_filepath"]).read_bytes() == CSV


@pytest.mark.parametrize("name", ["update_resource", "update_package"])
def test_a_job_that_2x_left_in_ckans_own_queue_only_puts_a_request(origin: Origin, name: str) -> None:
    """``ckan jobs worker`` runs it, without any politeness."""
    one = resource(origin.serve("/stops.csv", CSV))
    model.Session.execute(sa.text("DELETE FROM archiver_request"))
    model.Session.commit()
    identifier = one["id" if name == "update_resource" else "package_id"]
    rq_queue = rq.Queue("archiver-test", connection=connect_to_redis())
    job = rq_queue.enqueue(f"ckanext.archiver.tasks.{name}", identifier, "bulk")
    rq.SimpleWorker([rq_queue], connection=connect_to_redis()).work(burst=True)
    assert job.get_status(refresh=True) == "finished"
    assert queues() == {"bulk"}
    assert origin.asked("/stops.csv") == 0
    assert Archival.get_for_resource(one["id"]) is None


def test_update_resource_names_the_question_that_a_map_service_was_asked(origin: Origin) -> None:
    def answers(request: Request) -> Answer:
        good = "getcapabilities" in request.path.lower()
        headers = {"Content-Type": "text/xml"}
        return Answer(body=CAPABILITIES if good else REPORT, status=200 if good else 400, headers=headers)

    one = resource(origin.answer("/wms", answers), format="WMS")
    found = json.loads(tasks.update_resource(one["id"]))
    assert found["request_type"].startswith("WMS")


def test_update_resource_gives_none_for_a_link_that_fails(origin: Origin) -> None:
    one = resource(origin.serve("/gone.csv", b"", status=404))
    assert tasks.update_resource(one["id"]) is None
    assert Archival.get_for_resource(one["id"]).status == "Download error"
    assert tasks.update_resource("no-such-resource") is None


@pytest.mark.ckan_config("ckan.plugins", "archiver testipipe")
def test_subscribers_hear_the_name_of_the_queue_that_a_caller_gave(origin: Origin) -> None:
    dataset = factories.Dataset(resources=[{"url": origin.serve(f"/{n}.csv", CSV)} for n in (1, 2)])
    subscriber = p.get_plugin("testipipe")
    subscriber.reset()
    tasks.update_package(dataset["id"], "queue1")
    assert [(operation, queue) for operation, queue, _ in subscriber.calls] == [
        ("archived", "queue1"),
        ("archived", "queue1"),
        ("package-archived", "queue1"),
    ]
    assert "package_id" not in subscriber.calls[0][2]
    assert subscriber.calls[2][2]["package_id"] == dataset["id"]


@pytest.mark.ckan_config("ckan.plugins", "archiver testipipe")
def test_subscribers_hear_the_callers_queue_also_where_an_edit_has_put_the_request(origin: Origin) -> None:
    one = resource(origin.serve("/stops.csv", CSV))
    assert queues() == {"priority"}
    subscriber = p.get_plugin("testipipe")
    subscriber.reset()
    assert tasks.update_resource(one["id"], "queue1")
    assert {call[1] for call in subscriber.calls} == {"queue1"}


@pytest.mark.ckan_config("ckan.plugins", "archiver testipipe")
@pytest.mark.parametrize("name", ["queue1", "bulk", "priority"])
def test_the_datasets_notice_that_a_worker_delivers_later_has_the_callers_name_too(origin: Origin, name: str) -> None:
    one = resource(origin.serve("/stops.csv", CSV))
    model.Session.execute(sa.text("DELETE FROM archiver_request"))
    model.Session.commit()
    subscriber = p.get_plugin("testipipe")
    subscriber.reset()
    assert tasks.update_resource(one["id"], name)
    assert [call[:2] for call in subscriber.calls] == [["archived", name]]
    assert notices.deliver_abandoned() == 1
    assert [call[:2] for call in subscriber.calls] == [["archived", name], ["package-archived", name]]
    assert subscriber.calls[1][2]["package_id"] == one["package_id"]


@pytest.mark.ckan_config("ckanext-archiver.min_free_bytes", 10**17)
@pytest.mark.parametrize("name", ["update_resource", "update_package"])
def test_a_request_that_cannot_run_now_is_left_to_workers_on_any_queue_name(origin: Origin, name: str) -> None:
    one = resource(origin.serve("/stops.csv", CSV))
    model.Session.execute(sa.text("DELETE FROM archiver_request"))
    model.Session.commit()
    getattr(tasks, name)(one["id" if name == "update_resource" else "package_id"], "queue1")
    assert queues() == {"bulk"}


# -- requests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("queue", "read"), [("priority", "priority"), ("bulk", "bulk"), ("default", "bulk")])
def test_a_request_never_waits_on_a_queue_without_readers(queue: str, read: str) -> None:
    one = resource("http://one.example/")
    for function, entity in (
        (lib.create_archiver_resource_task, model.Resource.get(one["id"])),
        (lib.create_archiver_package_task, model.Package.get(one["package_id"])),
    ):
        model.Session.execute(sa.text("DELETE FROM archiver_request"))
        function(entity, queue)
        assert queues() == {read}


def test_the_commands_are_functions_too(capsys: pytest.CaptureFixture[str]) -> None:
    one = resource("http://one.example/")
    model.Session.execute(sa.text("DELETE FROM archiver_request"))
    model.Session.commit()
    utils.update([one["package_id"]], "bulk")
    assert queues() == {"bulk"}
    utils.view(one["package_id"])
    assert "one.example" in capsys.readouterr().out


def test_names_of_older_releases() -> None:
    package = {"extras": [{"key": "spatial", "value": "{}"}]}
    assert lib.get_extra_from_pkg_dict(package, "spatial") == "{}"
    assert lib.get_extra_from_pkg_dict(package, "colour", "red") == "red"
    assert lib.get_extra_from_pkg_dict({}, "colour") is None
    assert archiver_model.Status.instance().by_text("Archived successfully") == 0
    assert archiver_model.broken_enum == {True: "Broken", None: "Not sure if broken", False: "Downloaded OK"}


# -- looking at links ----------------------------------------------------------------------------------------------


def test_link_checker_gives_headers_in_lower_case(origin: Origin) -> None:
    data = json.dumps({"url": origin.serve("/stops.csv", CSV), "url_timeout": 10})
    headers = json.loads(tasks.link_checker(json.dumps({}), data))
    assert headers["content-type"].startswith("text/csv")
    assert headers["content-length"] == str(len(CSV))


def test_link_checker_only_wants_the_headers(origin: Origin) -> None:
    """A 200 without a body has some too; ckanext-qa asks for such links."""
    data = json.dumps({"url": origin.serve("/empty.csv", b"")})
    assert "content-type" in json.loads(tasks.link_checker("{}", data))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http:www.example.org", ""])
def test_link_checker_refuses_what_is_no_link(url: str) -> None:
    with pytest.raises(tasks.LinkInvalidError):
        tasks.link_checker("{}", json.dumps({"url": url}))


@pytest.mark.parametrize("status", [404, 503])
def test_link_checker_says_that_a_link_fails(origin: Origin, status: int) -> None:
    with pytest.raises(tasks.LinkHeadRequestError, match=str(status)):
        tasks.link_checker("{}", json.dumps({"url": origin.serve("/x", b"", status=status)}))


def test_download_and_archive_resource_are_two_halves(origin: Origin) -> None:
    one = {"id": "0123", "package_id": "p", "url": origin.serve("/stops.csv", CSV), "format": "CSV"}
    found = tasks.download({}, one)
    assert Path(found["saved_file"]).read_bytes() == CSV
    kept = tasks.archive_resource({}, one, None, found)
    assert Path(kept["cache_filepath"]).read_bytes() == CSV
    assert not Path(found["saved_file"]).exists()


def test_download_refuses_and_fails(origin: Origin) -> None:
    with pytest.raises(tasks.ChooseNotToDownload):
        tasks.download({}, {"url": origin.serve("/large.csv", CSV)}, max_content_length=3)
    with pytest.raises(tasks.DownloadError, match="404"):
        tasks.download({}, {"url": origin.serve("/gone.csv", b"", status=404)})


@pytest.mark.ckan_config("ckanext-archiver.min_free_bytes", 10**17)
def test_download_fills_no_disk(origin: Origin) -> None:
    with pytest.raises(tasks.DownloadError, match="disk"):
        tasks.download({}, {"url": origin.serve("/stops.csv", CSV)})


@pytest.mark.parametrize(
    ("service", "version", "request_type"),
    [("WMS", "1.3", "WMS 1.3"), ("WMS", "1.1.1", "WMS 1.1.1"), ("WFS", "2.0", "WFS 2.0")],
)
def test_api_request_finds_the_question_that_a_service_answers(
    origin: Origin, service: str, version: str, request_type: str
) -> None:
    def answers(request: Request) -> Answer:
        good = f"service={service}&request=GetCapabilities&version={version}" in request.path
        return Answer(body=CAPABILITIES if good else REPORT, headers={"Content-Type": "text/xml"})

    one = {"id": "0123", "url": origin.answer("/maps", answers) + "?old=1", "format": ""}
    found = tasks.api_request({}, one)
    assert found["request_type"] == request_type
    assert Path(found["saved_file"]).read_bytes() == CAPABILITIES
    assert one["url"].endswith("?old=1")


def test_api_request_returns_none_where_there_is_no_service(origin: Origin) -> None:
    assert tasks.api_request({}, {"id": "0123", "url": origin.serve("/x", b"", status=404)}) is None
    assert list(Path(config.archive_dir()).rglob("*.csv")) == []


@pytest.mark.parametrize(
    ("body", "is_error"),
    [
        (REPORT.decode(), True),
        (REPORT, True),
        ("<ows:ExceptionReport version='1.1.0' xmlns:ows='http://www.opengis.net/ows'>", True),
        (CAPABILITIES.decode(), False),
        ("<html>" + " " * 250 + "<ServiceExceptionReport>", False),
    ],
)
def test_a_service_reports_its_errors_in_the_body(body: str | bytes, is_error: bool) -> None:
    assert tasks.response_is_an_api_error(body) is is_error


def test_tasks_of_others_that_cannot_be_imported_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither must they keep a worker from starting, nor the good ones from being found."""
    folder = tmp_path / "others-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(
        "[ckan.celery_task]\ngone = archiver_gone:task_imports\nold = archiver_others:old\n"
        "good = archiver_others:good\n"
    )
    (tmp_path / "archiver_others.py").write_text(
        "def old(): return ['ckan.lib.celery_app']\ndef good(): return ['archiver_good_tasks']\n"
    )
    (tmp_path / "archiver_good_tasks.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with caplog.at_level(logging.WARNING):
        import_other_tasks()
    assert "archiver_good_tasks" in sys.modules
    assert [name for name in ("archiver_gone", "archiver_others:old") if name in caplog.text] == [
        "archiver_gone",
        "archiver_others:old",
    ]
    assert settings()["include"] == ["ckanext.archiver.tasks"], "who only sends needs none of them"


def test_a_channel_sends_its_commands_through_one_client() -> None:
    """kombu would make one for each message, which costs more than the command."""
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        first = channel._create_client()
        assert channel._create_client() is first
        assert channel.client is not first, "who waits for messages has a connection of its own"
        channel._disconnect_pools()
        assert channel._create_client().ping(), "once its pool is closed there is another"


def test_threads_that_acknowledge_at_the_same_time_all_can() -> None:
    """With kombu's own 10 connections some could not, and their messages would count as under way for ever."""
    ids = [str(number) for number in range(60)]
    gate = threading.Barrier(len(ids))
    with app.connection_for_write() as connection:
        broker.send(connection, ids, "bulk")
        queue = connection.SimpleQueue("bulk")
        messages = [queue.get(timeout=5) for _ in ids]

        def acknowledge(message: Any) -> None:
            gate.wait(10)
            message.ack()

        with ThreadPoolExecutor(len(ids)) as pool:
            list(pool.map(acknowledge, messages))
        under_way = queue.consumer.channel.qos
        under_way._flush()
        assert not under_way._delivered
        queue.close()


def test_messages_are_of_uneven_size_and_have_each_resource_once() -> None:
    ids = [str(number) for number in range(1_000)]
    lots = list(broker._chunks(ids, 10))
    assert [id_ for lot in lots for id_ in lot] == ids
    sizes = {len(lot) for lot in lots[:-1]}
    assert len(sizes) > 1
    assert sizes <= set(range(6, 14))
    assert [list(lot) for lot in broker._chunks(ids[:3], 1)] == [["0"], ["1"], ["2"]]
