"""The pages of the report, its files and its feed."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
import zipfile
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup
from ckan import model
from ckan.tests import factories, helpers

from ckanext.archiver import clock, rollup, tasks
from ckanext.archiver.report import counts, exports, feed, groups, listing, reader, xlsx
from ckanext.archiver.report.filters import LinkFilter, parse
from origin_server import Origin
from report_site import archive, dataset_with, organizations, put_below
from rows import run

__all__ = ["organizations"]

pytestmark = pytest.mark.usefixtures("clean_site")

Dict = dict[str, Any]
DAY = datetime.timedelta(days=1)


def soup(app: Any, path: str, **options: Any) -> BeautifulSoup:
    return BeautifulSoup(app.get(path, **options).body, "html.parser")


def text(node: Any) -> str:
    return " ".join(node.get_text(" ").split())


# -- overview -----------------------------------------------------------------------------------------------


@pytest.fixture
def portal(organizations: dict[str, Dict]) -> dict[str, Dict]:
    dataset_with(["broken", "broken", "ok", ""], organizations["agency"], title="Rain", name="rain")
    dataset_with(["failing", "not-sure"], organizations["ministry"], title="Snow", name="snow")
    run(
        "UPDATE archival SET cause = 'gone', broken_since = timezone('utc', now()) - interval '10 days' WHERE is_broken"
    )
    return organizations


def test_the_overview_counts_and_groups(app: Any, portal: dict[str, Dict]) -> None:
    page = soup(app, "/report/broken-links")
    tiles = {text(tile.select_one(".archiver-tile-label")): text(tile.strong) for tile in page.select(".archiver-tile")}
    assert tiles == {
        "Broken": "2",
        "Failing, being confirmed": "1",
        "Not sure": "1",
        "Working": "1",
        "Not checked yet": "1",
    }
    assert "1 dataset has broken links." in text(page)
    (group,) = page.select(".archiver-groups > li")
    assert text(group.select_one(".archiver-group-head")).startswith("example.org · 2 broken links in 1 dataset")
    assert "Find the file's new address" in text(group)
    (link,) = group.select(".archiver-group-head a")
    assert link["href"] == "/archiver/links?cause=gone&host=example.org"
    changes = [[text(cell) for cell in row.select("td")] for row in page.select("#archiver-change ~ table tbody tr")]
    assert changes == [["0", "2"], ["0", "0"]]


def test_a_list_of_several_states_names_each(app: Any, portal: dict[str, Dict]) -> None:
    badges = [text(badge) for badge in soup(app, "/archiver/links?verdict=any").select(".archiver-why .archiver-badge")]
    assert sorted(badges) == sorted(
        ["Link broken", "Link broken", "Link failing", "Link works", "Not checked yet", "Not sure"]
    )
    assert soup(app, "/archiver/links").select(".archiver-why .archiver-badge") == []


def test_a_long_list_has_pages_in_both_directions(app: Any, organizations: dict[str, Dict]) -> None:
    dataset_with(["broken"] * 60, organizations["agency"])

    def links_of(path: str) -> tuple[int, dict[str, str]]:
        page = soup(app, path)
        return len(page.select(".archiver-rows tbody tr")), {
            text(link): link["href"] for link in page.select(".archiver-pager a")
        }

    number, first = links_of("/archiver/links?sort=dataset")
    assert (number, list(first)) == (50, ["Next page"])
    number, second = links_of(first["Next page"])
    assert (number, list(second)) == (10, ["First page", "Previous page"])
    assert links_of(second["Previous page"]) == (50, first)
    assert links_of(second["First page"]) == (50, first)


def test_organizations_are_a_tree_that_is_searched_and_sorted(app: Any, portal: dict[str, Dict]) -> None:
    dataset_with(["ok"], portal["council"])

    def names(query: str) -> list[str]:
        rows = soup(app, f"/report/broken-links{query}").select(".archiver-stack tbody th")
        return [text(row.a) for row in rows]

    assert names("") == ["Ministry", "Council"]
    assert names("?below=ministry") == ["Agency"]
    assert names("?org_q=GENC") == ["Agency"]
    assert names("?org_sort=name") == ["Council", "Ministry"]
    assert names("?org_q=nothing") == []


def test_organizations_in_a_circle_are_shown(app: Any) -> None:
    one, two = factories.Organization(name="one", title="One"), factories.Organization(name="two", title="Two")
    put_below(one, two)
    put_below(two, one)
    dataset_with(["broken"], one)
    rows = soup(app, "/report/broken-links").select(".archiver-stack tbody th")
    assert sorted(text(row.a) for row in rows) == ["One", "Two"]


def test_organizations_come_fifty_at_a_time(app: Any) -> None:
    for number in range(53):
        model.Session.add(
            model.Group(name=f"org-{number:02}", title=f"Org {number:02}", type="organization", is_organization=True)
        )
    model.Session.commit()
    ids = [row.id for row in run("SELECT id FROM \"group\" WHERE name LIKE 'org-%'")]
    for number, id_ in enumerate(ids):
        model.Session.add(model.Package(name=f"d{number}", title="D", type="dataset", owner_org=id_))
    model.Session.commit()
    first = soup(app, "/report/broken-links?org_sort=name")
    assert len(first.select(".archiver-stack tbody tr")) == 50
    assert text(first.select_one(".archiver-pager span")) == "Page 1 of 2"
    second = soup(app, first.select_one(".archiver-pager a")["href"].partition("#")[0])
    assert len(second.select(".archiver-stack tbody tr")) == 3


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/report/broken-links?org_sort=size", 400, "org_sort must be one of broken, share, links, name."),
        ("/report/broken-links?org_page=0", 400, "org_page is the number of a page."),
        ("/report/broken-links?org_page=x", 400, "org_page is the number of a page."),
        ("/report/broken-links?below=nobody", 404, "There is no such organization."),
        ("/archiver/links?verdict=dead", 400, "verdict must be one of"),
        ("/archiver/links?after=xyz", 400, "after must be the value of the same name that another page gave."),
        ("/archiver/links?format=pdf", 400, "The format must be html, csv, json, xlsx or atom."),
        ("/archiver/links?organization=nobody&format=csv", 404, "There is no such organization."),
        ("/archiver/links?organization=nobody&format=atom", 404, "There is no such organization."),
    ],
)
def test_a_filter_that_cannot_be_read_is_an_error(app: Any, path: str, status: int, sentence: str) -> None:
    assert sentence in app.get(path, status=status).body


def test_an_organization_may_have_any_name(app: Any) -> None:
    for name in ("links", "list", "archiver", "history"):
        factories.Organization(name=name, title=f"The {name}")
        assert f"Broken links of The {name}" in app.get(f"/report/broken-links/{name}").body


# -- over time ----------------------------------------------------------------------------------------------


def test_the_worker_counts_what_the_page_shows(app: Any, portal: dict[str, Dict], monkeypatch: Any) -> None:
    monkeypatch.setattr(counts, "COUNTED_WHEN_READ", -1)
    assert rollup.refresh() is True
    assert rollup.refresh() is False, "not twice within five minutes"
    rows = run(
        "SELECT organization_id, verdict, cause, links, datasets FROM archiver_link_count "
        "WHERE organization_id = '*' ORDER BY verdict, cause"
    )
    assert [tuple(row) for row in rows] == [
        ("*", "broken", "gone", 2, 1),
        ("*", "failing", "", 1, 1),
        ("*", "none", "", 1, 0),
        ("*", "not-sure", "", 1, 0),
        ("*", "ok", "", 1, 0),
    ]
    # What was counted is shown, not what is there now.
    run("UPDATE archival SET is_broken = false, verdict = 'ok' WHERE is_broken")
    page = soup(app, "/report/broken-links")
    assert text(page.select_one(".archiver-tile-broken strong")) == "2"
    assert "Counted" in text(page.select_one(".archiver-meta"))
    assert json.loads(app.get("/report/broken-links?format=json").body)["num_broken_resources"] == 2


def test_private_datasets_are_counted_beside_what_the_worker_counted(
    portal: dict[str, Dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "COUNTED_WHEN_READ", -1)
    dataset_with(["broken"], portal["agency"], private=True)
    rollup.refresh()
    boss = reader.of_user(model.User.get(factories.Sysadmin()["name"]))
    assert counts.summary(counts.source(reader.EVERYBODY)).count("broken") == 2
    assert counts.summary(counts.source(boss)).count("broken") == 3


def test_groups_that_the_worker_counted_are_joined_with_private_ones(
    portal: dict[str, Dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "COUNTED_WHEN_READ", -1)
    dataset_with(["broken", "broken"], portal["agency"], private=True)
    run("UPDATE archival SET cause = 'gone' WHERE is_broken")
    rollup.refresh()
    of_public = "NOT (SELECT private FROM package WHERE id = package_id)"
    run(f"UPDATE archival SET is_broken = false, verdict = 'ok' WHERE {of_public}")

    def shown(who: reader.Reader) -> list[tuple[str, str, int, int]]:
        found = groups.of_portal(counts.source(who).groups, who)
        return [(group.cause, group.host, group.links, group.datasets) for group in found]

    assert shown(reader.EVERYBODY) == [("gone", "example.org", 2, 1)]
    assert shown(reader.of_user(model.User.get(factories.Sysadmin()["name"]))) == [("gone", "example.org", 4, 2)]


def test_stale_counts_are_not_shown(portal: dict[str, Dict], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "COUNTED_WHEN_READ", -1)
    rollup.refresh()
    run("UPDATE archival SET is_broken = false, verdict = 'ok' WHERE is_broken")
    run("UPDATE archiver_state SET updated_at = now() - interval '7 hours' WHERE key = 'link-counts'")
    known = counts.summary(counts.source(reader.EVERYBODY))
    assert known.counted_at is None
    assert known.count("broken") == 0


@pytest.mark.parametrize(("seconds", "turns"), [(-1, (5, 6)), (60, (1,))])
def test_days_before_are_made_from_the_history_of_checks(
    app: Any, portal: dict[str, Dict], monkeypatch: pytest.MonkeyPatch, seconds: float, turns: tuple[int, ...]
) -> None:
    """One at a time on a large portal, together on a small one."""
    (resource,) = run("SELECT resource_id FROM archival WHERE is_broken ORDER BY resource_id LIMIT 1")
    for days, verdict in ((5, "ok"), (3, "failing"), (2, "broken")):
        run(
            "INSERT INTO archival_check (resource_id, checked_at, verdict, cause) VALUES "
            "(:id, timezone('utc', now()) - :days * interval '1 day', :verdict, 'gone')",
            id=resource.resource_id,
            days=days,
            verdict=verdict,
        )
    assert rollup.fill_back() is False, "nothing was counted yet"
    rollup.refresh()
    monkeypatch.setattr(rollup, "BACK_SECONDS", seconds)
    made = 0
    for _ in range(20):
        run("UPDATE archiver_state SET updated_at = now() - interval '1 hour' WHERE key LIKE 'turn:%'")
        made += rollup.fill_back()
        model.Session.commit()
    rows = run(
        "SELECT CURRENT_DATE - day AS ago, verdict FROM archiver_link_count WHERE organization_id = '*' "
        "AND links > 0 AND day < timezone('utc', now())::date ORDER BY day"
    )
    assert [(row.ago, row.verdict) for row in rows] == [
        (5, "ok"),
        (4, "ok"),
        (3, "failing"),
        (2, "broken"),
        (1, "broken"),
    ]
    assert made in turns
    page = soup(app, "/report/broken-links")
    assert page.select_one(".archiver-chart polyline")["points"]
    assert len(page.select(".archiver-chart tbody tr")) == 6


def test_old_days_are_thinned_out(portal: dict[str, Dict]) -> None:
    run(
        "INSERT INTO archiver_link_count SELECT '*', timezone('utc', now())::date - n, 'ok', '', 1, 1 "
        "FROM generate_series(1, 500) n"
    )
    rollup.refresh()
    days = [row.day for row in run("SELECT DISTINCT day FROM archiver_link_count ORDER BY day")]
    today = clock.utc().date()
    assert all(day.isoweekday() == 1 for day in days if (today - day).days > rollup.DAILY)
    assert (today - days[0]).days <= 400
    assert {today - n * DAY for n in range(rollup.DAILY)} <= set(days)


# -- links to it --------------------------------------------------------------------------------------------


def test_pages_lead_to_it(app: Any, portal: dict[str, Dict]) -> None:
    footer = soup(app, "/about").select_one("footer")
    assert footer.find("a", href="/report/broken-links")
    tab = soup(app, "/organization/agency").select_one('.nav-tabs a[href="/report/broken-links/agency"]')
    assert text(tab) == "Broken links: 2"
    headers = {"Authorization": factories.SysadminWithToken()["token"]}
    assert soup(app, "/ckan-admin/", headers=headers).select_one('.nav-tabs a[href="/report/broken-links"]')
    dashboard = soup(app, "/dashboard/datasets", headers=headers)
    assert dashboard.select_one('.nav-tabs a[href="/archiver/links?mine=1"]')


@pytest.mark.ckan_config("ckanext-archiver.report_link", "false")
def test_the_footer_can_be_without_it(app: Any) -> None:
    assert not soup(app, "/about").select_one("footer").find("a", href="/report/broken-links")


def test_links_of_my_organizations(app: Any, portal: dict[str, Dict]) -> None:
    user = factories.UserWithToken(name="editor")
    helpers.call_action("member_create", id="council", object="editor", object_type="user", capacity="editor")
    dataset_with(["broken"], portal["council"], title="Mine")
    page = soup(app, "/archiver/links?mine=1", headers={"Authorization": user["token"]})
    assert [text(row.a) for row in page.select(".archiver-rows tbody th")] == ["Mine"]
    anonymous = app.get("/archiver/links?mine=1", follow_redirects=False)
    assert anonymous.status_code == 302
    assert "/user/login" in anonymous.headers["Location"]


# -- files --------------------------------------------------------------------------------------------------


def cells(workbook: bytes) -> list[list[str | None]]:
    """What is in the first sheet."""
    spreadsheet = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            ElementTree.fromstring(archive.read(name))  # noqa: S314 - our own
        sheet = ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))  # noqa: S314 - our own
    return [[_value(cell, spreadsheet) for cell in row] for row in sheet.iter(f"{spreadsheet}row")]


def _value(cell: ElementTree.Element, spreadsheet: str) -> str | float | None:
    if not len(cell):
        return None
    if cell.get("t") != "inlineStr":
        return float(cell.findtext(f"{spreadsheet}v") or "")
    return cell.findtext(f"{spreadsheet}is/{spreadsheet}t") or ""


def test_a_workbook_runs_no_text(app: Any, organizations: dict[str, Dict]) -> None:
    dataset = dataset_with([""], organizations["agency"], title="=1+1 <b>\x0b007")
    archive(dataset["resources"][0], "broken", url_redirected_to="@cmd")
    model.Session.commit()
    answer = app.get("/archiver/links?format=xlsx")
    assert answer.headers["Content-Type"] == exports.TYPES["xlsx"]
    assert answer.headers["Content-Disposition"] == 'attachment; filename="links.xlsx"'
    titles, row = cells(answer.get_data())
    assert titles == list(exports.LINK_COLUMNS)
    values = dict(zip(titles, row, strict=True))
    assert values["url_redirected_to"] == "@cmd"
    assert values["failure_count"] == 3.0
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", str(values["last_updated"]))
    assert values["package_title"].startswith("=1+1 <b>")
    assert values["last_success"] is None


def test_a_workbook_of_many_rows_has_many_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "ROWS_PER_SHEET", 2)
    pieces = b"".join(xlsx.workbook([["a"], ["b"], ["c"], [None, "x" * 40_000]]))
    with zipfile.ZipFile(io.BytesIO(pieces)) as archive:
        assert archive.read("xl/workbook.xml").count(b"<sheet ") == 2
        assert len(archive.read("xl/worksheets/sheet2.xml")) < 33_500
    assert cells(pieces) == [["a"], ["b"]]


def test_openpyxl_reads_the_workbook() -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed (dev-requirements.txt)")
    pieces = b"".join(xlsx.workbook([["name", "007"], ["=1+1", None], [7, 0.5]]))
    sheet = openpyxl.load_workbook(io.BytesIO(pieces)).active
    assert [[(cell.value, cell.data_type) for cell in row] for row in sheet.iter_rows()] == [
        [("name", "s"), ("007", "s")],
        [("=1+1", "s"), (None, "n")],
        [(7, "n"), (0.5, "n")],
    ]


def test_an_export_has_every_page(app: Any, organizations: dict[str, Dict], monkeypatch: Any) -> None:
    monkeypatch.setattr(listing, "EXPORT_BATCH", 3)
    dataset_with(["broken"] * 8, organizations["agency"])
    for format_ in ("csv", "json"):
        body = app.get(f"/archiver/links?organization=agency&format={format_}").body
        rows = json.loads(body)["table"] if format_ == "json" else list(csv.DictReader(io.StringIO(body)))
        assert {row["resource_name"] for row in rows} == {f"File {n}" for n in range(8)}
        assert len(rows) == 8


def test_an_export_gives_its_connection_back(app: Any, organizations: dict[str, Dict]) -> None:
    dataset_with(["broken"] * 3, organizations["agency"])
    before = model.meta.engine.pool.checkedout()
    app.get("/archiver/links?format=csv")
    stream = listing.stream(listing.LinkFilter(), reader.EVERYBODY)
    next(stream)
    stream.close()
    assert model.meta.engine.pool.checkedout() <= before


def test_a_reader_who_stops_reading_keeps_no_connection(
    app: Any, organizations: dict[str, Dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "EXPORT_BATCH", 2)
    dataset_with(["broken"] * 5, organizations["agency"])
    before = model.meta.engine.pool.checkedout()
    streams = [listing.stream(listing.LinkFilter(), reader.EVERYBODY) for _ in range(20)]
    for stream in streams:
        next(stream)
    assert model.meta.engine.pool.checkedout() == before
    assert [len(list(stream)) for stream in streams] == [4] * 20


@pytest.mark.parametrize("wanted", [{}, {"verdict": "any"}, {"sort": "host"}, {"sort": "newest"}, {"q": "File"}])
def test_an_export_has_every_link_once(
    organizations: dict[str, Dict], monkeypatch: pytest.MonkeyPatch, wanted: Dict
) -> None:
    monkeypatch.setattr(listing, "EXPORT_BATCH", 3)
    for n in range(4):
        dataset_with(["broken"] * 2, organizations["agency"], name=f"d{n}")
    run("UPDATE archival SET broken_since = NULL WHERE resource_id IN (SELECT resource_id FROM archival LIMIT 4)")
    found = [row["resource_id"] for row in listing.stream(parse(wanted), reader.EVERYBODY)]
    assert len(found) == len(set(found)) == 8
    assert found == [row["resource_id"] for row in listing.page(parse(wanted), reader.EVERYBODY).rows]


def test_the_public_part_of_a_group_that_was_not_kept_is_counted(
    organizations: dict[str, Dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "COUNTED_WHEN_READ", -1)
    monkeypatch.setattr(groups, "KEPT", 1)
    dataset_with(["broken"] * 5, organizations["agency"], name="large")
    dataset_with(["broken"] * 3, organizations["agency"], name="small")
    dataset_with(["broken"] * 4, organizations["agency"], name="secret", private=True)
    run("UPDATE archival SET cause = 'gone'")
    run("UPDATE archival SET host = 'small.example' WHERE package_id IN (SELECT id FROM package WHERE name <> 'large')")
    rollup.refresh()
    boss = reader.of_user(model.User.get(factories.Sysadmin()["name"]))
    found = groups.of_portal(counts.source(boss).groups, boss)
    assert [(group.host, group.links, group.datasets) for group in found][0] == ("small.example", 7, 2)


def test_a_list_that_is_not_counted_has_the_number_of_the_overview(
    organizations: dict[str, Dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_with(["broken"] * 7, organizations["agency"])
    monkeypatch.setattr(counts, "COUNTED_WHEN_READ", -1)
    monkeypatch.setattr(listing, "COUNTED", 2)
    rollup.refresh()
    for wanted in (LinkFilter(), LinkFilter(verdict="any"), LinkFilter(organization="agency")):
        assert listing.total(wanted, reader.EVERYBODY) == listing.Total(7, is_exact=False)
    # The counts know no text.
    assert not listing.total(LinkFilter(q="File"), reader.EVERYBODY).is_exact


def test_what_was_repaired_and_broke_again_is_not_repaired(organizations: dict[str, Dict]) -> None:
    dataset_with(["broken", "ok"], organizations["agency"])
    run("UPDATE archival SET repaired_at = timezone('utc', now())")
    assert counts.changes(reader.EVERYBODY).repaired_7 == 1


def test_files_hide_what_is_private(app: Any, organizations: dict[str, Dict]) -> None:
    dataset_with(["broken"], organizations["agency"], private=True, title="Secret rain")
    headers = {"Authorization": factories.SysadminWithToken()["token"]}
    for format_ in ("html", "csv", "json", "atom"):
        path = f"/archiver/links?format={format_}"
        assert "Secret rain" not in app.get(path).body
    for path in ("/archiver/links?format=csv", "/report/broken-links/agency?format=json", "/archiver/links"):
        answer = app.get(path, headers=headers)
        assert "Secret rain" in answer.body
        assert "private" in answer.headers["Cache-Control"]


# -- feed ---------------------------------------------------------------------------------------------------

ATOM = "{http://www.w3.org/2005/Atom}"


def test_a_link_that_was_repaired_by_an_edit_is_a_repair(
    app: Any, organizations: dict[str, Dict], origin: Origin
) -> None:
    dataset = dataset_with(["broken"], organizations["agency"])
    (resource,) = dataset["resources"]
    origin.serve("/new.csv", b"a,b\n1,2\n")
    helpers.call_action("resource_patch", id=resource["id"], url=origin.url("/new.csv"))
    tasks.update_resource(resource["id"])

    assert counts.changes(reader.EVERYBODY).repaired_7 == 1
    assert [entry.is_broken for entry in feed.entries(LinkFilter(), reader.EVERYBODY)] == [False]


def test_an_organization_can_be_named_by_its_title(app: Any, organizations: dict[str, Dict]) -> None:
    dataset_with(["broken"], organizations["agency"])
    title = organizations["agency"]["title"]
    page = soup(app, f"/archiver/links?organization={title.upper()}")
    assert len(page.select(".archiver-rows tbody tr")) == 1
    assert page.select_one("#archiver-f-organization")["value"] == title
    factories.Organization(title=title.swapcase())
    # The form's other fields stay.
    page = soup(app, f"/archiver/links?organization={title}&res_format=CSV")
    assert "There is no such organization." in text(page.select_one(".flash-messages"))
    assert page.select_one('input[name="res_format"]')["value"] == "CSV"
    assert soup(app, "/archiver/links?organization=agency").select_one("#archiver-f-organization")["value"] == "agency"


def test_the_filters_for_links_that_have_moved_find_those_that_work(app: Any, organizations: dict[str, Dict]) -> None:
    dataset = dataset_with(["", "broken"], organizations["agency"])
    archive(dataset["resources"][0], "ok", permanent_url="http://example.org/new.csv", permanent_seen=3)
    model.Session.commit()
    form = soup(app, "/archiver/links").select_one(".archiver-filter-form")
    sent = {field["name"]: field.get("value", "") for field in form.select("input[type=hidden]")}
    # The order is that of the state before.
    path = "/archiver/links?" + urlencode({**sent, "moved": "1", "sort": "longest"})
    assert len(soup(app, path).select(".archiver-rows tbody tr")) == 1


def test_no_feed_is_offered_that_a_feed_reader_may_not_read(app: Any) -> None:
    boss = {"Authorization": factories.SysadminWithToken()["token"]}
    assert "format=atom" in app.get("/archiver/links", headers=boss).body
    assert "format=atom" not in app.get("/archiver/links?mine=1", headers=boss).body


def test_an_organization_without_broken_links_is_good_news(app: Any, portal: dict[str, Dict]) -> None:
    def empty(query: str) -> str:
        return text(soup(app, f"/archiver/links?{query}").select_one(".archiver-empty"))

    assert empty("organization=council&include_sub_organizations=1") == "No broken links."
    assert empty("organization=council&q=rain") == "No links like this."
    assert empty("organization=council&verdict=failing") == "No links like this."


@pytest.mark.parametrize("format_", ["csv", "json", "xlsx", "atom"])
@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ("mine=1", 403, "Log in to see the links of your organizations."),
        ("organization=nobody", 404, "There is no such organization."),
        ("since=soon", 400, "since is a day like 2026-10-31."),
    ],
)
def test_a_program_gets_a_status_and_a_sentence(app: Any, format_: str, query: str, status: int, sentence: str) -> None:
    answer = app.get(f"/archiver/links?{query}&format={format_}", status=status, follow_redirects=False)
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.body == f"{sentence}\n"


@pytest.mark.parametrize(
    ("state", "offered", "missing"),
    [
        ("broken", "soft-404", "own-fault"),
        ("failing", "gone", "ok"),
        ("not-sure", "blocked", "gone"),
        ("ok", "too-large", "gone"),
        ("any", "ok", ""),
    ],
)
def test_only_causes_of_the_state_are_offered(app: Any, state: str, offered: str, missing: str) -> None:
    found = {option["value"] for option in soup(app, f"/archiver/links?verdict={state}").select("[name=cause] option")}
    assert offered in found
    assert not missing or missing not in found


def test_a_row_leads_to_the_address_and_says_what_to_do(app: Any, organizations: dict[str, Dict]) -> None:
    dataset = dataset_with(["", ""], organizations["agency"])
    run("UPDATE resource SET url = 'javascript:alert(1)' WHERE id = :id", id=dataset["resources"][1]["id"])
    for resource in dataset["resources"]:
        archive(resource, "not-sure", cause="blocked", detail="login-wall", facts={"host": "example.org"})
    model.Session.commit()
    boss = {"Authorization": factories.SysadminWithToken()["token"]}
    page = soup(app, "/archiver/links?verdict=not-sure", headers=boss)
    assert [link["href"] for link in page.select(".archiver-url a")] == ["http://example.org/0.csv"]
    assert text(page).count("Use an address from which everybody can download the file without a login.") == 2
    assert "never" not in text(page.select_one(".archiver-rows tbody"))


def test_a_group_of_several_says_since_when_the_oldest_is_broken(app: Any, portal: dict[str, Dict]) -> None:
    heads = ".archiver-group-head"
    assert ", the oldest since" in text(soup(app, "/report/broken-links").select_one(heads))
    run("DELETE FROM archival WHERE id = (SELECT min(id) FROM archival WHERE is_broken)")
    assert ", since" in text(soup(app, "/report/broken-links").select_one(heads))


def test_the_report_in_english_on_a_page_from_right_to_left_says_so(app: Any, portal: dict[str, Dict]) -> None:
    for path in ("report/broken-links", "archiver/links"):
        report = soup(app, f"/ar/{path}").select_one(".archiver-report")
        assert (report["lang"], report["dir"]) == ("en", "ltr")
        assert "dir" not in soup(app, f"/de/{path}").select_one(".archiver-report").attrs
    badge = soup(app, "/ar/dataset/rain").select_one(".archiver-badge")
    assert (badge["lang"], badge["dir"]) == ("en", "auto")


def test_who_is_not_logged_in_is_led_to_the_log_in(app: Any) -> None:
    for path in ("/archiver/links?mine=1", "/archiver/links/history"):
        answer = app.get(path, follow_redirects=False)
        assert (answer.status_code, "/user/login" in answer.headers["Location"]) == (302, True)


def test_the_feed_has_what_broke_and_what_was_repaired(app: Any, organizations: dict[str, Dict]) -> None:
    dataset = dataset_with(["", ""], organizations["agency"], title="Rain & <b>snow</b>", name="rain")
    broken, repaired = dataset["resources"]
    now = datetime.datetime(2026, 5, 1)  # noqa: DTZ001 - as the columns have it
    archive(broken, "broken", cause="gone", broken_since=now)
    archive(repaired, "ok", cause="ok", repaired_at=now + DAY)
    dataset_with(["broken"], organizations["council"], title="Elsewhere")
    run("UPDATE archival SET broken_since = timezone('utc', now()) WHERE is_broken AND broken_since IS NULL")

    answer = app.get("/archiver/links?organization=agency&format=atom")

    assert answer.headers["Content-Type"] == exports.TYPES["atom"]
    feed = ElementTree.fromstring(answer.body)  # noqa: S314 - our own
    entries = feed.findall(f"{ATOM}entry")
    assert [entry.find(f"{ATOM}title").text for entry in entries] == [
        "Works again: Rain & <b>snow</b> › File 1",
        "Broken: Rain & <b>snow</b> › File 0",
    ]
    assert entries[0].find(f"{ATOM}updated").text == "2026-05-02T00:00:00+00:00"
    assert entries[0].find(f"{ATOM}link").get("href").endswith(f"/dataset/rain/resource/{repaired['id']}")
    assert len({entry.find(f"{ATOM}id").text for entry in entries}) == 2
    assert feed.find(f"{ATOM}updated").text == entries[0].find(f"{ATOM}updated").text
    only = ElementTree.fromstring(app.get("/archiver/links?cause=gone&format=atom").body)  # noqa: S314 - our own
    assert [entry.find(f"{ATOM}category").get("term") for entry in only.findall(f"{ATOM}entry")] == [
        "repaired",
        "broken",
    ]


def test_an_empty_feed_is_one(app: Any) -> None:
    feed = ElementTree.fromstring(app.get("/report/broken-links?format=atom").body)  # noqa: S314 - our own
    assert feed.findall(f"{ATOM}entry") == []
    assert feed.find(f"{ATOM}updated").text
