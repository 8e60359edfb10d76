"""The plugin is enabled, and its tables are not there yet: datasets are edited and shown as without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from ckan import model
from ckan.tests import factories, helpers

from ckanext.archiver import tables
from ckanext.archiver.model import TABLES

pytestmark = pytest.mark.usefixtures("clean_site")


@pytest.fixture
def tables_are_missing(clean_site: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Moves them to a schema that is not on the search path; ``tables_are_missing()`` brings them back."""
    monkeypatch.setattr(tables, "_found", False)
    monkeypatch.setattr(tables, "_next_look", float("-inf"))
    moved = [table.name for table in TABLES]

    def move(where: str, to: str) -> None:
        model.Session.remove()
        with model.meta.engine.begin() as connection:
            for name in moved:
                connection.execute(sa.text(f'ALTER TABLE {where}."{name}" SET SCHEMA {to}'))

    def bring_back() -> None:
        if moved:
            move("hidden", "public")
        moved.clear()

    with model.meta.engine.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS hidden"))
    move("public", "hidden")
    yield bring_back
    bring_back()
    with model.meta.engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA hidden"))


def test_datasets_are_saved_and_shown(
    app: Any, tables_are_missing: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = factories.Dataset(resources=[{"url": "http://example.org/a.csv", "format": "CSV"}])
    resource = dataset["resources"][0]
    helpers.call_action("resource_patch", id=resource["id"], url="http://example.org/b.csv")
    for path in (f"/dataset/{dataset['name']}", f"/dataset/{dataset['name']}/resource/{resource['id']}", "/dataset/"):
        app.get(path, status=200)
    for path in ("/report/broken-links", "/archiver/links", "/archiver/links/history"):
        assert "bring the archiver&#39;s tables up to date" in app.get(path, status=503).body
    helpers.call_action("package_delete", id=dataset["id"])
    (said,) = [record.message for record in caplog.records if record.name == "ckanext.archiver.tables"]
    assert "ckan db upgrade -p archiver" in said

    tables_are_missing()
    monkeypatch.setattr(tables, "_next_look", 0.0)
    factories.Dataset(resources=[{"url": "http://example.org/a.csv", "format": "CSV"}])
    with model.meta.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM archiver_request")).scalar() == 1


def test_the_commands_that_make_them_say_nothing(
    tables_are_missing: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["ckan", "-c", "ckan.ini", "db", "upgrade"])
    assert not tables.exist()
    assert "tables are missing" not in caplog.text
