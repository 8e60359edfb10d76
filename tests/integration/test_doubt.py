"""A page in the place of data: the copy stays until the same answer was confirmed, or the publisher edits the link."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from ckan.tests import factories

from ckanext.archiver import archiving
from ckanext.archiver.engine import store
from ckanext.archiver.model import Archival
from ckanext.archiver.queue import enqueue
from origin_server import Answer, Origin
from rows import requested, run

pytestmark = pytest.mark.usefixtures("clean_site")

CSV = b"id,name\n1,Kirkgate\n2,Briggate\n"
PAGE = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body><p>Back soon.</p></body></html>"


class Site:
    """A server that sends a good file until it is told to send something else."""

    def __init__(self, origin: Origin, path: str) -> None:
        self.body, self.mimetype = CSV, "text/csv"
        self.url = origin.answer(path, lambda request: Answer(self.body, 200, {"Content-Type": self.mimetype}))

    def send(self, body: bytes, mimetype: str) -> None:
        self.body, self.mimetype = body, mimetype


def check(resource_id: str) -> Any:
    if resource_id not in requested():
        enqueue.put_resource(resource_id, "bulk", "round")
        model.Session.commit()
    assert archiving.archive_resource(resource_id, at_once=True) is not None
    model.Session.expire_all()
    return Archival.get_for_resource(resource_id)


def hours_pass(hours: int) -> None:
    run(
        "UPDATE archival SET doubt_since = doubt_since - :hours * interval '1 hour', "
        "cached_at = cached_at - :hours * interval '1 hour', checked_at = checked_at - :hours * interval '1 hour', "
        "first_failure = first_failure - :hours * interval '1 hour'",
        hours=hours,
    )
    for (path,) in run("SELECT cache_filepath FROM archival WHERE cache_filepath <> ''"):
        before = os.stat(path).st_mtime - hours * 3600
        os.utime(path, (before, before))


def details(resource_id: str) -> list[str]:
    rows = run("SELECT detail FROM archival_check WHERE resource_id = :id ORDER BY id", id=resource_id)
    return [row.detail for row in rows]


@pytest.fixture(params=["CSV", ""], ids=["declared", "by its extension"])
def archived(request: pytest.FixtureRequest, origin: Origin) -> tuple[Site, str]:
    site = Site(origin, "/stops.csv")
    dataset = factories.Dataset(resources=[{"url": site.url, "format": request.param}])
    resource_id = dataset["resources"][0]["id"]
    assert check(resource_id).verdict == "ok"
    return site, resource_id


def test_a_page_replaces_the_copy_only_after_three_checks_over_36_hours(
    archived: tuple[Site, str], archive_dir: Path
) -> None:
    site, resource_id = archived
    site.send(PAGE, "text/html")
    for hours in (0, 18):
        hours_pass(hours)
        row = check(resource_id)
        assert (row.verdict, row.is_broken) == ("not-sure", None)
        assert Path(row.cache_filepath).read_bytes() == CSV
        assert row.reason.endswith(".")
    files = list(store.resource_dir(archive_dir, resource_id).iterdir())
    assert [path.read_bytes() for path in files] == [CSV], "the page is not left beside it"
    assert "doubt-replaced" not in details(resource_id)

    hours_pass(18)
    row = check(resource_id)
    assert Path(row.cache_filepath).read_bytes() == PAGE
    assert details(resource_id)[-1] == "doubt-replaced"
    assert list((archive_dir / ".tmp").rglob("fetch*")) == []


def test_a_good_file_ends_the_doubt(archived: tuple[Site, str]) -> None:
    site, resource_id = archived
    site.send(PAGE, "text/html")
    check(resource_id)
    site.send(CSV + b"3,Headrow\n", "text/csv")
    row = check(resource_id)
    assert (row.verdict, row.doubt_detail, row.doubt_count) == ("ok", None, None)
    assert Path(row.cache_filepath).read_bytes() == CSV + b"3,Headrow\n"


def test_the_publisher_edits_the_format_and_the_file_is_taken_at_once(archived: tuple[Site, str]) -> None:
    site, resource_id = archived
    site.send(PAGE, "text/html")
    check(resource_id)
    assert requested() == set()
    tk.get_action("resource_patch")({"ignore_auth": True, "user": ""}, {"id": resource_id, "format": "HTML"})
    assert requested() == {resource_id}
    row = check(resource_id)
    assert row.verdict == "ok"
    assert Path(row.cache_filepath).read_bytes() == PAGE


def test_the_publisher_edits_the_url_and_the_file_is_taken_at_once(archived: tuple[Site, str], origin: Origin) -> None:
    _, resource_id = archived
    other = Site(origin, "/other.csv")
    other.send(PAGE, "text/html")
    tk.get_action("resource_patch")({"ignore_auth": True, "user": ""}, {"id": resource_id, "url": other.url})
    row = check(resource_id)
    assert row.verdict == "not-sure"
    assert Path(row.cache_filepath).read_bytes() == PAGE


def test_an_edit_of_the_format_requests_nothing_while_nothing_is_in_doubt(archived: tuple[Site, str]) -> None:
    _, resource_id = archived
    tk.get_action("resource_patch")({"ignore_auth": True, "user": ""}, {"id": resource_id, "format": "TXT"})
    assert requested() == set()


def test_a_404_of_a_link_that_worked_is_confirmed_first(origin: Origin) -> None:
    url = origin.serve("/stops.csv", CSV)
    resource_id = factories.Dataset(resources=[{"url": url, "format": "CSV"}])["resources"][0]["id"]
    assert check(resource_id).verdict == "ok"
    origin.serve("/stops.csv", b"", status=404)
    row = check(resource_id)
    assert (row.verdict, row.is_broken) == ("failing", None)
    ((seconds,),) = run("SELECT extract(epoch FROM next_check_at - timezone('utc', now())) FROM archival")
    assert 3500 < seconds <= 3600
    hours_pass(12)
    row = check(resource_id)
    assert (row.verdict, row.is_broken) == ("broken", True)
    assert Path(row.cache_filepath).read_bytes() == CSV
