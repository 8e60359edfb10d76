"""The actions: what they answer, and to whom."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from ckan.tests import factories, helpers

from ckanext.archiver import clock
from ckanext.archiver.model import Archival

pytestmark = pytest.mark.usefixtures("clean_site")

Dict = dict[str, Any]


def archive(resource: Dict, **columns: Any) -> None:
    columns = {"verdict": "ok", "is_broken": False, "status_id": 0, "checked_at": clock.naive_utc()} | columns
    model.Session.add(
        Archival(
            package_id=resource["package_id"],
            resource_id=resource["id"],
            source_url=resource["url"],
            **columns,
        )
    )
    model.Session.commit()


def call_as(user: str, action: str, id_: str) -> Dict:
    """Call as the web does: with the user's own rights."""
    context = {"user": user, "ignore_auth": False}
    answer: Dict = tk.get_action(action)(context, {"id": id_})
    return answer


@pytest.fixture
def private() -> Dict:
    """A private dataset with an archival, its editor and a stranger."""
    editor, stranger = factories.User(), factories.User()
    owner = factories.Organization(users=[{"name": editor["name"], "capacity": "editor"}])
    dataset = factories.Dataset(
        owner_org=owner["id"], private=True, resources=[{"url": "http://example.org/secret.csv"}]
    )
    archive(dataset["resources"][0])
    return {
        "dataset": dataset["id"],
        "resource": dataset["resources"][0]["id"],
        "editor": editor["name"],
        "stranger": stranger["name"],
    }


def test_resource_show_has_what_package_show_has_and_more() -> None:
    resource = factories.Resource(url="http://example.org/a.csv")
    archive(resource, size=12, cache_filepath="/archive/a.csv", url_redirected_to="http://user:secret@example.org/")

    shown = call_as("", "archiver_resource_show", resource["id"])

    assert shown["resource_id"] == resource["id"]
    assert (shown["status"], shown["is_broken"], shown["is_broken_printable"], shown["size"]) == (
        "Archived successfully",
        False,
        "Downloaded OK",
        12,
    )
    dataset = tk.get_action("package_show")({"ignore_auth": True}, {"id": resource["package_id"]})
    in_dataset = dataset["resources"][0]["archiver"]
    assert {key: shown[key] for key in in_dataset} == in_dataset
    assert shown["checked_at"].endswith("+00:00")
    assert "secret" not in str(shown) + str(dataset)
    assert "/archive/a.csv" not in str(shown) + str(dataset), "paths are for sysadmins"
    sysadmin = factories.Sysadmin()["name"]
    assert call_as(sysadmin, "archiver_resource_show", resource["id"])["cache_filepath"] == "/archive/a.csv"


def test_dataset_show_takes_id_or_name_and_tells_of_the_worst_link() -> None:
    dataset = factories.Dataset(resources=[{"url": "http://a.example/"}, {"url": "http://b.example/"}])
    archive(dataset["resources"][0])
    archive(dataset["resources"][1], verdict="broken", is_broken=True, status_id=11, reason="No server.")

    expected = {
        "status_id": 11,
        "status": "URL request failed",
        "reason": "No server.",
        "is_broken": True,
        "verdict": "broken",
    }
    assert call_as("", "archiver_dataset_show", dataset["id"]) == expected
    assert call_as("", "archiver_dataset_show", dataset["name"]) == expected


@pytest.mark.parametrize("what", ["resource", "dataset"])
def test_readers_without_access_get_nothing(private: Dict, what: str) -> None:
    action = f"archiver_{what}_show"

    for user in ("", private["stranger"]):
        with pytest.raises(tk.NotAuthorized):
            call_as(user, action, private[what])
    assert call_as(private["editor"], action, private[what])["status"] == "Archived successfully"


@pytest.mark.parametrize("action", ["archiver_resource_show", "archiver_dataset_show"])
def test_what_is_not_there_is_said_in_a_sentence(action: str) -> None:
    with pytest.raises(tk.ObjectNotFound, match="no-such-thing"):
        call_as("", action, "no-such-thing")


def test_a_link_that_was_never_checked_is_not_found() -> None:
    resource = factories.Resource(url="http://example.org/a.csv")

    with pytest.raises(tk.ObjectNotFound, match="not been checked yet"):
        call_as("", "archiver_resource_show", resource["id"])
    with pytest.raises(tk.ObjectNotFound, match="checked yet"):
        call_as("", "archiver_dataset_show", resource["package_id"])


def test_a_deleted_resource_is_gone() -> None:
    resource = factories.Resource(url="http://example.org/a.csv")
    archive(resource)
    helpers.call_action("resource_delete", id=resource["id"])

    with pytest.raises(tk.ObjectNotFound):
        call_as("", "archiver_resource_show", resource["id"])


@pytest.mark.parametrize("action", ["archiver_resource_show", "archiver_dataset_show"])
@pytest.mark.parametrize("data", [{}, {"id": ""}])
def test_the_id_is_needed(action: str, data: Dict) -> None:
    with pytest.raises(tk.ValidationError) as e:
        tk.get_action(action)({"user": ""}, data)
    assert "id" in e.value.error_dict


@pytest.mark.parametrize("action", ["archiver_resource_show", "archiver_dataset_show"])
def test_the_api_answers_get_requests(app: Any, action: str) -> None:
    resource = factories.Resource(url="http://example.org/a.csv")
    archive(resource)
    id_ = resource["id"] if action == "archiver_resource_show" else resource["package_id"]

    answer = app.get(f"/api/3/action/{action}?id={id_}")

    assert answer.json["result"]["status"] == "Archived successfully"
    assert app.get(f"/api/3/action/{action}?id=nothing", status=404).json["success"] is False
