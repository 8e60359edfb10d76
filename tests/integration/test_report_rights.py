"""An extension that decides who may edit a dataset decides who may act on its links."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from ckan.tests import factories, helpers

from ckanext.archiver import clock, link_actions
from ckanext.archiver.link_actions import Selection, rights
from ckanext.archiver.report import reader
from ckanext.archiver.report.filters import ANY, LinkFilter
from report_site import archive, dataset_with, organizations
from rows import run
from site_fixtures import Plugins

__all__ = ["organizations"]

pytestmark = [
    pytest.mark.usefixtures("clean_site"),
    pytest.mark.ckan_config("ckan.plugins", "archiver trustees"),
]

Dict = dict[str, Any]

TRUSTEES = """
import ckan.plugins as p
import ckan.plugins.toolkit as tk
from ckan import model

class Trustees(p.SingletonPlugin):
    p.implements(p.IAuthFunctions)

    def get_auth_functions(self):
        return {"package_update": package_update}

@tk.chained_auth_function
def package_update(next_auth, context, data_dict):
    package = context.get("package") or model.Package.get(data_dict["id"])
    if package.title.startswith("Frozen"):
        return {"success": False, "msg": "frozen"}
    if package.title.startswith("For ") and package.title == f"For {context['user']}":
        return {"success": True}
    return next_auth(context, data_dict)
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugins: Plugins) -> Iterator[None]:
    """The extension, before CKAN loads its plugins."""
    info = tmp_path / "trustees-1.dist-info"
    info.mkdir()
    (tmp_path / "trustees.py").write_text(TRUSTEES)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trustees\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ckan.plugins]\ntrustees = trustees:Trustees\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    plugins.unload()


def reader_of(name: str) -> reader.Reader:
    return reader.of_user(model.User.get(name))


@pytest.fixture
def links(organizations: dict[str, Dict]) -> Dict:
    """Two links of the editor's organization, one of them frozen, and one elsewhere that is given to the editor."""
    factories.UserWithToken(name="editor")
    factories.User(name="stranger")
    helpers.call_action("member_create", id="agency", object="editor", object_type="user", capacity="editor")
    titles = {"usual": ("agency", "Usual"), "frozen": ("agency", "Frozen"), "given": ("council", "For editor")}
    found = {}
    for name, (owner, title) in titles.items():
        dataset = dataset_with([""], organizations[owner], title=title)
        archive(dataset["resources"][0], "ok", permanent_url="https://example.org/0.csv", permanent_seen=3)
        found[name] = dataset["resources"][0]["id"]
    model.Session.commit()
    return found


def test_it_decides_in_a_list(links: Dict) -> None:
    who = reader_of("editor")
    mine = {links["usual"], links["given"]}
    everything, ticked = Selection(LinkFilter(verdict=ANY)), Selection(LinkFilter(), tuple(links.values()))
    tomorrow = clock.utc().date() + datetime.timedelta(days=1)

    assert link_actions.check_again(who, everything) == 2
    assert link_actions.snooze(who, ticked, tomorrow, "x") == 2
    assert {row.resource_id for row in run("SELECT resource_id FROM archiver_snooze")} == mine
    applied = link_actions.take_over(who, ticked)
    assert (applied.edited, applied.failures) == (2, [])
    assert link_actions.history(who)[0]["can_undo"]
    assert {move.resource_id for move in link_actions.undo_moves(who, applied.action_id or 0)} == mine


def test_its_decision_is_on_the_page(links: Dict, app: Any) -> None:
    token = helpers.call_action("api_token_create", {"user": "editor"}, user="editor", name="t")["token"]
    page = app.get("/archiver/links?verdict=any", headers={"Authorization": token}).body
    assert page.count('name="resource_id"') == 2
    assert "0 links" not in page


def test_a_user_who_may_edit_nothing_acts_on_nothing(links: Dict) -> None:
    # Whether there is a dataset for this user, only the extension knows.
    assert link_actions.check_again(reader_of("stranger"), Selection(LinkFilter(verdict=ANY))) == 0
    assert run("SELECT id FROM archiver_action") == []


def test_more_datasets_than_it_is_asked_for_are_refused(links: Dict, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "ASKED", 1)
    with pytest.raises(tk.ValidationError) as error:
        link_actions.check_again(reader_of("editor"), Selection(LinkFilter(verdict=ANY)))
    assert "at most 1 datasets" in str(error.value)
    token = helpers.call_action("api_token_create", {"user": "editor"}, user="editor", name="t")["token"]
    form = {"scope": "filter", "do": "check"}
    page = app.post("/archiver/links?verdict=any", data=form, headers={"Authorization": token}).body
    assert "Select links of at most 1 datasets." in page
    assert run("SELECT id FROM archiver_action") == []
