"""Parameters as no client of ours sends them: each is answered by a sentence, none by an error of the server."""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from ckan.tests import factories

from ckanext.archiver.logic import action, report_action
from ckanext.archiver.report.filters import LinkFilter
from report_site import archive, dataset_with, organizations

__all__ = ["organizations"]

pytestmark = pytest.mark.usefixtures("clean_site")

Dict = dict[str, Any]

VALUES: tuple[Any, ...] = (
    None, "", " ", 0, -1, 1.5, 1e308, True, [], [None], [[]], ["x"], ["x"] * 5_000, {}, {"a": 1}, "a\x00", "\ud800",
    "💥", "<b>", "9" * 5_000, 2**70, "2026-02-30", "0001-01-01", "inf", "\u0661", "%", "\\",
)  # fmt: skip

PARAMETERS = {
    "archiver_resource_show": ("id",),
    "archiver_dataset_show": ("id",),
    "archiver_check": ("id",),
    "archiver_link_list": (*LinkFilter.__dataclass_fields__, "after", "previous", "limit"),
    "archiver_summary": ("organization", "include_sub_organizations"),
    "archiver_history": ("id", "days"),
    "archiver_redirect_apply": ("ids", "dry_run"),
    "archiver_snooze": ("ids", "until", "reason"),
    "archiver_status_show": ("x",),
}


def cursors() -> Iterator[str]:
    """Cursors that are well formed, of other lists, and of none."""
    for keys in (
        ["1", 2], [1, "2"], [None, None], ["2026-02-30", "x"], ["x", 2**40, "x"], ["\ud800", "x"], [[], {}],
        ["2026-W50-1", "x"], ["2026-11-26T10", "x"], ["2026-11-26T10:00:00,5", "x"], ["2026-11-26\u200510:00:00", "x"],
        ["2026-11-26T25:00:00", "x"],
    ):  # fmt: skip
        yield base64.urlsafe_b64encode(json.dumps(keys).encode()).decode().rstrip("=")
    yield base64.urlsafe_b64encode(b"[" * 3_000).decode()
    yield from ("W10", "eyJ9", "bnVsbA", "=", "\u00e9")


@pytest.fixture
def resource(organizations: dict[str, Dict]) -> Dict:
    """A resource whose link is broken."""
    dataset = dataset_with([""], organizations["agency"])
    archive(dataset["resources"][0], "broken")
    return dict(dataset["resources"][0])


@pytest.fixture
def headers() -> Dict:
    return {"Authorization": factories.SysadminWithToken()["token"]}


def test_these_are_all_actions() -> None:
    named = {name for module in (action, report_action) for name, _ in inspect.getmembers(module, inspect.isfunction)}
    assert {name for name in named if name.startswith("archiver_")} == set(PARAMETERS)


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_an_action_answers_any_json(
    app: Any, resource: Dict, headers: Dict, name: str, parameters: tuple[str, ...]
) -> None:
    sound = {"id": resource["id"], "ids": [resource["id"]]}
    sound = {key: value for key, value in sound.items() if key in parameters}
    bodies = [{**sound, parameter: value} for parameter in parameters for value in VALUES]
    bodies += [{parameter: value} for parameter in ("after", "previous") for value in cursors()]
    for body in bodies:
        for of_whom in ({}, headers):
            answer = app.post(f"/api/3/action/{name}", json=body, headers=of_whom)
            assert answer.status_code < 500, (body, answer.body[:300])
            assert isinstance(json.loads(answer.body)["success"], bool), body


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/archiver/links", (*LinkFilter.__dataclass_fields__, "after", "previous", "format")),
        ("/report/broken-links", ("include_sub_organizations", "format", "org_sort", "org_q", "org_page", "below")),
        ("/archiver/links/history", ("before",)),
    ],
)
def test_a_page_answers_any_parameter(
    app: Any, resource: Dict, headers: Dict, path: str, parameters: tuple[str, ...]
) -> None:
    texts = [str(value) for value in VALUES if isinstance(value, str | int | float) and value != "\ud800"]
    for parameter in parameters:
        for value in (*texts, *(cursors() if parameter in ("after", "previous") else ())):
            answer = app.get(f"{path}?{urlencode({parameter: value})}", headers=headers)
            assert answer.status_code < 500, (parameter, value)


@pytest.mark.parametrize("what", ["check", "snooze", "wake", "redirect", "replace", "", "x\x00"])
def test_a_form_answers_any_field(app: Any, resource: Dict, headers: Dict, what: str) -> None:
    sound = {"do": what, "scope": "ticked", "resource_id": resource["id"], "confirmed": "1"}
    for field in ("scope", "resource_id", "until", "reason", "old_prefix", "new_prefix", "from"):
        for value in ("", "\x00", "💥", "http://\x00/", "http://a.example/\x00", "9" * 5_000, "%", "2026-02-30"):
            form = {**sound, "old_prefix": "http://a.example/", "new_prefix": "http://a.example/", field: value}
            answer = app.post("/archiver/links", data=form, headers=headers)
            assert answer.status_code < 500, (field, value)


@pytest.mark.parametrize("page", ["cached", "archiver-panel"])
def test_a_path_with_a_null_character_leads_nowhere(app: Any, resource: Dict, page: str) -> None:
    for path in (f"a%00/resource/{resource['id']}", f"{resource['package_id']}/resource/%00"):
        assert app.get(f"/dataset/{path}/{page}").status_code == 404
