"""What pages say of links: the words of each state, and that nothing remote becomes markup."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import flask
import pytest
import sqlalchemy as sa
from ckan import model
from ckan.tests import factories

from ckanext.archiver import clock, helpers
from ckanext.archiver.engine.outcome import Verdict
from ckanext.archiver.engine.reasons import REASONS
from ckanext.archiver.model import Archival, ArchivalCheck, ArchiverRequest

pytestmark = pytest.mark.usefixtures("clean_site")

Dict = dict[str, Any]
DAY = datetime.timedelta(days=1)
URL = "http://example.org/a.csv"


@pytest.fixture(autouse=True)
def in_a_request(app: Any) -> Iterator[None]:
    with app.flask_app.test_request_context():
        yield


@pytest.fixture
def resource() -> Dict:
    dataset = factories.Dataset(resources=[{"url": URL}])
    # The edit itself put a request, which is no part of these tests.
    model.Session.query(ArchiverRequest).delete()
    model.Session.commit()
    made: Dict = dataset["resources"][0]
    return made


def with_archival(resource: Dict, **columns: Any) -> Dict:
    model.Session.query(Archival).filter_by(resource_id=resource["id"]).delete()
    if columns.get("verdict"):
        columns = {"is_broken": Verdict(columns["verdict"]).is_broken, **columns}
    model.Session.add(
        Archival(package_id=resource["package_id"], resource_id=resource["id"], **{"source_url": URL} | columns)
    )
    model.Session.commit()
    flask.g.pop("archiver_states", None)
    return resource


def request_for(resource: Dict, queue: str = "bulk") -> None:
    model.Session.add(
        ArchiverRequest(
            resource_id=resource["id"],
            package_id=resource["package_id"],
            queue=queue,
            host="example.org",
            reason="round",
        )
    )
    model.Session.commit()
    flask.g.pop("archiver_states", None)


PACKAGE = {"id": "p", "private": False, "state": "active"}


def panel(resource: Dict) -> Dict:
    shown = helpers.archiver_panel(resource, PACKAGE)
    assert shown is not None
    return shown


# -- states ------------------------------------------------------------------------------------------------


def test_each_verdict_has_a_heading(resource: Dict) -> None:
    since = datetime.datetime.fromisoformat("2026-11-12T03:12:00")
    expected = {
        "ok": "This link works",
        "failing": "This link has been failing since November 12, 2026",
        "broken": "This link has been broken since November 12, 2026",
        "not-sure": "It is not certain whether this link works",
    }
    assert set(expected) == {verdict.value for verdict in Verdict}
    for verdict, heading in expected.items():
        shown = panel(with_archival(resource, verdict=verdict, failing_since=since, broken_since=since))
        assert (shown["verdict"], shown["heading"]) == (verdict, heading)
        assert shown["css"] == f"archiver-{verdict}"
        assert shown["icon"]


def test_a_link_that_was_never_checked(resource: Dict) -> None:
    assert panel(resource)["heading"] == "This link has not been checked yet"

    request_for(resource)

    assert panel(resource)["heading"] == "This link is waiting to be checked"


@pytest.mark.parametrize(("queue", "waits"), [("priority", True), ("bulk", False)])
def test_a_page_waits_for_a_check_that_comes_soon_and_not_for_the_round(
    app: Any, resource: Dict, queue: str, waits: bool
) -> None:
    with_archival(resource, verdict="broken")
    request_for(resource, queue)
    page = app.get(f"/dataset/{resource['package_id']}/resource/{resource['id']}").body
    assert ('data-module="archiver-panel"' in page) is waits
    assert ('http-equiv="refresh"' in page) is waits
    assert ("The check is in the queue." in page) is waits


def test_a_verdict_on_another_url_is_not_shown(resource: Dict) -> None:
    old = with_archival(resource, verdict="broken", source_url="http://example.org/old.csv", cache_filepath="/a")
    shown = panel(old)

    assert (shown["verdict"], shown["archival"], shown["cached_copy"]) == ("never", {}, None)
    request_for(resource)
    assert panel(old)["verdict"] == "waiting"


def test_an_upload_is_the_same_under_its_whole_url(resource: Dict) -> None:
    model.Session.query(model.Resource).filter_by(id=resource["id"]).update({"url": "a.csv", "url_type": "upload"})
    upload = resource | {"url_type": "upload", "url": "http://ckan.example/dataset/x/a.csv"}

    shown = panel(with_archival(upload, verdict="ok", source_url="a.csv"))

    assert shown["heading"] == "This file is available"


def test_one_statement_reads_archivals_and_requests(resource: Dict) -> None:
    """Read one after the other, a run that ends in between would be in neither."""
    statements = []
    note = lambda *args: statements.append(args[2])  # noqa: E731 - SQLAlchemy wants this very function again
    sa.event.listen(model.meta.engine, "before_cursor_execute", note)
    try:
        helpers.archiver_resource_state(resource)
        helpers.archiver_is_resource_cached_html(resource)
    finally:
        sa.event.remove(model.meta.engine, "before_cursor_execute", note)
    assert len(statements) == 1
    assert "archival" in statements[0]
    assert "archiver_request" in statements[0]


@pytest.mark.parametrize(
    ("columns", "host_asked"), [({"wait_until": "1 hour"}, True), ({"open_until": "1 hour"}, False)]
)
def test_the_panel_says_until_when_a_host_makes_us_wait(
    resource: Dict, columns: dict[str, str], host_asked: bool
) -> None:
    request_for(resource)
    ((name, wait),) = columns.items()
    model.Session.execute(
        sa.text(f"INSERT INTO archiver_host (host, {name}) VALUES ('example.org', now() + interval '{wait}')")
    )
    model.Session.commit()
    shown = panel(with_archival(resource, verdict="not-sure"))
    assert shown["waits_until"]
    assert shown["host_asked"] is host_asked
    html = tk.render_snippet("archiver/snippets/panel.html", {"res": resource, "pkg": PACKAGE})
    assert ("asked us to wait" in html) is host_asked
    assert ("does not respond" in html) is not host_asked


def test_a_recheck_in_the_queue_does_not_hide_the_verdict(resource: Dict) -> None:
    request_for(resource)

    shown = panel(with_archival(resource, verdict="broken"))

    assert (shown["verdict"], shown["requested"]) == ("broken", True)


@pytest.mark.parametrize(("is_broken", "verdict"), [(True, "broken"), (False, "ok"), (None, "not-sure")])
def test_rows_of_earlier_releases_have_a_state(resource: Dict, is_broken: bool | None, verdict: str) -> None:
    old = with_archival(resource, verdict=None, source_url=None, is_broken=is_broken, status_id=11, reason="Why.")

    assert panel(old)["verdict"] == verdict
    assert panel(old)["reason"] == "Why."


def test_an_old_version_of_a_resource_has_no_panel(resource: Dict) -> None:
    """What is known of its link now says nothing of then."""
    tk.request.view_args = {"id": "x", "resource_id": resource["id"], "activity_id": "y"}

    assert helpers.archiver_panel(with_archival(resource, verdict="ok"), PACKAGE) is None
    assert tk.render_snippet("archiver/snippets/panel.html", {"res": resource, "pkg": PACKAGE}).strip() == ""


# -- reasons -----------------------------------------------------------------------------------------------


def test_every_reason_can_be_said() -> None:
    for detail, sentence in REASONS.items():
        names = re.findall(r"{(\w+)", sentence)
        said = helpers.archiver_reason({"detail": detail, "facts": {name: f"<{name}>" for name in names}})
        assert all(f"<{name}>" in said for name in names)
        assert "{" not in said


@pytest.mark.parametrize(
    "archival",
    [
        {"detail": "http-gone", "facts": {}, "reason": "It is gone."},
        {"detail": "http-gone", "facts": None, "reason": "It is gone."},
        {"detail": "unheard-of", "facts": {}, "reason": "It is gone."},
        {"detail": None, "reason": "It is gone."},
    ],
)
def test_a_reason_that_cannot_be_said_falls_back_to_the_stored_one(archival: Dict) -> None:
    assert helpers.archiver_reason(archival) == "It is gone."


def test_facts_are_no_templates() -> None:
    said = helpers.archiver_reason({"detail": "http-gone", "facts": {"status": 404, "phrase": "{0.__class__}"}})

    assert "{0.__class__}" in said


def test_large_numbers_can_be_read() -> None:
    facts = {"size": 5_368_709_120, "limit": 50_000_000}
    said = helpers.archiver_reason({"detail": "too-large-announced", "facts": facts})
    assert "is 5 GiB large and the limit is 47.6 MiB" in said

    said = helpers.archiver_reason({"detail": "http-status", "facts": {"status": 1_000, "phrase": "x"}})
    assert "1000" in said


def test_no_sentence_is_shown_twice(resource: Dict) -> None:
    assert panel(with_archival(resource, verdict="ok", detail="ok-checked", facts={}))["reason"] == ""


# -- hostile servers ---------------------------------------------------------------------------------------

EVIL = "\"'><script>alert(1)</script>"


def test_nothing_remote_is_markup(app: Any, resource: Dict) -> None:
    model.Session.add(
        Archival(
            package_id=resource["package_id"],
            resource_id=resource["id"],
            source_url=URL,
            verdict="broken",
            detail="http-gone",
            facts={"status": 404, "phrase": EVIL},
            reason=EVIL,
            mimetype=EVIL,
            etag=EVIL,
            url_redirected_to=f"https://example.org/{EVIL}",
            last_modified=EVIL,
            is_broken=True,
            status_id=12,
        )
    )
    model.Session.commit()

    for path in (
        f"/dataset/{resource['package_id']}",
        f"/dataset/{resource['package_id']}/resource/{resource['id']}",
    ):
        page = app.get(path).body
        assert "<script>alert(1)" not in page
        assert "Link broken" in page or "This link is broken" in page


@pytest.mark.parametrize(
    ("url", "is_link"),
    [
        ("https://data.example.org/v2", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//example.org/x", False),
        ("http://[", False),
    ],
)
def test_only_web_addresses_are_links(resource: Dict, url: str, is_link: bool) -> None:
    shown = panel(with_archival(resource, verdict="ok", permanent_url=url, url_redirected_to=url))

    assert shown["moved_to"] == shown["redirected_to"] == {"url": url, "is_link": is_link}


# -- other parts of the panel ------------------------------------------------------------------------------


def test_a_redirect_to_itself_is_not_shown(resource: Dict) -> None:
    assert panel(with_archival(resource, verdict="ok", url_redirected_to=URL))["redirected_to"] is None


@pytest.mark.parametrize(("days", "is_told"), [(-1, False), (3, True), (30, False)])
def test_a_certificate_that_expires_soon_is_shown(resource: Dict, days: int, is_told: bool) -> None:
    shown = panel(with_archival(resource, verdict="ok", certificate_expires=clock.naive_utc() + days * DAY))

    assert bool(shown["certificate_expires"]) is is_told


def test_the_strip_has_a_bucket_for_each_day(resource: Dict) -> None:
    with_archival(resource, verdict="broken")
    now = clock.naive_utc()
    for day in range(40):
        verdict = "broken" if day < 2 else "not-sure" if day == 29 else "ok"
        model.Session.add(
            ArchivalCheck(
                resource_id=resource["id"],
                checked_at=now - day * DAY,
                verdict=verdict,
                cause="ok",
                detail="ok",
            )
        )
    model.Session.commit()

    history = helpers.archiver_history(resource["id"])

    assert history is not None
    kinds = [[css.removeprefix("archiver-day-") for css, _ in day["parts"]] for day in history["days"]]
    assert kinds == [["unknown"]] * 50 + [["ok"]] * 10 + [["not-sure"]] + [["ok"]] * 27 + [["broken"]] * 2
    assert history["text"] == "Worked on 94.9 % of the days checked in the last 90 days; 1 outage of 2 days"
    assert helpers.archiver_history("another") is None


def test_the_copy_says_its_size_and_day(resource: Dict) -> None:
    cached_at = datetime.datetime.fromisoformat("2026-11-19T12:00:00")
    copy = panel(with_archival(resource, verdict="ok", cache_filepath="/x/a.csv", size=1_468_006, cached_at=cached_at))[
        "cached_copy"
    ]

    assert copy["size"] == "1.3 MiB"
    assert copy["saved"] == "2026-11-19T12:00:00"
    assert copy["url"].endswith(f"/resource/{resource['id']}/cached")
    assert panel(with_archival(resource, verdict="ok"))["cached_copy"] is None


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_copy_of_a_previous_url_is_called_that_in_every_state(resource: Dict, verdict: Verdict) -> None:
    columns = {"verdict": verdict.value, "is_broken": verdict.is_broken, "cache_filepath": "/a"}
    columns["cached_at"] = clock.naive_utc()
    assert panel(with_archival(resource, **columns))["copy_note"] == "From its previous URL"
    button = helpers.archiver_dead_link(resource, PACKAGE)
    assert (button and button["label"]) == (
        "Download the copy from the previous URL" if verdict in ("failing", "broken") else None
    )
    assert panel(with_archival(resource, **columns, last_success=clock.naive_utc()))["copy_note"] == ""
    # A doubtful file that was confirmed is what this URL leads to.
    doubtful = {**columns, "doubt_since": columns["cached_at"] - DAY}
    assert panel(with_archival(resource, **doubtful))["copy_note"] == ""
    assert panel(with_archival(resource, verdict=verdict.value))["copy_note"] == ""


def test_a_file_that_became_too_large_has_an_earlier_copy(resource: Dict) -> None:
    columns = {"verdict": "ok", "cause": "too-large", "cache_filepath": "/a", "last_success": clock.naive_utc()}
    assert "an earlier version" in panel(with_archival(resource, **columns))["copy_note"]


@pytest.mark.parametrize(
    ("cause", "detail", "part"),
    [
        ("refused-by-policy", "scheme-refused", "typing error: it must begin with http:// or https://"),
        ("refused-by-policy", "port-refused", "typing error"),
        ("refused-by-policy", "address-refused", "on the public internet"),
        ("refused-by-policy", "no-ipv6", "Nothing is wrong with the link"),
        ("gone", "dns-not-found", "typing error"),
        ("gone", "http-gone", "Find the file's new address"),
        ("bad-url", "url-bad-port", "typing error"),
        ("bad-url", "url-bad-host", "typing error"),
        ("bad-url", "url-prose", "beginning with https:// or http://"),
        ("blocked", "http-busy", "Nothing needs to be done"),
        ("blocked", "login-wall", "without a login"),
    ],
)
def test_the_advice_fits_the_reason(cause: str, detail: str, part: str) -> None:
    assert detail in REASONS
    assert part in helpers.archiver_advice({"cause": cause, "detail": detail})


def test_times_are_marked_up() -> None:
    html = helpers.archiver_time("2026-11-19T12:00:00", relative=False)

    assert html == '<time datetime="2026-11-19T12:00:00Z">November 19, 2026, 12:00 (UTC)</time>'
    assert helpers.archiver_time(None) == ""
    assert ">November 19, 2026<" in helpers.archiver_time("2026-11-19T12:00:00", relative=False, hours=False)


# -- datasets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "label"),
    [
        (["ok", "ok"], "All links work"),
        (["ok", ""], None),
        (["ok", "not-sure"], None),
        (["broken", "ok"], "1 of 2 links broken"),
        (["broken", "broken", "failing"], "2 of 3 links broken"),
        (["failing", "ok"], "1 of 2 links failing"),
        ([], None),
    ],
)
def test_the_badge_of_a_dataset(verdicts: list[str], label: str | None) -> None:
    dataset = factories.Dataset(resources=[{"url": URL} for _ in verdicts])
    model.Session.query(ArchiverRequest).delete()
    for resource, verdict in zip(dataset["resources"], verdicts, strict=True):
        if verdict:
            with_archival(resource, verdict=verdict)

    state = helpers.archiver_dataset_state(dataset)

    assert (state and state["label"]) == label


def test_the_mark_of_a_dataset_in_a_list() -> None:
    broken, works = {"archiver": {"verdict": "broken"}}, {"archiver": {"verdict": "ok"}}
    for resources, label in (
        ([broken, works, works], "1 of 3 links broken"),
        ([broken, {"url": ""}], "1 of 1 link broken"),
        ([works], None),
        ([{"url": ""}, "other"], None),
        (None, None),
    ):
        state = helpers.archiver_found_dataset_state({"resources": resources})
        assert (state and state["label"]) == label


def test_datasets_with_broken_links_are_marked_in_lists(app: Any) -> None:
    organization = factories.Organization()
    dataset = factories.Dataset(resources=[{"url": URL}, {"url": URL}], owner_org=organization["id"])
    with_archival(dataset["resources"][0], verdict="broken")
    with_archival(dataset["resources"][1], verdict="ok")
    for page in ("/dataset/", f"/organization/{organization['name']}"):
        assert "1 of 2 links broken" in app.get(page).body


def test_times_are_as_readers_write_them(app: Any, resource: Dict) -> None:
    moment = datetime.datetime.fromisoformat("2026-11-19T12:00:00")
    archived = with_archival(resource, verdict="ok", last_success=moment, checked_at=moment)
    page = app.get(f"/de/dataset/{archived['package_id']}/resource/{archived['id']}").body
    assert ">19. November 2026, 12:00 (UTC)<" in page


# -- names that themes call --------------------------------------------------------------------------------


def test_themes_get_badges_and_links(resource: Dict) -> None:
    assert tk.h.archiver_is_resource_broken_html(resource) == ""
    assert tk.h.archiver_is_resource_cached_html(resource) == ""

    archived = with_archival(resource, verdict="broken", cache_filepath="/x/a.csv")

    assert "Link broken" in tk.h.archiver_is_resource_broken_html(archived)
    assert f"/resource/{resource['id']}/cached" in tk.h.archiver_is_resource_cached_html(archived)


def test_a_themes_override_of_the_badge_is_used(
    resource: Dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archiver").mkdir()
    (tmp_path / "archiver" / "is_resource_broken.html").write_text("{{ resource.id }} broken: {{ is_broken }}")
    (tmp_path / "archiver" / "is_resource_cached.html").write_text("copy: {{ cache_filepath }}")
    environment = flask.current_app.jinja_env
    monkeypatch.setattr(environment.loader, "searchpath", [str(tmp_path), *environment.loader.searchpath])
    monkeypatch.setattr(environment, "cache", None)
    archived = with_archival(resource, verdict="broken", is_broken=True, cache_filepath="/x/a.csv")
    assert tk.h.archiver_is_resource_broken_html(archived) == f"{resource['id']} broken: True"
    assert tk.h.archiver_is_resource_cached_html(archived) == "copy: /x/a.csv"


def test_resource_items_are_formatted() -> None:
    items = {
        "name": "x",
        "archiver": {"verdict": "ok"},
        "format": "CSV",
        "size": 2048,
        "has_views": False,
        "created": "2026-11-19T12:00:00.123456",
        "empty": "",
        "mimetype_inner": None,
    }

    assert tk.h.archiver_format_resource_items(items.items()) == [
        ("created", "November 19, 2026, 12:00 (UTC)"),
        ("format", "CSV"),
        ("has views", "No"),
        ("size", "2 KiB"),
    ]


def test_ckans_own_table_does_not_show_our_dict() -> None:
    assert tk.h.archiver_format_resource_items([("size", "²")]) == [("size", "²")]
    items = tk.h.format_resource_items([("archiver", {"verdict": "ok"}), ("format", "CSV")])

    assert items == [("format", "CSV")]
