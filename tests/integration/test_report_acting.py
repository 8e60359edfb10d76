"""Acting on links from the report: who may, what happens, and what is recorded."""

from __future__ import annotations

import dataclasses
import datetime
import re
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from bs4 import BeautifulSoup
from ckan import model
from ckan.tests import factories, helpers
from flask_login import FlaskLoginClient

from ckanext.archiver import clock, link_actions, rollup, tasks
from ckanext.archiver.link_actions import Selection, addresses, checks
from ckanext.archiver.model import Archival
from ckanext.archiver.queue import pauses
from ckanext.archiver.report import counts, feed, groups, listing, reader
from ckanext.archiver.report.filters import STATES, LinkFilter
from report_site import archive, dataset_with, organizations
from rows import run

__all__ = ["organizations"]

pytestmark = pytest.mark.usefixtures("clean_site")

Dict = dict[str, Any]
DAY = datetime.timedelta(days=1)


def reader_of(name: str) -> reader.Reader:
    return reader.of_user(model.User.get(name))


def ids(dataset: Dict) -> tuple[str, ...]:
    return tuple(resource["id"] for resource in dataset["resources"])


@pytest.fixture
def people(organizations: dict[str, Dict]) -> dict[str, Dict]:
    """An editor of the agency, a member who only reads there, and a sysadmin; ``{name: headers of their token}``."""
    headers = {}
    for name, make in (
        ("editor", factories.UserWithToken),
        ("member", factories.UserWithToken),
        ("boss", factories.SysadminWithToken),
    ):
        headers[name] = {"Authorization": make(name=name)["token"]}
    for name in ("editor", "member"):
        helpers.call_action("member_create", id="agency", object=name, object_type="user", capacity=name)
    return headers


def requested() -> dict[str, str]:
    return {row.resource_id: row.queue for row in run("SELECT resource_id, queue FROM archiver_request")}


def without_requests() -> None:
    run("DELETE FROM archiver_request")


# -- checking again -----------------------------------------------------------------------------------------


def test_ticked_links_are_checked_again_at_once(organizations: dict[str, Dict], people: Any) -> None:
    mine = dataset_with(["broken", "broken", "ok"], organizations["agency"])
    theirs = dataset_with(["broken"], organizations["council"])
    without_requests()
    ticked = (ids(mine)[0], ids(mine)[2], ids(theirs)[0], "nothing")

    count = link_actions.check_again(reader_of("editor"), Selection(LinkFilter(), ticked))

    assert count == 2
    assert requested() == {ids(mine)[0]: "priority", ids(mine)[2]: "priority"}
    (action,) = link_actions.history(reader_of("editor"))
    assert (action["user_name"], action["kind"], action["links"], action["selection"]) == ("editor", "check", 2, {})


def test_a_whole_filter_is_checked_again_and_goes_to_bulk_where_it_is_large(
    organizations: dict[str, Dict], people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "URGENT", 2)
    dataset_with(["broken"] * 3 + ["ok"], organizations["agency"])
    without_requests()

    count = link_actions.check_again(reader_of("boss"), Selection(LinkFilter(organization="agency")))

    assert count == 3
    assert list(requested().values()) == ["bulk"] * 3
    (action,) = link_actions.history(reader_of("boss"))
    assert action["selection"] == {"organization": "agency"}


@pytest.mark.parametrize("name", ["member"])
def test_without_a_right_to_edit_nothing_is_done(organizations: dict[str, Dict], people: Any, name: str) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    without_requests()
    selection = Selection(LinkFilter(), ids(dataset))
    who = reader_of(name)
    for act in (
        lambda: link_actions.check_again(who, selection),
        lambda: link_actions.snooze(who, selection, clock.utc().date() + DAY, "why"),
        lambda: link_actions.wake(who, selection),
        lambda: link_actions.take_over(who, selection),
        lambda: link_actions.undo(who, 1),
    ):
        with pytest.raises(tk.NotAuthorized):
            act()
    assert requested() == {}
    assert run("SELECT 1 FROM archiver_action") == []


def test_a_group_that_was_checked_again_shows_how_far_it_is(organizations: dict[str, Dict], people: Any) -> None:
    dataset = dataset_with(["broken"] * 3, organizations["agency"])
    run("UPDATE archival SET cause = 'gone', checked_at = timezone('utc', now()) - interval '1 hour'")
    (group,) = groups.largest(LinkFilter(), reader.EVERYBODY)
    assert (group.cause, group.host, group.links, group.datasets) == ("gone", "example.org", 3, 1)
    assert link_actions.progress([group], reader_of("boss")) == {}

    link_actions.check_again(reader_of("editor"), Selection(LinkFilter(cause="gone", host="example.org")))
    later = "checked_at = timezone('utc', now()) + interval '1 minute'"
    run(f"UPDATE archival SET {later}, is_broken = false, verdict = 'ok' WHERE resource_id = :id", id=ids(dataset)[0])
    run(f"UPDATE archival SET {later} WHERE resource_id = :id", id=ids(dataset)[1])

    progress = link_actions.progress([group], reader_of("boss"))[("gone", "example.org")]
    assert (progress.links, progress.checked, progress.working) == (3, 2, 1)


def test_what_no_page_shows_any_more_is_deleted(organizations: dict[str, Dict], people: Any) -> None:
    checked, taken = dataset_with(["broken"], organizations["agency"]), moved(organizations["agency"])
    who = reader_of("editor")
    link_actions.check_again(who, Selection(LinkFilter(), ids(checked)))
    link_actions.take_over(who, Selection(LinkFilter(), ids(taken)))
    link_actions.snooze(who, Selection(LinkFilter(), ids(checked)), clock.utc().date() + DAY, "Soon")
    run("UPDATE archiver_action SET at = now() - interval '31 days'")
    run("UPDATE archiver_snooze SET until = until - 5")

    rollup.refresh()

    assert [row.resource_id for row in run("SELECT resource_id FROM archiver_action_link")] == [ids(taken)[0]]
    assert run("SELECT 1 FROM archiver_snooze") == []
    assert len(link_actions.history(who)) == 3


# -- leaving alone ------------------------------------------------------------------------------------------


def test_a_link_is_left_alone_and_counted_again(organizations: dict[str, Dict], people: Any) -> None:
    dataset = dataset_with(["broken", "broken"], organizations["agency"])
    who, selection = reader_of("editor"), Selection(LinkFilter(), ids(dataset)[:1])

    assert link_actions.snooze(who, selection, clock.utc().date() + 3 * DAY, "A new server in three days") == 1

    assert listing.total(LinkFilter(), reader.EVERYBODY).links == 1
    (row,) = listing.page(LinkFilter(verdict="snoozed"), reader.EVERYBODY).rows
    assert (row["resource_id"], row["snooze_reason"]) == (ids(dataset)[0], "A new server in three days")

    assert link_actions.wake(who, selection) == 1
    assert listing.total(LinkFilter(), reader.EVERYBODY).links == 2
    assert [action["kind"] for action in link_actions.history(who)] == ["wake", "snooze"]


@pytest.mark.parametrize(
    ("days", "reason", "field"),
    [(0, "why", "until"), (-1, "why", "until"), (400, "why", "until"), (3, " ", "reason"), (3, "x" * 501, "reason")],
)
def test_a_bad_day_or_reason_is_refused(
    organizations: dict[str, Dict], people: Any, days: int, reason: str, field: str
) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    with pytest.raises(tk.ValidationError) as caught:
        link_actions.snooze(
            reader_of("editor"), Selection(LinkFilter(), ids(dataset)), clock.utc().date() + days * DAY, reason
        )
    assert field in caught.value.error_dict
    assert run("SELECT 1 FROM archiver_snooze") == []


# -- new addresses ------------------------------------------------------------------------------------------


def moved(owner: Dict, seen: int = 3, **fields: Any) -> Dict:
    """A dataset whose one link has moved for good."""
    dataset = dataset_with([""], owner, **fields)
    archive(dataset["resources"][0], "ok", permanent_url="https://example.org/0.csv", permanent_seen=seen)
    model.Session.commit()
    return dataset


def shown(question: str) -> Dict:
    """What the form says that it has shown."""
    fields = BeautifulSoup(question, "html.parser").select("input[name=shown]")
    return {"shown": [field["value"] for field in fields]}


def url_of(dataset: Dict) -> str:
    model.Session.expire_all()
    return str(model.Resource.get(ids(dataset)[0]).url)


def test_a_new_address_is_taken_over_and_back(organizations: dict[str, Dict], people: Any) -> None:
    dataset = moved(organizations["agency"])
    who, selection = reader_of("editor"), Selection(LinkFilter(), ids(dataset))
    (move,) = link_actions.moves(who, selection)
    assert (move.old_url, move.new_url, move.obstacle) == (
        "http://example.org/0.csv",
        "https://example.org/0.csv",
        "",
    )

    applied = link_actions.take_over(who, selection)

    assert (applied.edited, applied.failures) == (1, [])
    assert url_of(dataset) == "https://example.org/0.csv"
    (action,) = link_actions.history(who)
    assert (action["kind"], action["links"], action["can_undo"]) == ("redirect", 1, True)

    undone = link_actions.undo(who, applied.action_id)
    assert (undone.edited, undone.failures) == (1, [])
    assert url_of(dataset) == "http://example.org/0.csv"
    assert [action["can_undo"] for action in link_actions.history(who)] == [False, False]
    with pytest.raises(tk.ObjectNotFound):
        link_actions.undo(who, applied.action_id)


@pytest.mark.parametrize(
    ("fields", "seen", "sentence"),
    [
        ({}, 2, "Confirmed by 2 of 3 checks."),
        (
            {"extras": [{"key": "harvest_source_title", "value": "City"}, {"key": "harvest_object_id", "value": "x"}]},
            3,
            "The dataset is harvested: correct the address at City.",
        ),
    ],
)
@pytest.mark.usefixtures("with_request_context")
def test_the_obstacle_is_named(
    organizations: dict[str, Dict], people: Any, fields: Dict, seen: int, sentence: str
) -> None:
    dataset = moved(organizations["agency"], seen, **fields)
    who, selection = reader_of("editor"), Selection(LinkFilter(), ids(dataset))

    assert [move.obstacle for move in link_actions.moves(who, selection)] == [sentence]
    assert link_actions.take_over(who, selection).edited == 0
    assert url_of(dataset) == "http://example.org/0.csv"


def test_a_link_that_was_edited_since_is_left_as_it_is(organizations: dict[str, Dict], people: Any) -> None:
    dataset = moved(organizations["agency"])
    who, selection = reader_of("editor"), Selection(LinkFilter(), ids(dataset))
    applied = link_actions.take_over(who, selection)
    helpers.call_action("resource_patch", id=ids(dataset)[0], url="http://example.org/better.csv")

    undone = link_actions.undo(who, applied.action_id)

    assert undone.edited == 0
    assert [sentence for _, sentence in undone.failures] == ["edited since, and left as it is"]
    assert url_of(dataset) == "http://example.org/better.csv"


def test_own_changes_can_be_undone_for_thirty_days(organizations: dict[str, Dict], people: Any) -> None:
    dataset = moved(organizations["agency"])
    applied = link_actions.take_over(reader_of("boss"), Selection(LinkFilter(), ids(dataset)))
    with pytest.raises(tk.ObjectNotFound):
        link_actions.undo(reader_of("editor"), applied.action_id)
    assert link_actions.history(reader_of("editor")) == []
    run("UPDATE archiver_action SET at = now() - interval '31 days'")
    with pytest.raises(tk.ObjectNotFound):
        link_actions.undo(reader_of("boss"), applied.action_id)


# -- pages --------------------------------------------------------------------------------------------------


def test_the_page_asks_first(app: Any, organizations: dict[str, Dict], people: dict[str, Dict]) -> None:
    dataset = dataset_with(["broken", "broken"], organizations["agency"])
    without_requests()
    headers = people["editor"]
    page = app.get("/archiver/links", headers=headers).body
    assert page.count('name="resource_id"') == 2
    form = {"scope": "ticked", "resource_id": ids(dataset)[0], "do": "check"}

    question = app.post("/archiver/links", data=form, headers=headers).body
    assert "Check 1 link again?" in question
    assert requested() == {}

    hidden = {
        field["name"]: field["value"]
        for field in BeautifulSoup(question, "html.parser").select(".archiver-confirm input[type=hidden]")
        if field["name"] != "_csrf_token"
    }
    assert hidden == form
    answer = app.post("/archiver/links", data={**hidden, "confirmed": "1"}, headers=headers)
    assert "1 link will be checked again." in answer.body
    assert "1 link of this page is being checked." in answer.body
    assert requested() == {ids(dataset)[0]: "priority"}


def test_a_group_is_checked_from_the_overview_and_shows_there_how_far_it_is(
    app: Any, organizations: dict[str, Dict], people: dict[str, Dict]
) -> None:
    dataset_with(["broken", "broken"], organizations["agency"])
    form = {"scope": "filter", "do": "check", "from": "overview"}
    question = app.post("/archiver/links?host=example.org", data=form, headers=people["editor"]).body
    assert '<input type="hidden" name="from" value="overview">' in question
    answer = app.post(
        "/archiver/links?host=example.org",
        data={**form, "confirmed": "1"},
        headers=people["editor"],
        follow_redirects=False,
    )
    assert answer.headers["Location"].endswith("/report/broken-links#archiver-groups")


def test_the_snooze_page_asks_for_a_day_and_a_reason(app: Any, organizations: dict[str, Dict], people: Any) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    form = {"scope": "ticked", "resource_id": ids(dataset)[0], "do": "snooze"}
    headers = people["editor"]
    question = app.post("/archiver/links", data=form, headers=headers).body
    assert 'name="until"' in question
    wrong = app.post("/archiver/links", data={**form, "confirmed": "1", "until": "2001-01-01"}, headers=headers).body
    assert "The day must come after today" in wrong
    wrong = app.post("/archiver/links", data={**form, "confirmed": "1", "until": "soon"}, headers=headers).body
    assert "until is a day like 2026-10-31." in wrong
    day = (clock.utc().date() + DAY).isoformat()
    right = {**form, "confirmed": "1", "until": day, "reason": "<b>soon</b>"}
    assert app.post("/archiver/links", data=right, headers=headers, follow_redirects=False).status_code == 302
    page = app.get("/archiver/links?verdict=snoozed").body
    assert "&lt;b&gt;soon&lt;/b&gt;" in page
    history = app.get("/archiver/links/history", headers=headers).body
    assert "&lt;b&gt;soon&lt;/b&gt;" in history


def test_the_redirect_page_shows_old_and_new(app: Any, organizations: dict[str, Dict], people: Any) -> None:
    dataset = moved(organizations["agency"])
    headers, form = people["editor"], {"scope": "filter", "do": "redirect"}
    question = app.post("/archiver/links?moved=1", data=form, headers=headers).body
    assert "http://example.org/0.csv" in question
    assert "https://example.org/0.csv" in question
    assert question.count('name="resource_id"') == 1
    # The whole filter is never edited: only what was shown and ticked.
    unticked = {**form, "confirmed": "1"}
    app.post("/archiver/links?moved=1", data=unticked, headers=headers, follow_redirects=False)
    assert url_of(dataset) == "http://example.org/0.csv"
    ticked = {"scope": "ticked", "resource_id": ids(dataset)[0], "do": "redirect", "confirmed": "1"}
    app.post("/archiver/links?moved=1", data=ticked | shown(question), headers=headers, follow_redirects=False)
    assert url_of(dataset) == "https://example.org/0.csv"

    (action,) = link_actions.history(reader_of("editor"))
    (example,) = action["examples"]
    assert (example["old_url"], example["new_url"]) == ("http://example.org/0.csv", "https://example.org/0.csv")
    assert example["new_url"] in app.get("/archiver/links/history", headers=headers).body
    undo = f"/archiver/links/history/{action['id']}/undo"
    question = app.post(undo, headers=headers).body
    assert "Undo this?" in question
    assert 'type="checkbox"' not in question
    app.post(undo, data={"confirmed": "1"}, headers=headers, follow_redirects=False)
    assert url_of(dataset) == "http://example.org/0.csv"


@pytest.mark.parametrize(
    ("name", "form", "status"),
    [
        ("", {"do": "check", "scope": "filter"}, 403),
        ("member", {"do": "check", "scope": "filter", "confirmed": "1"}, 403),
        ("editor", {"do": "dance", "scope": "filter"}, 400),
        ("editor", {"do": "check", "resource_id": "\x00"}, 400),
    ],
)
def test_a_wrong_request_is_answered_in_a_sentence(
    app: Any, organizations: dict[str, Dict], people: dict[str, Dict], name: str, form: Dict, status: int
) -> None:
    dataset_with(["broken"], organizations["agency"])
    without_requests()
    answer = app.post("/archiver/links", data=form, headers=people.get(name, {}), status=status, follow_redirects=False)
    assert answer.status_code == status
    assert requested() == {}


def test_a_form_without_a_tick_is_an_error(app: Any, organizations: dict[str, Dict], people: dict[str, Dict]) -> None:
    answer = app.post("/archiver/links", data={"do": "check", "scope": "ticked"}, headers=people["editor"])
    assert "Tick at least one link first." in answer.body


# -- what a check notes for it ------------------------------------------------------------------------------


def test_a_check_notes_that_a_redirect_stays(organizations: dict[str, Dict], origin: Any) -> None:
    old = origin.redirect("/old/0.csv", origin.serve("/moved/0.csv", b"a,b\n1,2\n"), 301)
    dataset = factories.Dataset(owner_org=organizations["agency"]["id"], resources=[{"url": old}])
    for seen in (1, 2, 3):
        tasks.update_resource(ids(dataset)[0], "bulk")
        model.Session.expire_all()
        archival = Archival.get_for_resource(ids(dataset)[0])
        assert archival is not None
        assert (archival.permanent_seen, archival.host) == (seen, "127.0.0.1")


# -- a server that has moved --------------------------------------------------------------------------------


@pytest.mark.ckan_config("ckanext-archiver.allowed_addresses", "127.0.0.0/8")
def test_a_server_that_has_moved_is_replaced_where_the_new_address_works(
    app: Any, organizations: dict[str, Dict], people: dict[str, Dict], origin: Any
) -> None:
    works = origin.serve("/new/0.csv", b"a,b\n1,2\n", content_type="text/csv")
    new = works.removesuffix("0.csv")
    dataset = factories.Dataset(
        owner_org=organizations["agency"]["id"],
        resources=[{"url": f"http://old.example/files/{n}.csv", "name": f"File {n}"} for n in (0, 1)]
        + [{"url": "http://other.example/files/2.csv", "name": "Other"}],
    )
    for resource in dataset["resources"]:
        archive(resource, "broken")
    model.Session.commit()
    headers = people["editor"]
    form = {"scope": "filter", "do": "replace"}
    assert 'name="old_prefix"' in app.post("/archiver/links", data=form, headers=headers).body
    one_server = {"scope": "ticked", "resource_id": list(ids(dataset)[:2]), "do": "replace"}
    assert 'value="http://old.example/"' in app.post("/archiver/links", data=one_server, headers=headers).body
    form |= {"old_prefix": "http://old.example/files/", "new_prefix": new}

    question = BeautifulSoup(app.post("/archiver/links", data=form, headers=headers).body, "html.parser")

    ticks = [box["value"] for box in question.select("td input[type=checkbox]")]
    assert ticks == [ids(dataset)[0]]
    assert "The new address does not work" in question.get_text()
    assert "other.example" not in question.get_text()
    # Other beginnings can be tried from there.
    again, save = question.select(".archiver-confirm")
    assert again.select_one("[name=scope]")["value"] == "filter"
    assert again.select_one("button").text == "Check the new addresses"
    assert save.select_one("button[name=confirmed]").text == "Replace"
    # A tick that was not offered changes nothing.
    ticked = {**form, "scope": "ticked", "resource_id": list(ids(dataset)), "confirmed": "1", **shown(str(question))}
    app.post("/archiver/links", data=ticked, headers=headers, follow_redirects=False)
    model.Session.expire_all()
    assert [model.Resource.get(id_).url for id_ in ids(dataset)] == [
        works,
        "http://old.example/files/1.csv",
        "http://other.example/files/2.csv",
    ]
    (action,) = link_actions.history(reader_of("editor"))
    assert (action["kind"], action["links"], action["note"]) == ("replace", 1, f"http://old.example/files/ → {new}")


@pytest.mark.parametrize("prefix", ["", "files/", "ftp://a.example/", "http://", "http:///x"])
@pytest.mark.usefixtures("with_request_context")
def test_the_beginning_of_an_address_has_a_server(organizations: dict[str, Dict], people: Any, prefix: str) -> None:
    for pair in ((prefix, "http://a.example/"), ("http://a.example/", prefix)):
        with pytest.raises(
            tk.ValidationError, match="beginning of an address with its server|no server name after the //"
        ):
            link_actions.replacements(reader_of("editor"), Selection(LinkFilter()), *pair)


def test_a_check_that_the_api_requests_is_on_record(organizations: dict[str, Dict], people: Any) -> None:
    dataset = dataset_with(["broken", "ok"], organizations["agency"])
    without_requests()
    Archival.get_for_resource(ids(dataset)[0]).checked_at = clock.naive_utc() - DAY
    model.Session.commit()
    for id_ in (ids(dataset)[0], dataset["id"]):
        helpers.call_action("archiver_check", {"user": "editor", "ignore_auth": False}, id=id_)
    # The other link of the dataset was checked less than a minute ago.
    assert [(action["kind"], action["links"]) for action in link_actions.history(reader_of("editor"))] == [
        ("check", 1),
        ("check", 1),
    ]


def test_an_address_that_was_not_seen_often_enough_can_be_checked_from_the_question(
    app: Any, organizations: dict[str, Dict], people: dict[str, Dict]
) -> None:
    dataset = moved(organizations["agency"], seen=1)
    form = {"scope": "ticked", "resource_id": ids(dataset)[0], "do": "redirect"}
    question = app.post("/archiver/links?moved=1", data=form, headers=people["editor"]).body
    assert "Confirmed by 1 of 3 checks." in question
    forms = BeautifulSoup(question, "html.parser").select(".archiver-confirm")
    (check,) = [form for form in forms if form.select_one("button[value=check]")]
    assert check.select_one("button").text == "Check 1 link now"
    sent = {field["name"]: field["value"] for field in check.select("input, button")}
    without_requests()
    app.post("/archiver/links?moved=1", data=sent, headers=people["editor"])
    assert requested() == {ids(dataset)[0]: "priority"}


def test_what_a_reader_may_not_see_any_more_is_not_on_record_by_name(
    organizations: dict[str, Dict], people: Any
) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    who = reader_of("editor")
    link_actions.check_again(who, Selection(LinkFilter(), ids(dataset)))
    helpers.call_action("package_patch", id=dataset["id"], private=True)
    helpers.call_action("member_delete", id="agency", object="editor", object_type="user")
    (action,) = link_actions.history(reader_of("editor"))
    assert (action["links"], action["examples"]) == (1, [])


@pytest.mark.parametrize(
    ("old", "sentence"),
    [
        ("files.old.example", "is not the beginning of an address with its server"),
        ("http://[x/", "The brackets in the URL do not contain an IPv6 address."),
        ("http://old.example:1/", "This portal does not allow its archiver to connect to this port."),
    ],
)
def test_a_beginning_that_is_none_is_named(
    app: Any, organizations: dict[str, Dict], people: dict[str, Dict], old: str, sentence: str
) -> None:
    dataset_with(["broken"], organizations["agency"])
    form = {"scope": "filter", "do": "replace", "old_prefix": old, "new_prefix": "http://new.example/"}
    page = BeautifulSoup(app.post("/archiver/links", data=form, headers=people["editor"]).body, "html.parser")
    assert sentence in page.select_one(".alert-danger").text


def test_the_page_of_a_resource_says_until_when_it_is_left_alone(
    app: Any, organizations: dict[str, Dict], people: Any
) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    day = clock.utc().date() + 30 * DAY
    link_actions.snooze(reader_of("editor"), Selection(LinkFilter(), ids(dataset)), day, "a <new> server")
    page = app.get(f"/dataset/{dataset['name']}/resource/{ids(dataset)[0]}").body
    assert re.search(rf"Left alone until \w+ {day.day}, {day.year}: a &lt;new&gt; server", page)
    assert "There is no cached copy." in page


# -- what changes while a person looks at the question ----------------------------------------------------------------


def test_nothing_is_saved_but_what_was_shown(app: Any, organizations: dict[str, Dict], people: Any) -> None:
    dataset = moved(organizations["agency"])
    form = {"scope": "ticked", "resource_id": ids(dataset)[0], "do": "redirect"}
    question = app.post("/archiver/links?moved=1", data=form, headers=people["editor"]).body
    Archival.get_for_resource(ids(dataset)[0]).permanent_url = "http://evil.example/x"
    model.Session.commit()
    for sent in (shown(question), {}):
        answer = app.post(
            "/archiver/links?moved=1", data={**form, **sent, "confirmed": "1"}, headers=people["editor"]
        ).body
        assert "The addresses have changed since they were shown: look at them again." in answer
    assert url_of(dataset) == "http://example.org/0.csv"


def test_an_edit_that_comes_before_ours_is_kept(
    organizations: dict[str, Dict], people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = moved(organizations["agency"])
    move = addresses.moves

    def edited_meanwhile(*args: Any) -> Any:
        found = move(*args)
        helpers.call_action("resource_patch", id=ids(dataset)[0], url="http://by-hand.example/")
        return found

    monkeypatch.setattr(addresses, "moves", edited_meanwhile)
    applied = link_actions.take_over(reader_of("editor"), Selection(LinkFilter(), ids(dataset)))
    assert (applied.edited, [sentence for _, sentence in applied.failures]) == (0, ["edited since, and left as it is"])
    assert url_of(dataset) == "http://by-hand.example/"


def test_what_ckan_refuses_without_a_word_is_not_done(
    organizations: dict[str, Dict], people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another resource of the dataset is what it does not accept."""
    dataset = moved(organizations["agency"])
    who, selection = reader_of("editor"), Selection(LinkFilter(), ids(dataset))
    applied = link_actions.take_over(who, selection)
    get_action = tk.get_action

    def refusing(name: str) -> Any:
        def refuse(context: Dict, data: Dict) -> Any:
            raise tk.ValidationError({})

        return refuse if name == "resource_patch" else get_action(name)

    monkeypatch.setattr(tk, "get_action", refusing)
    undone = link_actions.undo(who, applied.action_id)
    assert (undone.edited, len(undone.failures)) == (0, 1)
    monkeypatch.setattr(tk, "get_action", get_action)
    assert link_actions.undo(who, applied.action_id).edited == 1


def test_nothing_is_undone_or_shown_where_the_right_is_lost(
    app: Any, organizations: dict[str, Dict], people: Any
) -> None:
    dataset = moved(organizations["agency"])
    applied = link_actions.take_over(reader_of("editor"), Selection(LinkFilter(), ids(dataset)))
    helpers.call_action("member_create", id="council", object="editor", object_type="user", capacity="editor")
    helpers.call_action("member_delete", id="agency", object="editor", object_type="user")
    helpers.call_action("package_patch", id=dataset["id"], private=True, title="SECRET TITLE")
    answer = app.post(f"/archiver/links/history/{applied.action_id}/undo", headers=people["editor"])
    assert (answer.status_code, "SECRET TITLE" in answer.body) == (404, False)
    (action,) = link_actions.history(reader_of("editor"))
    assert not action["can_undo"]


def test_the_progress_of_a_group_counts_what_a_reader_may_see(organizations: dict[str, Dict], people: Any) -> None:
    public = dataset_with(["broken"], organizations["agency"])
    dataset_with(["broken"] * 5, organizations["agency"], private=True)
    run("UPDATE archival SET cause = 'gone', host = 'h.example'")
    group = LinkFilter(cause="gone", host="h.example")
    link_actions.check_again(reader_of("boss"), Selection(group))
    found = groups.largest(LinkFilter(), reader_of("boss"))
    factories.User(name="outsider")
    counted = {name: link_actions.progress(found, reader_of(name)) for name in ("boss", "outsider")}
    assert [list(progress.values())[0].links for progress in counted.values()] == [6, 1]
    # Part of a group is not the group.
    part = dataclasses.replace(group, organization="agency", q=public["name"])
    link_actions.check_again(reader_of("boss"), Selection(part))
    assert list(link_actions.progress(found, reader_of("boss")).values())[0].links == 6


@pytest.mark.ckan_config("ckan.auth.allow_dataset_collaborators", True)
def test_a_collaborator_acts_on_their_dataset(app: Any, organizations: dict[str, Dict], people: Any) -> None:
    dataset = moved(organizations["agency"], private=True)
    other = moved(organizations["agency"])
    user = factories.UserWithToken(name="collaborator")
    for capacity, allowed in (("member", False), ("editor", True)):
        helpers.call_action("package_collaborator_create", id=dataset["id"], user_id=user["id"], capacity=capacity)
        assert link_actions.may_edit_anything(reader_of("collaborator")) is allowed
    who = reader_of("collaborator")
    assert link_actions.take_over(who, Selection(LinkFilter(), (*ids(dataset), *ids(other)))).edited == 1
    assert url_of(dataset) == "https://example.org/0.csv"
    page = app.get("/archiver/links?verdict=any", headers={"Authorization": user["token"]}).body
    assert page.count('name="resource_id"') == 1
    mine = app.get("/archiver/links?mine=1&verdict=any", headers={"Authorization": user["token"]}).body
    assert mine.count('name="resource_id"') == 1


@pytest.mark.parametrize(
    ("old", "new", "whole"),
    [
        ("http://a.example", "http://b.example", ("http://a.example/", "http://b.example/")),
        ("http://a.example/", "http://b.example", ("http://a.example/", "http://b.example/")),
        ("http://a.example/x/", "http://b.example/y", ("http://a.example/x/", "http://b.example/y/")),
        ("http://a.example/x", "http://b.example/y", ("http://a.example/x", "http://b.example/y")),
        ("http://a.example/x", "http://b.example/y/", ("http://a.example/x", "http://b.example/y/")),
        ("http://a.example/x", "http://b.example", ("http://a.example/x", "http://b.example/")),
        ("http://a.example/x/", "http://b.example/?f=", ("http://a.example/x/", "http://b.example/?f=")),
        ("http://a.example?id=", "http://b.example/", ("http://a.example?id=", "http://b.example/")),
    ],
)
def test_a_beginning_ends_where_a_name_does(old: str, new: str, whole: tuple[str, str]) -> None:
    """``http://files.old.example`` is not the beginning of ``http://files.old.example.org/``."""
    assert addresses.whole_beginnings(old, new) == whole


def test_the_same_beginning_replaces_nothing(app: Any, organizations: dict[str, Dict], people: Any) -> None:
    dataset_with(["broken"], organizations["agency"])
    form = {"scope": "filter", "do": "replace", "old_prefix": "http://example.org", "new_prefix": "http://example.org/"}
    page = app.post("/archiver/links", data=form, headers=people["editor"]).body
    assert "Both beginnings are the same." in page


def test_an_upload_gets_no_new_address(organizations: dict[str, Dict], people: Any) -> None:
    dataset = moved(organizations["agency"])
    run("UPDATE resource SET url_type = 'upload' WHERE id = :id", id=ids(dataset)[0])
    assert link_actions.moves(reader_of("editor"), Selection(LinkFilter(), ids(dataset))) == []


def test_a_link_that_was_never_checked_can_be_left_alone(organizations: dict[str, Dict], people: Any) -> None:
    dataset = dataset_with(["", "broken"], organizations["agency"])
    who, day = reader_of("editor"), clock.utc().date() + DAY
    link_actions.snooze(who, Selection(LinkFilter(), ids(dataset)), day, "x")
    assert listing.total(LinkFilter(verdict="snoozed"), who).links == 2
    assert counts.summary(counts.source(who)).count("snoozed") == 2


@pytest.mark.ckan_config("ckan.display_timezone", "America/New_York")
def test_a_day_is_that_day_in_any_time_zone(app: Any, organizations: dict[str, Dict], people: Any) -> None:
    dataset_with(["broken"], organizations["agency"])
    assert "since October 31, 2026" in app.get("/archiver/links?since=2026-10-31").body
    assert app.get("/archiver/links?since=0001-01-01").status_code == 200


def test_the_name_of_an_organization_opens_no_dataset(organizations: dict[str, Dict], people: Any) -> None:
    theirs = dataset_with(["broken"], organizations["council"], private=True)
    factories.Organization(name=ids(theirs)[0], users=[{"name": "editor", "capacity": "admin"}])
    without_requests()
    with pytest.raises(tk.NotAuthorized):
        helpers.call_action("archiver_check", {"user": "editor", "ignore_auth": False}, id=ids(theirs)[0])
    assert requested() == {}


@pytest.mark.usefixtures("with_request_context")
def test_what_one_user_may_edit_another_may_not_in_the_same_request(
    organizations: dict[str, Dict], people: Any
) -> None:
    assert link_actions.may_edit_anything(reader_of("editor"))
    assert not link_actions.may_edit_anything(reader_of("member"))


@pytest.mark.parametrize("is_saved", [True, False])
@pytest.mark.parametrize(
    "error",
    [RuntimeError("the job queue is away"), tk.ValidationError({"url": ["xloader says no"]}), tk.NotAuthorized()],
    ids=["error", "validation", "authorization"],
)
def test_an_error_of_another_plugin_stops_nothing(
    organizations: dict[str, Dict], people: Any, monkeypatch: pytest.MonkeyPatch, is_saved: bool, error: Exception
) -> None:
    dataset = moved(organizations["agency"])
    get_action = tk.get_action

    def failing(name: str) -> Any:
        def fail(context: Dict, data: Dict) -> Any:
            if is_saved:
                get_action(name)(context, data)
            raise error

        return fail if name == "resource_patch" else get_action(name)

    monkeypatch.setattr(tk, "get_action", failing)
    applied = link_actions.take_over(reader_of("editor"), Selection(LinkFilter(), ids(dataset)))
    assert (applied.edited, len(applied.failures)) == (int(is_saved), int(not is_saved))
    assert bool(link_actions.history(reader_of("editor"))) is is_saved, "it can be undone"


@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_dataset_without_an_organization_is_for_those_whom_ckan_lets_edit_it(
    organizations: dict[str, Dict], ckan_config: Dict, monkeypatch: pytest.MonkeyPatch, is_allowed: bool
) -> None:
    owned, unowned = moved(organizations["agency"]), moved({"id": None})
    monkeypatch.setitem(ckan_config, "ckan.auth.create_unowned_dataset", is_allowed)
    factories.User(name="outsider")
    who = reader_of("outsider")
    assert link_actions.may_edit_anything(who) is is_allowed
    rows = listing.page(LinkFilter(verdict="any"), who).rows
    assert link_actions.editable(who, rows) == (set(ids(unowned)) if is_allowed else set())
    selection = Selection(LinkFilter(), (*ids(owned), *ids(unowned)))
    if is_allowed:
        assert link_actions.take_over(who, selection).edited == 1
        assert link_actions.check_again(who, selection) == 1
    else:
        with pytest.raises(tk.NotAuthorized):
            link_actions.check_again(who, selection)


def test_what_changes_nothing_is_not_on_record(app: Any, organizations: dict[str, Dict], people: Any) -> None:
    theirs = moved(organizations["council"])
    who, day = reader_of("editor"), clock.utc().date() + DAY
    selection = Selection(LinkFilter(), ids(theirs))
    assert link_actions.check_again(who, selection) == 0
    assert link_actions.snooze(who, selection, day, "x") == 0
    assert link_actions.wake(who, selection) == 0
    assert link_actions.take_over(who, selection) == addresses.Applied(None, 0, [])
    assert run("SELECT id FROM archiver_action") == []


def test_more_moved_links_than_are_edited_at_a_time(
    app: Any, organizations: dict[str, Dict], people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "MAX_EDITS", 2)
    monkeypatch.setattr(link_actions, "MAX_EDITS", 2)
    for _ in range(3):
        moved(organizations["agency"])
    form = {"scope": "filter", "do": "redirect"}
    page = app.post("/archiver/links?moved=1", data=form, headers=people["editor"]).body
    assert page.count('name="shown"') == 2
    assert "2 links at most are changed at a time. For more, do this again afterwards." in page


def test_links_without_a_server_are_a_group_like_others(app: Any, organizations: dict[str, Dict], people: Any) -> None:
    dataset_with(["broken", "broken"], organizations["agency"])
    run(
        "UPDATE archival SET cause = 'bad-url', host = CASE WHEN resource_id = (SELECT min(resource_id) FROM archival)"
        " THEN NULL ELSE '' END"
    )
    page = BeautifulSoup(app.get("/report/broken-links", headers=people["editor"]).body, "html.parser")
    (way,) = page.select(".archiver-group-head a")
    assert way.get_text() == "Without a server"
    listed = app.get(way["href"]).body
    assert listed.count("http://example.org/") >= 2
    (button,) = page.select('button[value="check"]')
    form = {"scope": "filter", "do": "check", "from": "overview", "confirmed": "1"}
    app.post(button.find_parent("form")["action"], data=form, headers=people["editor"])
    assert "Checked again: 0 of 2" in " ".join(app.get("/report/broken-links", headers=people["editor"]).body.split())


def test_a_link_that_is_left_alone_is_not_in_the_feed(organizations: dict[str, Dict], people: Any) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    run("UPDATE archival SET broken_since = timezone('utc', now())")
    who = reader_of("editor")
    assert len(feed.entries(LinkFilter(), who)) == counts.changes(who).broken_7 == 1
    link_actions.snooze(who, Selection(LinkFilter(), ids(dataset)), clock.utc().date() + DAY, "x")
    assert len(feed.entries(LinkFilter(), who)) == counts.changes(who).broken_7 == 0


@pytest.mark.parametrize(
    ("verdict", "is_broken", "counts_as"),
    [
        ("ok", True, "broken"),
        ("broken", False, "ok"),
        ("failing", True, "broken"),
        ("broken", None, "not-sure"),
        (None, True, "broken"),
        (None, None, "not-sure"),
        ("failing", None, "failing"),
    ],
)
def test_rows_of_code_that_knows_no_verdict_count_the_same_everywhere(
    organizations: dict[str, Dict], verdict: str | None, is_broken: bool | None, counts_as: str
) -> None:
    dataset_with(["broken"], organizations["agency"])
    run("UPDATE archival SET verdict = :verdict, is_broken = :is_broken", verdict=verdict, is_broken=is_broken)
    everybody = reader.EVERYBODY
    assert counts.summary(counts.source(everybody)).links == {counts_as: 1}
    listed = {state: listing.page(LinkFilter(verdict=state), everybody).rows for state in STATES if state != "any"}
    assert {state: len(rows) for state, rows in listed.items() if rows} == {counts_as: 1}
    assert listed[counts_as][0]["verdict"] == counts_as


def test_links_that_can_be_taken_over_come_before_others(
    organizations: dict[str, Dict], people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "MAX_EDITS", 1)
    for name in ("a-harvested", "b-unconfirmed", "c-moved", "d-login"):
        extras = [{"key": "harvest_object_id", "value": "1"}] if name == "a-harvested" else []
        dataset = moved(organizations["agency"], seen=1 if name == "b-unconfirmed" else 3, name=name, extras=extras)
        if name == "d-login":
            url = "http://rain:s3cret@example.org/0.csv"
            run("UPDATE resource SET url = :url WHERE id = :id", url=url, id=ids(dataset)[0])
            run("UPDATE archival SET source_url = :url WHERE resource_id = :id", url=url, id=ids(dataset)[0])
    who = reader_of("editor")
    (move,) = link_actions.moves(who, Selection(LinkFilter(verdict="any")))
    assert (move.package_name, move.obstacle) == ("c-moved", "")
    monkeypatch.setattr(addresses, "MAX_EDITS", 9)
    found = {move.package_name: move.obstacle for move in link_actions.moves(who, Selection(LinkFilter(verdict="any")))}
    # The address that a redirect leads to has no user name: it may not work without one.
    assert "user name" in found["d-login"]
    assert [name for name, obstacle in found.items() if not obstacle] == ["c-moved"]


def test_the_api_shows_no_password_of_a_moved_link(organizations: dict[str, Dict], people: Any) -> None:
    dataset = moved(organizations["agency"])
    run("UPDATE resource SET url = 'http://rain:s3cret@example.org/0.csv'")
    found = helpers.call_action("archiver_redirect_apply", {"user": "editor"}, ids=list(ids(dataset)), dry_run=True)
    assert found["moves"]
    assert "s3cret" not in str(found)


def test_new_addresses_that_do_not_work_keep_none_from_being_reached(
    app: Any, organizations: dict[str, Dict], people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "MAX_CHECKED", 2)
    monkeypatch.setattr(addresses, "_checked", lambda rows: {row["resource_id"]: "" for row in rows})
    datasets = [dataset_with(["broken"], organizations["agency"], name=f"n{n}") for n in range(5)]
    form = {"scope": "filter", "do": "replace", "old_prefix": "http://example.org/", "new_prefix": "http://b.example/"}
    seen: list[str] = []
    while True:
        page = BeautifulSoup(app.post("/archiver/links", data=form, headers=people["editor"]).body, "html.parser")
        seen += [box["value"] for box in page.select('input[type="checkbox"][name="resource_id"]')]
        button = page.select_one('button[name="after"]')
        if button is None:
            break
        hidden = button.find_parent("form").select("input[type=hidden]")
        form = {field["name"]: field["value"] for field in hidden} | {"after": button["value"]}
    assert seen == [id_ for dataset in datasets for id_ in ids(dataset)]
    answer = app.post("/archiver/links", data={**form, "after": "x"}, headers=people["editor"], status=400)
    assert "after must be the value" in answer.body


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("wake", "Stop leaving 1 link alone?"),
        ("redirect", "Use the new address of 1 link?"),
    ],
)
def test_a_question_counts_what_it_will_change(
    app: Any, organizations: dict[str, Dict], people: Any, what: str, sentence: str
) -> None:
    first, second = moved(organizations["agency"]), moved(organizations["agency"], seen=1)
    who, day = reader_of("editor"), clock.utc().date() + DAY
    link_actions.snooze(who, Selection(LinkFilter(), ids(first)), day, "x")
    form = {"scope": "ticked", "do": what, "resource_id": [*ids(first), *ids(second)]}
    assert sentence in app.post("/archiver/links", data=form, headers=people["editor"]).body
    form = {"scope": "ticked", "do": what, "resource_id": list(ids(second))}
    assert "Nothing to do" in app.post("/archiver/links", data=form, headers=people["editor"]).body


def test_the_progress_of_a_group_is_of_all_who_checked_it(organizations: dict[str, Dict], people: Any) -> None:
    many = dataset_with(["broken"] * 3, organizations["agency"])
    theirs = dataset_with(["broken"] * 2, organizations["council"])
    run("UPDATE archival SET cause = 'gone', host = 'h.example'")
    factories.User(name="other")
    helpers.call_action("member_create", id="council", object="other", object_type="user", capacity="editor")
    group = LinkFilter(cause="gone", host="h.example")
    for name in ("editor", "other"):
        link_actions.check_again(reader_of(name), Selection(group))
    found = groups.largest(LinkFilter(), reader_of("boss"))
    run("UPDATE archival SET checked_at = timezone('utc', clock_timestamp()) WHERE package_id = :id", id=many["id"])
    known = link_actions.progress(found, reader_of("boss"))["gone", "h.example"]
    assert (known.links, known.checked, known.working) == (5, 3, 0)
    helpers.call_action("resource_delete", {"user": "boss"}, id=ids(theirs)[0])
    assert link_actions.progress(found, reader_of("boss"))["gone", "h.example"].links == 4


def test_a_resource_of_a_deleted_dataset_is_not_checked(organizations: dict[str, Dict], people: Any) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    helpers.call_action("package_delete", {"user": "boss"}, id=dataset["id"])
    with pytest.raises(tk.ObjectNotFound):
        helpers.call_action("archiver_check", {"user": "boss"}, id=ids(dataset)[0])


@pytest.mark.parametrize("path", ["/archiver/links", "/archiver/links/history/1/undo"])
def test_a_form_needs_its_token_whatever_was_called_before(
    app: Any, organizations: dict[str, Dict], people: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """CKAN exempts a view for everybody once it was called with an API token, or by an anonymous user."""
    monkeypatch.setitem(app.flask_app.config, "WTF_CSRF_ENABLED", True)
    app.post(path, data={"do": "check"})
    browser = FlaskLoginClient(app.flask_app, user=model.User.get("editor"))
    # The language is what CKAN 2.11 puts there before Flask.
    answer = browser.post(path, data={"do": "check"}, environ_overrides={"CKAN_LANG": "en"})
    assert answer.status_code == 400
    # A token of the API is no cookie that a browser sends by itself.
    assert app.post(path, data={"do": "check"}, headers=people["editor"]).status_code != 400


def test_the_overview_counts_links_and_no_other_resources(app: Any, organizations: dict[str, Dict]) -> None:
    dataset = dataset_with(["broken", "ok"], organizations["agency"])
    run("UPDATE resource SET url = '' WHERE id = :id", id=ids(dataset)[1])
    page = BeautifulSoup(app.get("/report/broken-links").body, "html.parser")
    cells = [" ".join(cell.get_text(" ").split()) for cell in page.select("[data-label]")]
    assert "1" in cells
    assert "100%" in "".join(cells).replace(" ", "").replace("\N{NO-BREAK SPACE}", "")
    assert "2" not in cells


def test_a_link_whose_check_runs_is_checked_once_more(organizations: dict[str, Dict], people: Any) -> None:
    """The check that runs began before the request: its result says nothing about what was mended since."""
    dataset = dataset_with(["broken", "broken"], organizations["agency"])
    who, selection = reader_of("editor"), Selection(LinkFilter(), ids(dataset))
    link_actions.check_again(who, selection)
    runs, waits = ids(dataset)
    run(
        "UPDATE archiver_request SET lease_token = 'x', leased_until = now() + interval '1 minute', attempts = 1 "
        "WHERE resource_id = :id",
        id=runs,
    )
    link_actions.check_again(who, selection)
    again = {row.resource_id: row.again for row in run("SELECT resource_id, again FROM archiver_request")}
    assert again == {runs: True, waits: False}


def test_an_edit_of_the_url_ends_the_leaving_alone(organizations: dict[str, Dict], people: Any) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    run("UPDATE archival SET source_url = (SELECT url FROM resource WHERE id = resource_id)")
    who, day = reader_of("editor"), clock.utc().date() + DAY
    link_actions.snooze(who, Selection(LinkFilter(), ids(dataset)), day, "the old server moves")
    # As a request begins: the object of the one before says that its URL was changed.
    model.Session.remove()
    helpers.call_action("resource_patch", {"user": "editor"}, id=ids(dataset)[0], name="Another name")
    assert len(run("SELECT 1 FROM archiver_snooze")) == 1
    helpers.call_action("resource_patch", {"user": "editor"}, id=ids(dataset)[0], url="http://new.example/a.csv")
    assert run("SELECT 1 FROM archiver_snooze") == []


def test_what_the_time_is_too_short_for_is_said(
    app: Any, organizations: dict[str, Dict], people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = [moved(organizations["agency"]) for _ in range(3)]
    monkeypatch.setattr(addresses, "EDIT_SECONDS", -1.0)
    found = helpers.call_action(
        "archiver_redirect_apply", {"user": "editor"}, ids=[id_ for dataset in datasets for id_ in ids(dataset)]
    )
    assert (found["edited"], found["left"], found["action_id"]) == (0, 3, None)
    form: Dict = {"scope": "ticked", "do": "redirect", "resource_id": list(ids(datasets[0]))}
    question = app.post("/archiver/links", data=form, headers=people["editor"]).body
    form |= {"confirmed": "1", **shown(question)}
    page = app.post("/archiver/links", data=form, headers=people["editor"]).body
    assert "There was not enough time for 1 link" in page


def test_the_question_says_what_is_paused(app: Any, organizations: dict[str, Dict], people: Any) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    form: Dict = {"scope": "ticked", "do": "check", "resource_id": list(ids(dataset))}
    assert "The check begins at once." in app.post("/archiver/links", data=form, headers=people["editor"]).body
    pauses.pause("", [""], "alice", "new disk")
    model.Session.commit()
    page = app.post("/archiver/links", data=form, headers=people["editor"]).body
    assert "All checks are paused by alice" in page
    assert "at once" not in page


@pytest.mark.parametrize(
    ("url", "old", "new", "becomes"),
    [
        ("http://a.example/gone/x.csv", "http://a.example/gone", "http://b.example/alt/", "http://b.example/alt/x.csv"),
        ("http://a.example/data-2020.csv", "http://a.example/data-", "http://b.example/", "http://b.example/2020.csv"),
        ("http://a.example/x.csv", "http://a.example/x.csv", "http://b.example/y.csv", "http://b.example/y.csv"),
        ("http://a.example/x//y.csv", "http://a.example/x/", "http://b.example/", "http://b.example/y.csv"),
    ],
)
def test_two_parts_are_joined_by_one_slash(
    organizations: dict[str, Dict],
    people: Any,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    old: str,
    new: str,
    becomes: str,
) -> None:
    monkeypatch.setattr(addresses, "_checked", lambda rows: {row["resource_id"]: "" for row in rows})
    dataset_with(["broken"], organizations["agency"])
    run("UPDATE resource SET url = :url", url=url)
    found = link_actions.replacements(reader_of("editor"), Selection(LinkFilter()), old, new)
    assert [move.new_url for move in found.moves] == [becomes]


def test_datasets_that_ckan_has_not_saved_since_its_upgrade_are_not_harvested(
    organizations: dict[str, Dict], people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "MAX_EDITS", 1)
    moved(organizations["agency"], seen=1, name="a-unconfirmed")
    moved(organizations["agency"], name="b-moved")
    if not hasattr(model, "PackageExtra"):
        run("UPDATE package SET extras = NULL")
    (move,) = link_actions.moves(reader_of("editor"), Selection(LinkFilter(verdict="any")))
    assert (move.package_name, move.obstacle) == ("b-moved", "")


@pytest.mark.ckan_config("ckanext-archiver.archive_on_change", False)
def test_an_edit_ends_the_leaving_alone_also_where_edits_request_nothing(
    organizations: dict[str, Dict], people: Any
) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    link_actions.snooze(reader_of("editor"), Selection(LinkFilter(), ids(dataset)), clock.utc().date() + DAY, "x")
    helpers.call_action("resource_patch", {"user": "editor"}, id=ids(dataset)[0], url="http://new.example/a.csv")
    assert run("SELECT 1 FROM archiver_snooze") == []


def test_a_question_names_only_what_it_is_about(app: Any, organizations: dict[str, Dict], people: Any) -> None:
    alone = dataset_with(["broken"], organizations["agency"], title="Left alone")
    other = dataset_with(["broken"], organizations["agency"], title="Not left alone")
    link_actions.snooze(reader_of("editor"), Selection(LinkFilter(), ids(alone)), clock.utc().date() + DAY, "x")
    form: Dict = {"scope": "ticked", "do": "wake", "resource_id": [*ids(alone), *ids(other)]}
    page = BeautifulSoup(app.post("/archiver/links", data=form, headers=people["editor"]).body, "html.parser")
    assert [" ".join(one.get_text().split()) for one in page.select(".archiver-named a")] == ["Left alone: File 0"]
