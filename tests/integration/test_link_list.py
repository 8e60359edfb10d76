"""The report's pages: the overview, the list with its filters, its files, and the checks that are requested there."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
import sqlalchemy as sa
from ckan import model
from ckan.tests import factories

from ckanext.archiver import checking_now, link_list, reports, summary
from ckanext.archiver.link_list import Filters, Reader
from ckanext.archiver.model import Archival
from rows import requested, run

pytestmark = pytest.mark.usefixtures("clean_site")

Dict = dict[str, Any]
PUBLIC = Reader()


def link(number: int, dataset: Dict, verdict: str = "broken", **columns: Any) -> str:
    """A resource of a dataset with an archival; returns its id."""
    url = columns.pop("url", f"http://files.example/{number}.csv")
    resource = factories.Resource(package_id=dataset["id"], url=url, name=f"File {number}", format="CSV")
    values: Dict = {
        "verdict": verdict,
        "is_broken": {"ok": False, "broken": True}.get(verdict),
        "cause": "ok" if verdict == "ok" else "gone",
        "detail": "http-gone",
        "facts": {"status": 404, "phrase": "Not Found"},
        "broken_since": f"2026-01-{number + 1:02} 00:00:00" if verdict == "broken" else None,
        "checked_at": "2026-02-01 00:00:00",
    } | columns
    archival = Archival(package_id=dataset["id"], resource_id=resource["id"], source_url=url)
    for name, value in values.items():
        setattr(archival, name, value)
    model.Session.add(archival)
    model.Session.commit()
    run("DELETE FROM archiver_request")
    return str(resource["id"])


def ids(filters: Filters, reader: Reader = PUBLIC) -> list[str]:
    return [shown["resource_id"] for shown in link_list.page(filters, reader).links]


@pytest.fixture
def dataset() -> Dict:
    made: Dict = factories.Dataset(name="rain", title="Rain", owner_org=factories.Organization(name="office")["id"])
    return made


# -- the list ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", list(link_list.SORTS))
def test_pages_by_keyset_have_every_link_once(dataset: Dict, sort: str) -> None:
    made = {link(number, dataset) for number in range(7)}
    seen, cursor = [], None
    for _ in range(4):
        page = link_list.page(Filters(sort=sort), PUBLIC, cursor, limit=2)
        seen += [shown["resource_id"] for shown in page.links]
        cursor = page.next
        assert (page.total, page.is_estimate) == (7, False)
    assert cursor is None
    assert len(seen) == 7
    assert set(seen) == made


def test_the_longest_broken_is_first_or_last(dataset: Dict) -> None:
    made = [link(number, dataset) for number in range(3)]
    assert ids(Filters()) == made
    assert ids(Filters(sort="newest")) == made[::-1]


def test_filters_narrow(dataset: Dict) -> None:
    other = factories.Dataset(name="maps", owner_org=factories.Organization(name="council")["id"])
    gone = link(0, dataset, cache_filepath="/archive/a.csv")
    slow = link(1, other, cause="unreachable", url="http://slow.example/1.csv", permanent_url="http://new.example/")
    works = link(2, other, verdict="ok")
    unsure = link(3, dataset, verdict="not-sure", cause="blocked")
    for filters, expected in (
        (Filters(), {gone, slow}),
        (Filters(verdict="ok"), {works}),
        (Filters(verdict="any"), {gone, slow, unsure}),
        (Filters(organization="council"), {slow}),
        (Filters(cause="gone"), {gone}),
        (Filters(host="SLOW.example"), {slow}),
        (Filters(format="csv"), {gone, slow}),
        (Filters(format="zip"), set()),
        (Filters(since="2026-01-02"), {slow}),
        (Filters(copy="yes"), {gone}),
        (Filters(copy="no"), {slow}),
        (Filters(moved="yes"), {slow}),
        (Filters(q="rain"), {gone}),
        (Filters(q="file 1"), {slow}),
        (Filters(q="%"), set()),
    ):
        assert set(ids(filters)) == expected, filters


def test_an_organization_counts_those_below_it_when_asked(dataset: Dict) -> None:
    top = factories.Organization(name="top")
    tk.get_action("member_create")(
        {"ignore_auth": True},
        {"id": dataset["owner_org"], "object": top["id"], "object_type": "group", "capacity": "parent"},
    )
    made = link(0, dataset)
    assert ids(Filters(organization="top")) == []
    assert ids(Filters(organization="top", below="1")) == [made]


def test_private_links_are_listed_for_their_readers_only() -> None:
    editor, stranger, sysadmin = factories.User(), factories.User(), factories.Sysadmin()
    owner = factories.Organization(users=[{"name": editor["name"], "capacity": "editor"}])
    made = link(0, factories.Dataset(owner_org=owner["id"], private=True))

    def seen_by(user: Dict | None) -> list[str]:
        return ids(Filters(), Reader.of(model.User.get(user["id"]) if user else None))

    assert seen_by(None) == seen_by(stranger) == []
    assert seen_by(editor) == seen_by(sysadmin) == [made]
    assert summary.overview()["verdicts"]["broken"] == 0, "it counts for nobody"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("verdict=bad", "verdict must be one of any, ok, failing, broken, not-sure, not &#39;bad&#39;."),
        ("verdict=broken&since=yesterday", "since must be a date such as 2026-05-03"),
        ("verdict=broken&after=nonsense", "The cursor is not one of this list."),
        ("q=%00", "A filter cannot contain a null character."),
        ("verdict=broken&as=pdf", "The format must be html, csv, json, xlsx or atom."),
    ],
)
def test_a_bad_filter_is_answered_by_one_sentence(app: Any, query: str, text: str) -> None:
    assert text in app.get(f"/report/broken-links?{query}", status=400).body


def test_the_list_page_leads_on_and_keeps_its_filters(app: Any, dataset: Dict, monkeypatch: Any) -> None:
    for number in range(3):
        link(number, dataset)
    monkeypatch.setattr(link_list, "PAGE", 2)
    monkeypatch.setattr(link_list.page, "__defaults__", (None, 2))
    page = app.get("/report/broken-links?cause=gone&organization=office").body
    assert "3 links" in page
    assert "Remove the filter" in page
    (following,) = re.findall(r'rel="next" href="([^"]+)"', page)
    following = following.replace("&amp;", "&")
    assert "cause=gone" in following
    assert following.startswith("/report/broken-links/office?")
    page = app.get(following).body
    assert "File 2" in page
    assert "File 1" not in page
    assert 'rel="next"' not in page


def test_a_large_total_is_an_estimate_and_said_so(app: Any, dataset: Dict, monkeypatch: Any) -> None:
    for number in range(3):
        link(number, dataset)
    monkeypatch.setattr(link_list, "EXACT_TOTAL", 2)
    page = link_list.page(Filters(), PUBLIC)
    assert page.is_estimate
    assert page.total >= 3
    assert "About " in app.get("/report/broken-links?verdict=broken").body


# -- files -------------------------------------------------------------------------------------------------


def test_files_have_what_the_filters_select(app: Any, dataset: Dict) -> None:
    made = link(0, dataset, url_redirected_to="=cmd|' /C calc'!A0")
    link(1, dataset, verdict="ok")
    path = "/report/broken-links?verdict=broken&as="

    (row,) = csv.DictReader(io.StringIO(app.get(path + "csv").body))
    assert (row["resource_id"], row["url_redirected_to"], row["cause"]) == (made, "'=cmd|' /C calc'!A0", "gone")
    (row,) = json.loads(app.get(path + "json").body)["table"]
    assert (row["resource_id"], row["since"]) == (made, "2026-01-01T00:00:00+00:00")
    answer = app.get(path + "xlsx")
    sheet = zipfile.ZipFile(io.BytesIO(answer.data)).read("xl/worksheets/sheet1.xml").decode()
    assert sheet.count("<row>") == 2
    assert f'<c t="inlineStr"><is><t xml:space="preserve">{made}</t></is></c>' in sheet
    assert "=cmd|' /C calc'!A0</t>" in sheet, "text stays text: no cell has a formula"
    assert "<f>" not in sheet
    feed = app.get(path + "atom")
    assert feed.headers["Content-Type"].startswith("application/atom+xml")
    assert feed.body.count("<entry>") == 1


def test_an_export_reads_through_a_server_side_cursor(dataset: Dict, monkeypatch: Any) -> None:
    for number in range(5):
        link(number, dataset)
    monkeypatch.setattr(link_list, "EXPORT_BATCH", 2)
    seen = []
    note = lambda *args: seen.append(args[1])  # noqa: E731 - SQLAlchemy wants this very function again
    sa.event.listen(model.meta.engine, "before_cursor_execute", note)
    try:
        exported = [shown["resource_id"] for shown in link_list.export(Filters(), PUBLIC)]
    finally:
        sa.event.remove(model.meta.engine, "before_cursor_execute", note)
    assert len(exported) == 5
    assert seen[-1].name, "a cursor with a name is one of the server"


# -- the overview ------------------------------------------------------------------------------------------


def test_the_overview_groups_by_cause_and_host(app: Any, dataset: Dict) -> None:
    for number in range(3):
        link(number, dataset)
    link(3, dataset, cause="unreachable", url="http://old.example/x")
    link(4, dataset, verdict="ok")
    factories.Resource(package_id=dataset["id"], url="http://files.example/new.csv")

    overview = summary.overview_of_portal()

    assert overview["verdicts"] == {"ok": 1, "failing": 0, "broken": 4, "not-sure": 0, "never": 1}
    assert [(group["cause"], group["host"], group["links"], group["datasets"]) for group in overview["groups"]] == [
        ("gone", "files.example", 3, 1),
        ("unreachable", "old.example", 1, 1),
    ]
    assert overview["groups"][0]["since"] == "2026-01-01T00:00:00"
    page = app.get("/report/broken-links").body
    assert "/report/broken-links?verdict=broken&amp;cause=gone&amp;host=files.example" in page
    assert "3 links" in page


def test_a_large_portal_is_counted_by_the_worker(app: Any, dataset: Dict, monkeypatch: Any) -> None:
    link(0, dataset)
    link(1, dataset, verdict="ok")
    live = (summary.overview(), reports.broken_links())
    monkeypatch.setattr(reports, "SMALL", -1)
    assert summary.overview()["links"] == 0, "nothing is counted yet"

    summary.refresh()
    model.Session.commit()

    assert (summary.overview(), reports.broken_links()) == live
    assert summary.broken_links_of(dataset["owner_org"]) == 1
    assert [(day["links"], day["broken"]) for day in summary.chart()] == [(2, 1)]
    statements = []
    note = lambda *args: statements.append(args[2])  # noqa: E731 - SQLAlchemy wants this very function again
    sa.event.listen(model.meta.engine, "before_cursor_execute", note)
    try:
        assert app.get("/report/broken-links").status_code == 200
    finally:
        sa.event.remove(model.meta.engine, "before_cursor_execute", note)
    ours = [statement for statement in statements if "archiv" in statement]
    assert len(ours) <= 10, ours
    assert not [statement for statement in ours if "FROM resource" in statement], "no count of everything"


def test_one_of_all_workers_counts_and_then_rests(dataset: Dict) -> None:
    assert summary.refresh_if_due()
    assert not summary.refresh_if_due()


def test_changes_are_counted(dataset: Dict) -> None:
    link(0, dataset, broken_since="now")
    repaired = link(1, dataset, verdict="ok")
    run(
        "INSERT INTO archival_check (resource_id, checked_at, verdict, cause) "
        "VALUES (:id, timezone('utc', now()) - interval '10 days', 'broken', 'gone')",
        id=repaired,
    )
    run("UPDATE archival SET broken_since = timezone('utc', now()) - interval '2 days' WHERE verdict = 'broken'")
    changes = summary.overview_of_portal()["changes"]
    assert changes == {"broken_7": 1, "broken_30": 1, "repaired_7": 0, "repaired_30": 1}


# -- found from everywhere ---------------------------------------------------------------------------------


def test_pages_lead_to_the_report(app: Any, dataset: Dict, ckan_config: Any, monkeypatch: Any) -> None:
    link(0, dataset)
    footer = 'href="/report/broken-links">Broken links</a>'
    assert footer in app.get("/").body
    page = app.get("/organization/office").body
    assert 'href="/report/broken-links/office"' in page
    assert "Broken links: 1" in page
    token = factories.SysadminWithToken()["token"]
    assert "/report/broken-links" in app.get("/ckan-admin/", headers={"Authorization": token}).body
    editor = factories.UserWithToken()["token"]
    dashboard = app.get("/dashboard/datasets", headers={"Authorization": editor}).body
    assert "Links of my organizations" in dashboard
    monkeypatch.setitem(ckan_config, "ckanext-archiver.report_link", "false")
    assert footer not in app.get("/").body


# -- checking again ----------------------------------------------------------------------------------------


@pytest.fixture
def editor(dataset: Dict) -> Dict:
    user = factories.UserWithToken()
    tk.get_action("organization_member_create")(
        {"ignore_auth": True}, {"id": dataset["owner_org"], "username": user["name"], "role": "editor"}
    )
    return {"Authorization": user["token"]}


def test_an_editor_checks_what_the_list_shows(app: Any, dataset: Dict, editor: Dict) -> None:
    mine = {link(number, dataset) for number in range(2)}
    others = link(9, factories.Dataset(owner_org=factories.Organization()["id"]))

    app.post("/report/broken-links-check", data={"cause": "gone"}, headers=editor, follow_redirects=False)

    assert requested("priority") == mine
    assert others not in requested()


def test_an_editor_checks_selected_links(app: Any, dataset: Dict, editor: Dict) -> None:
    one, _ = link(0, dataset), link(1, dataset)
    app.post("/report/broken-links-check", data={"resource_id": one}, headers=editor, follow_redirects=False)
    assert requested("priority") == {one}


def test_others_check_nothing(app: Any, dataset: Dict) -> None:
    link(0, dataset)
    headers = {"Authorization": factories.UserWithToken()["token"]}
    app.post("/report/broken-links-check", data={}, headers=headers, status=403)
    assert requested() == set()


def test_many_links_go_to_the_round(dataset: Dict, monkeypatch: Any) -> None:
    made = {link(number, dataset) for number in range(3)}
    monkeypatch.setattr(checking_now, "MOST_ON_PRIORITY", 2)
    assert checking_now.request(checking_now.OF_DATASET, dataset["id"]) == ("bulk", 3)
    assert requested("bulk") == made


def test_check_now_on_the_resource_page(app: Any, dataset: Dict, editor: Dict) -> None:
    made = link(0, dataset)
    path = f"/dataset/rain/resource/{made}"
    assert 'action="/dataset/' in app.get(path, headers=editor).body
    assert "Check now" not in app.get(path).body

    app.post(f"{path}/check", headers=editor, follow_redirects=False)
    assert requested("priority") == {made}
    page = app.post(f"{path}/check", headers=editor).body
    assert "This link was checked less than a minute ago." in page
    assert 'data-module="archiver-panel"' in page
    assert '<noscript><meta http-equiv="refresh"' in page
    panel = app.get(f"{path}/archiver-panel").body
    assert panel.lstrip().startswith("<section")
    app.post(f"{path}/check", headers={"Authorization": factories.UserWithToken()["token"]}, status=403)


# -- actions -----------------------------------------------------------------------------------------------


def test_link_list_is_what_the_list_shows(dataset: Dict) -> None:
    made = [link(number, dataset) for number in range(3)]
    page = tk.get_action("archiver_link_list")({}, {"limit": 2, "cause": "gone"})
    assert [shown["resource_id"] for shown in page["links"]] == made[:2]
    assert (page["total"], page["total_is_estimate"]) == (3, False)
    page = tk.get_action("archiver_link_list")({}, {"limit": 2, "after": page["next"]})
    assert [shown["resource_id"] for shown in page["links"]] == made[2:]
    with pytest.raises(tk.ValidationError, match="verdict must be one of"):
        tk.get_action("archiver_link_list")({}, {"verdict": "bad"})


def test_summary_of_an_organization(dataset: Dict) -> None:
    link(0, dataset)
    link(1, factories.Dataset(owner_org=factories.Organization(name="council")["id"]))
    assert tk.get_action("archiver_summary")({}, {"organization": "office"})["verdicts"]["broken"] == 1
    assert tk.get_action("archiver_summary")({}, {})["verdicts"]["broken"] == 2


def test_history_of_a_resource(dataset: Dict) -> None:
    made = link(0, dataset)
    for days, verdict in ((3, "ok"), (2, "broken"), (1, "broken")):
        run(
            "INSERT INTO archival_check (resource_id, checked_at, verdict, cause) "
            "VALUES (:id, timezone('utc', now()) - :days * interval '1 day', :verdict, 'gone')",
            id=made,
            days=days,
            verdict=verdict,
        )
    found = tk.get_action("archiver_history")({}, {"id": made})
    assert [check["verdict"] for check in found["checks"]] == ["ok", "broken", "broken"]
    assert found["checks"][0]["checked_at"].endswith("+00:00")
    (outage,) = found["outages"]
    assert (outage["start"], outage["end"]) == (found["checks"][1]["checked_at"], None)
    shown = tk.get_action("archiver_resource_show")({}, {"id": made})
    assert shown["uptime"] == {"7": 33.3, "30": 33.3, "90": 33.3, "365": 33.3}
