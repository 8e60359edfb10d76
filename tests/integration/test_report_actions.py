"""The actions of the report."""

from __future__ import annotations

import datetime
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from ckan.tests import factories, helpers

from ckanext.archiver import clock
from report_site import archive, dataset_with, organizations

__all__ = ["organizations"]

pytestmark = pytest.mark.usefixtures("clean_site", "with_request_context")

Dict = dict[str, Any]


def call(action: str, user: str = "", **data: Any) -> Any:
    return tk.get_action(action)({"user": user}, data)


@pytest.fixture
def editor(organizations: dict[str, Dict]) -> str:
    factories.User(name="editor")
    helpers.call_action("member_create", id="agency", object="editor", object_type="user", capacity="editor")
    return "editor"


def test_links_are_listed_page_by_page(organizations: dict[str, Dict]) -> None:
    dataset_with(["broken"] * 3 + ["ok"], organizations["agency"], title="Rain")
    dataset_with(["broken"], organizations["agency"], private=True)
    first = call("archiver_link_list", organization="ministry", include_sub_organizations=True, limit=2)
    assert (first["count"], first["count_is_exact"], len(first["results"])) == (3, True, 2)
    second = call(
        "archiver_link_list", organization="ministry", include_sub_organizations="1", limit=2, after=first["after"]
    )
    assert (second["after"], len(second["results"])) == ("", 1)
    back = call(
        "archiver_link_list",
        organization="ministry",
        include_sub_organizations="1",
        limit=2,
        previous=second["previous"],
    )
    assert (back["results"], back["previous"]) == (first["results"], "")
    row = second["results"][0]
    assert (row["verdict"], row["package_title"], row["has_copy"]) == ("broken", "Rain", False)
    assert call("archiver_link_list", verdict="ok")["count"] == 1


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"verdict": "dead"}, "verdict"),
        ({"since": "x"}, "since"),
        ({"after": "x"}, "after"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"has_copy": "maybe"}, "has_copy"),
        ({"q": {"a": 1}}, "q"),
    ],
)
def test_a_bad_value_is_a_validation_error(data: Dict, field: str | None) -> None:
    if field is None:
        assert call("archiver_link_list", **data)["count"] == 0
        return
    with pytest.raises(tk.ValidationError) as caught:
        call("archiver_link_list", **data)
    assert field in caught.value.error_dict


def test_an_unknown_organization_is_not_found() -> None:
    for action in ("archiver_link_list", "archiver_summary"):
        with pytest.raises(tk.ObjectNotFound):
            call(action, organization="nobody")


def test_the_summary_has_the_numbers_of_the_overview(organizations: dict[str, Dict]) -> None:
    dataset = dataset_with(["broken", "ok", ""], organizations["agency"])
    dataset_with(["broken"], organizations["council"])
    dataset_with(["broken"], organizations["agency"], private=True)
    now = clock.naive_utc()
    archive(dataset["resources"][2], "broken", cause="gone", broken_since=now - datetime.timedelta(days=8))
    model.Session.commit()

    summary = call("archiver_summary", organization="ministry", include_sub_organizations=True)

    assert summary["links"] == {"broken": 2, "ok": 1}
    assert summary["datasets"] == {"broken": 1, "ok": 0}
    assert summary["causes"] == {"": 1, "gone": 1}
    assert summary["newly_broken"] == {"7_days": 0, "30_days": 1}
    assert summary["repaired"] == {"7_days": 0, "30_days": 0}
    assert sorted((group["cause"], group["links"]) for group in summary["groups"]) == [("", 1), ("gone", 1)]
    assert summary["counted_at"] is None
    assert call("archiver_summary")["links"] == {"broken": 3, "ok": 1}


def test_a_new_address_is_applied(organizations: dict[str, Dict], editor: str) -> None:
    dataset = dataset_with([""], organizations["agency"])
    archive(dataset["resources"][0], "ok", permanent_url="https://example.org/new.csv", permanent_seen=3)
    model.Session.commit()
    id_ = dataset["resources"][0]["id"]

    tried = call("archiver_redirect_apply", editor, ids=[id_], dry_run=True)
    assert tried["moves"] == [
        {
            "resource_id": id_,
            "old_url": "http://example.org/0.csv",
            "new_url": "https://example.org/new.csv",
            "obstacle": "",
        }
    ]
    assert (tried["edited"], tried["action_id"]) == (0, None)
    assert call("resource_show", editor, id=id_)["url"] == "http://example.org/0.csv"

    done = call("archiver_redirect_apply", editor, ids=[id_])
    assert (done["edited"], done["failures"]) == (1, [])
    assert call("resource_show", editor, id=id_)["url"] == "https://example.org/new.csv"


def test_links_are_snoozed_and_woken(organizations: dict[str, Dict], editor: str) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    ids = [dataset["resources"][0]["id"]]
    until = (clock.utc().date() + datetime.timedelta(days=5)).isoformat()
    assert call("archiver_snooze", editor, ids=ids, until=until, reason="Soon") == {"links": 1}
    assert call("archiver_link_list")["count"] == 0
    assert call("archiver_link_list", verdict="snoozed")["count"] == 1
    assert call("archiver_snooze", editor, ids=ids) == {"links": 1}
    assert call("archiver_link_list")["count"] == 1
    with pytest.raises(tk.ValidationError):
        call("archiver_snooze", editor, ids=ids, until="tomorrow", reason="Soon")


@pytest.mark.parametrize("action", ["archiver_redirect_apply", "archiver_snooze"])
def test_without_a_right_to_edit_no_action_is_allowed(organizations: dict[str, Dict], action: str) -> None:
    factories.User(name="reader")
    for user in ("", "reader"):
        with pytest.raises(tk.NotAuthorized):
            call(action, user, ids=["x"])


@pytest.mark.parametrize("ids", [[], {}, 7, [7], ["\x00"], ["x"] * 201])
def test_bad_ids_are_a_validation_error(organizations: dict[str, Dict], editor: str, ids: Any) -> None:
    with pytest.raises(tk.ValidationError):
        call("archiver_snooze", editor, ids=ids)


@pytest.mark.parametrize("value", ["dry", [], {}, [True], 2, "2"])
def test_a_switch_that_is_not_understood_edits_nothing(organizations: dict[str, Dict], editor: str, value: Any) -> None:
    dataset = dataset_with([""], organizations["agency"])
    archive(dataset["resources"][0], "ok", permanent_url="https://example.org/0.csv", permanent_seen=3)
    model.Session.commit()
    ids = [resource["id"] for resource in dataset["resources"]]
    with pytest.raises(tk.ValidationError) as raised:
        call("archiver_redirect_apply", editor, ids=ids, dry_run=value)
    assert set(raised.value.error_dict) == {"dry_run"}
    for understood in ("true", " on ", 1, True):
        assert call("archiver_redirect_apply", editor, ids=ids, dry_run=understood)["edited"] == 0


def test_code_without_a_user_leaves_links_alone(organizations: dict[str, Dict]) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    day = (clock.utc().date() + datetime.timedelta(days=3)).isoformat()
    found = tk.get_action("archiver_snooze")(
        {"ignore_auth": True}, {"ids": [dataset["resources"][0]["id"]], "until": day, "reason": "x"}
    )
    assert found == {"links": 1}
    week = {"ids": [dataset["resources"][0]["id"]], "until": "2026-W50-1", "reason": "x"}
    with pytest.raises(tk.ValidationError):
        tk.get_action("archiver_snooze")({"ignore_auth": True}, week)
