"""``ckan archiver view``: what is known, for people and for scripts."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from ckan import model
from ckan.cli.cli import ckan
from ckan.tests import factories

from ckanext.archiver.model import Archival

pytestmark = pytest.mark.usefixtures("clean_site")


@pytest.fixture
def view(cli: Any) -> Any:
    def invoke(*words: str, exit_code: int = 0) -> str:
        result = cli.invoke(ckan, ["archiver", "view", *words])
        assert result.exit_code == exit_code, result.output
        return str(result.output)

    return invoke


@pytest.fixture
def dataset() -> dict[str, Any]:
    """Three links: one that works and has a copy, one that is broken, one that was never checked."""
    urls = [f"http://one.example/{number}" for number in range(3)]
    made = factories.Dataset(name="stops", resources=[{"url": url} for url in urls])
    model.Session.execute(
        sa.text("DELETE FROM archiver_request WHERE resource_id <> :id"), {"id": made["resources"][2]["id"]}
    )
    for resource, verdict, path in zip(made["resources"], ("ok", "broken"), ("/archive/a.csv", ""), strict=False):
        archival = Archival.create(resource["id"])
        archival.verdict, archival.cache_filepath, archival.checked_at = verdict, path, "2026-01-02 03:04:05"
        model.Session.add(archival)
    model.Session.commit()
    return made


def _json(output: str) -> Any:
    (line,) = [line for line in output.splitlines() if line.startswith(("{", "["))]
    return json.loads(line)


def test_all_links_in_numbers(view: Any, dataset: dict[str, Any]) -> None:
    assert "3 resources, 2 checked\n" in view()
    assert "waiting on priority: 1" in view()
    assert _json(view("--json")) == {
        "resources": 3,
        "looked_at": 2,
        "verdicts": {"ok": {"links": 1, "copies": 1}, "broken": {"links": 1, "copies": 0}},
        "waiting": {"priority": 1},
    }


def test_one_dataset(view: Any, dataset: dict[str, Any]) -> None:
    output = view("stops")
    assert "Last checked  2026-01-02 03:04 UTC" in output
    assert "Not checked yet" in output
    found = _json(view("stops", "--json"))
    assert [one["id"] for one in found] == [resource["id"] for resource in dataset["resources"]]
    assert [one["archiver"] and one["archiver"]["verdict"] for one in found] == ["ok", "broken", None]


def test_one_resource(view: Any, dataset: dict[str, Any]) -> None:
    (found,) = _json(view(dataset["resources"][0]["id"], "--json"))
    assert found["url"] == "http://one.example/0"


def test_an_unknown_name(view: Any) -> None:
    assert "There is no dataset or resource 'nothing'." in view("nothing", exit_code=1)
