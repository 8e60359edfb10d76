"""The subscriber of docs/extensions.rst, as an extension would install it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ckan import model
from ckan.tests import factories, helpers

from ckanext.archiver import tasks
from origin_server import Origin
from site_fixtures import Plugins

pytestmark = [
    pytest.mark.usefixtures("clean_site"),
    pytest.mark.ckan_config("ckan.plugins", "archiver row_count"),
]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugins: Plugins) -> Iterator[None]:
    """Before CKAN loads its plugins, so for all tests of this module; no test behind them could unload the plugin."""
    folder = tmp_path / "row_count-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: row-count\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[ckan.plugins]\nrow_count = row_count:RowCountPlugin\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    plugins.unload()


def rows_of(resource_id: str) -> str:
    status = {"entity_id": resource_id, "task_type": "row_count", "key": "rows"}
    return helpers.call_action("task_status_show", **status)["value"]


def test_it_counts_the_rows_of_each_copy_and_keeps_one_number(origin: Origin) -> None:
    resource = factories.Resource(url=origin.serve("/stops.csv", b"id,name\n1,Kirkgate\n2,Briggate\n"), format="CSV")
    tasks.update_resource(resource["id"])
    assert rows_of(resource["id"]) == "2"

    origin.serve("/stops.csv", b'id,name\n1,"Kirk\ngate"\n')
    tasks.update_resource(resource["id"])
    assert rows_of(resource["id"]) == "1"
    assert model.Session.query(model.TaskStatus).filter_by(task_type="row_count").count() == 1


def test_it_leaves_out_other_formats_and_links_without_a_copy(origin: Origin) -> None:
    for resource in (
        factories.Resource(url=origin.serve("/a.json", b'{"a": 1}'), format="JSON"),
        factories.Resource(url=origin.serve("/gone.csv", b"", status=404), format="CSV"),
    ):
        tasks.update_resource(resource["id"])
    assert model.Session.query(model.TaskStatus).filter_by(task_type="row_count").count() == 0
