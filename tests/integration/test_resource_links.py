"""The link of a resource: one rule in Python, in SQL and in CKAN, and what follows from it on the whole way."""

from __future__ import annotations

import json
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from ckan.tests import factories

from ckanext.archiver import archiving, links
from ckanext.archiver.engine import urls
from ckanext.archiver.model import Archival, ArchiverDataset
from ckanext.archiver.queue import rounds
from origin_server import Origin
from rows import requested, run

pytestmark = pytest.mark.usefixtures("clean_site")

Dict = dict[str, Any]

URLS = [
    "http://data.example/x.csv",
    "data.example.org/x.csv",
    "//data.example.org/x.csv",
    "/home/me/x.csv",
    "see our website",
    "data.example.org:8080/x.csv",
    "C:\\data\\x.csv",
    "mailto:me@data.example",
    "data.example/?next=http://other.example",
    "1http://data.example/",
    "ä.example/x",
]


def act(action: str, data: Dict, **context: Any) -> Any:
    return tk.get_action(action)({"ignore_auth": True, "user": "", **context}, data)


def show(dataset_id: str) -> Dict:
    """Not from the search index, which an edit of the model does not reach at once."""
    return act("package_show", {"id": dataset_id}, use_cache=False)


def archive_all() -> None:
    for resource_id in requested():
        archiving.archive_resource(resource_id, at_once=True)


def facet(package_id: str) -> str | None:
    model.Session.rollback()
    row = model.Session.get(ArchiverDataset, package_id)
    return row.facet if row else None


def without_scheme(url: str) -> str:
    return url.removeprefix("http://")


@pytest.mark.parametrize("url", URLS)
def test_python_sql_and_ckan_agree(url: str) -> None:
    dataset = factories.Dataset(resources=[{"url": url}])
    ((in_sql, has_link),) = run(f"SELECT {links.URL_SQL}, {links.HAS_LINK_SQL} FROM resource r")
    shown = show(dataset["id"])["resources"][0]["url"]
    assert in_sql == shown == links.shown_url(url)
    assert has_link is links.has_link(url, None) is True


@pytest.mark.parametrize(
    ("url", "url_type"),
    [
        ("", None),
        ("_datastore_only_resource", None),
        ("http://portal/dump", "datastore"),
        ("", "tabledesigner"),
    ],
)
def test_a_resource_without_a_link_is_not_requested_and_nothing_about_it_is_broken(
    url: str, url_type: str | None
) -> None:
    dataset = factories.Dataset(resources=[{"url": "http://data.example/x"}])
    (only,) = dataset["resources"]
    run("DELETE FROM archiver_request")
    run(
        "INSERT INTO archival (id, package_id, resource_id, source_url, verdict, is_broken, status_id, next_check_at) "
        "VALUES ('a', :package, :id, 'http://data.example/x', 'broken', true, 12, '2020-01-01')",
        package=dataset["id"],
        id=only["id"],
    )
    resource = model.Resource.get(only["id"])
    resource.url, resource.url_type = url, url_type
    model.Session.commit()
    assert requested() == set()
    assert facet(dataset["id"]) is None
    assert Archival.get_for_package(dataset["id"]) == []
    assert "archiver" not in show(dataset["id"])
    run("DELETE FROM archiver_state")
    rounds.put_due()
    rounds.put_never_planned()
    assert requested() == set()


def test_a_link_that_is_taken_away_during_a_run_is_withdrawn(origin: Origin) -> None:
    dataset = factories.Dataset(resources=[{"url": origin.serve("/x.csv", b"a,b\n")}])
    (only,) = dataset["resources"]
    run("UPDATE resource SET url = '' WHERE id = :id", id=only["id"])
    assert archiving.archive_resource(only["id"], at_once=True) is None
    assert requested() == set()
    assert origin.asked("/x.csv") == 0


def test_a_url_without_a_scheme_is_requested_from_its_host_and_archived(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    # "127.0.0.1:port/…" begins with no letter, so it is no scheme to CKAN.
    url = without_scheme(origin.serve("/x.csv", b"a,b\n"))
    dataset = factories.Dataset(resources=[{"url": url, "format": "CSV"}])
    (only,) = dataset["resources"]
    assert run("SELECT host FROM archiver_request") == [("127.0.0.1",)]
    archive_all()
    row = Archival.get_for_resource(only["id"])
    assert (row.verdict, row.source_url) == ("ok", "http://" + url)
    act("resource_patch", {"id": only["id"], "description": "Words"})
    assert requested() == set(), "the link is the same"
    act("resource_patch", {"id": only["id"], "url": "http://" + url})
    assert requested() == set(), "so it is with the scheme written out"
    shown = show(dataset["id"])["resources"][0]
    assert links.is_about(act("archiver_resource_show", {"id": only["id"]})["source_url"], shown)


def test_text_in_place_of_a_url_is_named_as_such() -> None:
    dataset = factories.Dataset(resources=[{"url": "see our website"}])
    archive_all()
    row = Archival.get_for_resource(dataset["resources"][0]["id"])
    assert (row.verdict, row.detail, row.source_url) == ("broken", "url-prose", "http://see our website")


def test_a_resource_that_moves_to_another_dataset_takes_its_archival_along(origin: Origin) -> None:
    origin.serve("/x.csv", b"a,b\n")
    first = factories.Dataset(resources=[{"url": origin.url("/x.csv")}, {"url": origin.url("/gone.csv")}])
    second = factories.Dataset(resources=[{"url": origin.url("/x.csv")}])
    archive_all()
    assert (facet(first["id"]), facet(second["id"])) == ("broken+copy", "ok+copy")
    good, broken = (resource["id"] for resource in first["resources"])

    for resource_id in (good, broken):
        model.Resource.get(resource_id).package_id = second["id"]
        model.Session.commit()

    assert requested() == set(), "nothing is downloaded again"
    assert (facet(first["id"]), facet(second["id"])) == (None, "broken+copy")
    assert {row.resource_id for row in Archival.get_for_package(second["id"])} >= {good, broken}
    row = Archival.get_for_resource(good)
    assert f"/dataset/{second['id']}/resource/" in row.cache_url
    assert show(second["id"])["archiver"]["is_broken"] is True
    assert "archiver" not in show(first["id"])


def test_the_request_of_a_resource_that_moves_goes_with_it() -> None:
    first = factories.Dataset(resources=[{"url": "http://data.example/x"}])
    second = factories.Dataset()
    model.Resource.get(first["resources"][0]["id"]).package_id = second["id"]
    model.Session.commit()
    assert run("SELECT package_id FROM archiver_request") == [(second["id"],)]


def test_credentials_that_an_editor_removed_are_shown_nowhere(origin: Origin) -> None:
    url = origin.serve("/x.csv", b"a,b\n")
    secret = url.replace("http://", "http://user:geheim@")
    dataset = factories.Dataset(resources=[{"url": secret}])
    (only,) = dataset["resources"]
    archive_all()
    assert Archival.get_for_resource(only["id"]).source_url == secret
    shown = show(dataset["id"])["resources"][0]
    known = act("archiver_resource_show", {"id": only["id"]})
    assert links.is_about(known["source_url"], shown, redact=urls.redact)

    act("resource_patch", {"id": only["id"], "url": url})

    shown = show(dataset["id"])
    assert "geheim" not in json.dumps(shown)
    known = act("archiver_resource_show", {"id": only["id"]})
    assert "geheim" not in json.dumps(known)
    assert not links.is_about(known["source_url"], shown["resources"][0], redact=urls.redact)
