"""The Broken Links report: what it counts, for whom, and in which formats."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from ckan.tests import factories, helpers

from ckanext.archiver import reports
from ckanext.archiver.report import exports
from report_site import archive, dataset_with, organizations, put_below

__all__ = ["organizations"]

pytestmark = pytest.mark.usefixtures("clean_site")

Dict = dict[str, Any]


def rows(data: Dict) -> dict[str, tuple[int, int, int, int]]:
    return {
        row["organization_name"]: (
            row["package_count"],
            row["broken_package_count"],
            row["resource_count"],
            row["broken_resource_count"],
        )
        for row in data["table"]
    }


def totals(data: Dict) -> tuple[int, int, int, int]:
    return (
        data["num_packages"],
        data["num_broken_packages"],
        data["num_resources"],
        data["num_broken_resources"],
    )


def test_the_index_counts_confirmed_broken_links(organizations: dict[str, Dict]) -> None:
    dataset_with(["broken", "broken", "ok", ""], organizations["ministry"])
    dataset_with(["failing", "not-sure"], organizations["ministry"])
    dataset_with([], organizations["council"])

    data = reports.broken_links()

    assert rows(data) == {"ministry": (2, 1, 6, 2), "council": (1, 0, 0, 0)}
    assert totals(data) == (3, 1, 6, 2)
    assert data["broken_resource_percent"] == 33.3
    assert data["broken_package_percent"] == 33.3
    assert data["table"][0] == {
        "organization_name": "ministry",
        "organization_title": "Ministry",
        "package_count": 2,
        "resource_count": 6,
        "broken_package_count": 1,
        "broken_resource_count": 2,
        "broken_package_percent": 50.0,
        "broken_resource_percent": 33.3,
    }


def test_what_is_private_or_deleted_does_not_count(organizations: dict[str, Dict]) -> None:
    owner = organizations["ministry"]
    dataset_with(["broken"], owner, private=True)
    deleted = dataset_with(["broken"], owner)
    helpers.call_action("package_delete", id=deleted["id"])
    half = dataset_with(["broken", "ok"], owner)
    helpers.call_action("resource_delete", id=half["resources"][0]["id"])
    dataset_with(["broken"], owner, state="draft")

    assert rows(reports.broken_links()) == {"ministry": (1, 0, 1, 0)}
    data = reports.broken_links(organization="ministry")
    assert data["table"] == []
    assert totals(data) == (1, 0, 1, 0)


def test_datasets_without_an_organization_have_a_row_of_their_own(organizations: dict[str, Dict]) -> None:
    dataset_with(["broken"], None)
    dataset_with(["ok"], organizations["council"])

    data = reports.broken_links()

    assert rows(data) == {"": (1, 1, 1, 1), "council": (1, 0, 1, 0)}
    assert totals(data) == (2, 1, 2, 1)


def test_sub_organizations_count_above_but_once_in_the_total(organizations: dict[str, Dict]) -> None:
    dataset_with(["broken"], organizations["office"])
    dataset_with(["ok"], organizations["agency"])
    dataset_with(["broken", "broken"], organizations["council"])

    assert rows(reports.broken_links()) == {
        "council": (1, 1, 2, 2),
        "office": (1, 1, 1, 1),
        "agency": (1, 0, 1, 0),
    }
    data = reports.broken_links(include_sub_organizations=True)
    assert rows(data) == {
        "council": (1, 1, 2, 2),
        "ministry": (2, 1, 2, 1),
        "agency": (2, 1, 2, 1),
        "office": (1, 1, 1, 1),
    }
    assert totals(data) == (3, 2, 4, 3)


def test_organizations_that_are_each_others_parent_end() -> None:
    one, two = factories.Organization(name="one"), factories.Organization(name="two")
    put_below(one, two)
    put_below(two, one)
    dataset_with(["broken"], one)

    assert rows(reports.broken_links(include_sub_organizations=True)) == {
        "one": (1, 1, 1, 1),
        "two": (1, 1, 1, 1),
    }


def test_an_organization_lists_its_broken_links(organizations: dict[str, Dict]) -> None:
    dataset = dataset_with(["ok", "broken"], organizations["agency"], title="Rain", name="rain")
    dataset_with(["broken"], organizations["office"])

    data = reports.broken_links(organization="agency")

    assert (data["organization_name"], data["organization_title"]) == ("agency", "Agency")
    assert totals(data) == (1, 1, 2, 1)
    (row,) = data["table"]
    expected = {
        "resource_id": dataset["resources"][1]["id"],
        "resource_name": "File 1",
        "resource_position": 1,
        "resource_url": "http://example.org/1.csv",
        "url_up_to_date": True,
        "package_name": "rain",
        "package_title": "Rain",
        "dataset_name": "rain",
        "dataset_title": "Rain",
        "organization_name": "agency",
        "organization_title": "Agency",
        "status": "Download error",
        "reason": "The server says the file is gone (404 Not Found).",
        "failure_count": 3,
        "via": "",
        "last_success": None,
        "first_failure": None,
        "url_redirected_to": None,
    }
    assert {key: row[key] for key in expected} == expected
    assert row["last_updated"].startswith("20")

    data = reports.broken_links(organization="agency", include_sub_organizations=True)
    assert [row["organization_name"] for row in data["table"]] == ["agency", "office"]
    assert totals(data) == (2, 2, 3, 2)


def test_an_unknown_organization_is_not_found() -> None:
    factories.Group(name="a-group")

    for name in ("nobody", "a-group"):
        with pytest.raises(tk.ObjectNotFound):
            reports.broken_links(organization=name)


def test_a_deleted_organization_is_not_found(organizations: dict[str, Dict]) -> None:
    helpers.call_action("organization_delete", id="council")

    with pytest.raises(tk.ObjectNotFound):
        reports.broken_links(organization="council")


def test_nothing_at_all() -> None:
    data = reports.broken_links()

    assert data["table"] == []
    assert totals(data) == (0, 0, 0, 0)
    assert data["broken_package_percent"] == 0


# -- ckanext-report's contract -----------------------------------------------------------------------------


def test_the_report_is_what_ckanext_report_asks_for(organizations: dict[str, Dict]) -> None:
    info = reports.broken_links_report_info

    required = {"name", "generate", "template", "option_defaults", "option_combinations"}
    assert required <= set(info) <= required | {"title", "description", "authorize"}
    assert info["name"] == "broken-links"
    combinations = list(info["option_combinations"]())
    assert all(set(combination) == set(info["option_defaults"]) for combination in combinations)
    assert {"organization": "office", "include_sub_organizations": True} in combinations
    for combination in combinations:
        data = info["generate"](**combination)
        assert json.loads(json.dumps(data))["table"] == data["table"]


# -- pages and files ---------------------------------------------------------------------------------------


def test_the_page_lists_organizations_and_leads_on(app: Any, organizations: dict[str, Dict]) -> None:
    dataset_with(["broken", "ok"], organizations["agency"], title="Rain", name="rain")

    page = app.get("/report/broken-links?org_q=agency").body
    assert '<a href="/report/broken-links/agency?include_sub_organizations=1">Agency</a>' in page
    assert "50 %" in page

    page = app.get("/report/broken-links/agency").body
    assert "Broken links of Agency" in page
    assert "The server says the file is gone (404 Not Found)." in page
    assert "/dataset/rain" in page
    assert 'href="/archiver/links?format=csv&amp;organization=agency"' in page


def test_remote_words_are_no_markup(app: Any, organizations: dict[str, Dict]) -> None:
    evil = "<script>alert(1)</script>"
    dataset = dataset_with([""], organizations["agency"], title=f"Rain {evil}")
    archive(
        dataset["resources"][0],
        "broken",
        facts={"status": 404, "phrase": evil},
        url_redirected_to=f"x:{evil}",
    )
    model.Session.commit()

    page = app.get("/report/broken-links/agency").body

    assert evil not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_passwords_are_shown_to_nobody(app: Any, organizations: dict[str, Dict]) -> None:
    dataset = factories.Dataset(
        owner_org=organizations["agency"]["id"], resources=[{"url": "ftp://rain:s3cret@example.org/rain.csv"}]
    )
    archive(dataset["resources"][0], "broken")
    model.Session.commit()

    for format_ in ("html", "csv", "json"):
        shown = app.get(f"/report/broken-links/agency?format={format_}").body
        assert "ftp://***@example.org/rain.csv" in shown
        assert "s3cret" not in shown


def test_the_files_have_what_the_page_has(app: Any, organizations: dict[str, Dict]) -> None:
    dataset_with(["broken"], organizations["office"], title="Rain")

    answer = app.get("/report/broken-links?format=csv&include_sub_organizations=1")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="broken-links.csv"'
    table = list(csv.DictReader(io.StringIO(answer.body)))
    assert sorted(row["organization_name"] for row in table) == ["agency", "ministry", "office"]
    assert {row["broken_resource_count"] for row in table} == {"1"}

    answer = app.get("/report/broken-links/agency?format=csv&include_sub_organizations=1")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="broken-links-agency.csv"'
    (row,) = csv.DictReader(io.StringIO(answer.body))
    assert (row["package_title"], row["status"]) == ("Rain", "Download error")

    answer = app.get("/report/broken-links/agency?format=json&include_sub_organizations=1")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["table"][0]["package_title"] == "Rain"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\n"])
def test_no_cell_is_a_formula(organizations: dict[str, Dict], start: str) -> None:
    dataset = dataset_with([""], organizations["agency"])
    archive(dataset["resources"][0], "broken", url_redirected_to=f"{start}cmd|' /C calc'!A0")
    model.Session.commit()

    table = reports.broken_links(organization="agency")["table"]
    (row,) = csv.DictReader(io.StringIO("".join(exports.as_csv(exports.LINK_COLUMNS, table))))

    assert row["url_redirected_to"] == f"'{start}cmd|' /C calc'!A0"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("http://a.example/;=cmd", "http://a.example/;'=cmd"),
        ("a; @SUM(1)", "a; '@SUM(1)"),
        ("a\t+1;-1", "a\t'+1;'-1"),
        ("=a;=b", "'=a;'=b"),
        ("http://a.example/?a=b;c=d-e", "http://a.example/?a=b;c=d-e"),
    ],
)
def test_no_part_of_a_cell_is_a_formula(text: str, cell: str) -> None:
    """A spreadsheet whose list separator is a semicolon or a tab divides cells there."""
    assert exports.cell(text) == cell


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/report/broken-links?format=pdf", 400, "The format must be html, csv, json, xlsx or atom."),
        (
            "/report/broken-links?include_sub_organizations=maybe",
            400,
            "include_sub_organizations must be 1 or 0.",
        ),
        ("/report/broken-links/nobody", 404, "There is no such organization."),
        ("/report/broken-links/nobody?format=json", 404, "There is no such organization."),
    ],
)
def test_a_bad_parameter_is_answered_by_one_sentence(app: Any, path: str, status: int, text: str) -> None:
    assert text in app.get(path, status=status).body
