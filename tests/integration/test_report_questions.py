"""What the pages that ask say of the links, and how the record marks what was undone."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from bs4 import BeautifulSoup
from ckan import model
from ckan.tests import factories, helpers

from ckanext.archiver import clock
from report_site import archive, dataset_with, organizations
from rows import run

__all__ = ["organizations"]

pytestmark = pytest.mark.usefixtures("clean_site")

Dict = dict[str, Any]


@pytest.fixture
def editor(organizations: dict[str, Dict]) -> Dict:
    """The headers of an editor of the agency."""
    token = factories.UserWithToken(name="editor")["token"]
    helpers.call_action("member_create", id="agency", object="editor", object_type="user", capacity="editor")
    return {"Authorization": token}


def ids(dataset: Dict) -> list[str]:
    return [resource["id"] for resource in dataset["resources"]]


def words(node: Any) -> str:
    return " ".join(node.get_text(" ").split())


def ask(app: Any, editor: Dict, what: str, ticked: list[str] | None = None, query: str = "") -> BeautifulSoup:
    form = {"do": what, "scope": "filter" if ticked is None else "ticked", "resource_id": ticked or []}
    return BeautifulSoup(app.post(f"/archiver/links{query}", data=form, headers=editor).body, "html.parser")


def leave_alone(app: Any, editor: Dict, resource_id: str, days: int, reason: str) -> str:
    until = (clock.utc().date() + datetime.timedelta(days=days)).isoformat()
    form = {"do": "snooze", "scope": "ticked", "resource_id": resource_id, "confirmed": "1"}
    app.post("/archiver/links", data={**form, "until": until, "reason": reason}, headers=editor)
    return until


@pytest.mark.parametrize("what", ["check", "snooze", "replace"])
def test_a_question_names_the_links(app: Any, organizations: dict[str, Dict], editor: Dict, what: str) -> None:
    dataset = dataset_with(["broken"] * 7, organizations["agency"], title="<b>Rain</b>")
    one = ask(app, editor, what, ids(dataset)[2:3])
    assert [words(item) for item in one.select(".archiver-named li")] == ["<b>Rain</b> : File 2"]
    many = [words(item) for item in ask(app, editor, what).select(".archiver-named li")]
    assert many == [*(f"<b>Rain</b> : File {number}" for number in range(5)), "and 2 more links"]


def test_one_link_is_not_these_links(app: Any, organizations: dict[str, Dict], editor: Dict) -> None:
    dataset = dataset_with(["broken", "broken"], organizations["agency"])
    assert "this link is not counted as broken" in words(ask(app, editor, "snooze", ids(dataset)[:1]))
    assert "these links are not counted as broken" in words(ask(app, editor, "snooze", ids(dataset)))


def test_where_nothing_is_to_be_done_nothing_is_cancelled(
    app: Any, organizations: dict[str, Dict], editor: Dict
) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    page = ask(app, editor, "redirect", ids(dataset))
    assert "Nothing to do" in words(page.h1)
    assert [words(button) for button in page.select(".archiver-confirm .btn")] == ["Go back"]


def test_the_date_of_a_link_that_is_left_alone_can_be_changed(
    app: Any, organizations: dict[str, Dict], editor: Dict
) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    until = leave_alone(app, editor, ids(dataset)[0], 10, "The server moves")
    record = BeautifulSoup(app.get("/archiver/links/history", headers=editor).body, "html.parser")
    (link,) = (link for link in record.select(".archiver-table a") if "left alone now" in words(link))
    left_alone = BeautifulSoup(app.get(link["href"], headers=editor).body, "html.parser")
    assert "Change the date" in [words(button) for button in left_alone.select(".archiver-act button")]

    question = ask(app, editor, "snooze", ids(dataset), "?verdict=snoozed")

    assert question.select_one("[name=until]")["value"] == until
    assert question.select_one("[name=reason]")["value"] == "The server moves"
    later = leave_alone(app, editor, ids(dataset)[0], 20, "It takes longer")
    assert [(str(row.until), row.reason) for row in run("SELECT until, reason FROM archiver_snooze")] == [
        (later, "It takes longer")
    ]


def test_what_was_undone_is_marked(app: Any, organizations: dict[str, Dict], editor: Dict) -> None:
    dataset = dataset_with(["", ""], organizations["agency"])
    for resource in dataset["resources"]:
        new = resource["url"].replace("http:", "https:")
        archive(resource, "ok", permanent_url=new, permanent_seen=3)
    model.Session.commit()
    question = ask(app, editor, "redirect", query="?moved=1")
    form = {"do": "redirect", "scope": "ticked", "resource_id": ids(dataset), "confirmed": "1"}
    form["shown"] = [field["value"] for field in question.select("[name=shown]")]
    app.post("/archiver/links", data=form, headers=editor)
    (action,) = run("SELECT id FROM archiver_action WHERE kind = 'redirect'")
    # One was edited in between, and stays as it is.
    helpers.call_action("resource_patch", id=ids(dataset)[0], url="http://elsewhere.example/")

    def undo() -> str:
        path = f"/archiver/links/history/{action.id}/undo"
        return words(BeautifulSoup(app.post(path, data={"confirmed": "1"}, headers=editor).body, "html.parser"))

    said = undo()
    assert "1 link has its previous address again." in said
    assert "Used the new address Undone for 1 of 2" in said
    helpers.call_action("resource_patch", id=ids(dataset)[0], url="https://example.org/0.csv")
    assert "Used the new address Undone Rain" in undo().replace(dataset["title"], "Rain")


def test_a_moved_link_can_be_changed_from_its_page(app: Any, organizations: dict[str, Dict], editor: Dict) -> None:
    (resource,) = dataset_with([""], organizations["agency"])["resources"]
    archive(resource, "ok", permanent_url="https://example.org/b.csv", permanent_seen=3)
    model.Session.commit()
    path = f"/dataset/{resource['package_id']}/resource/{resource['id']}"
    assert "Use the new address" not in app.get(path).body
    page = BeautifulSoup(app.get(path, headers=editor).body, "html.parser")
    (button,) = page.select(".archiver-panel button[name=do]")
    form = button.find_parent("form")
    fields = {field["name"]: field["value"] for field in form.select("input")}
    question = app.post(form["action"], data={**fields, "do": button["value"]}, headers=editor).body
    assert "Use the new address of 1 link?" in question
