"""The facet where ckanext-qa indexes datasets: what the index has is believed, not which plugin is loaded."""

from __future__ import annotations

from typing import Any

import pytest
from ckan import model
from ckan.lib import search as ckan_search
from ckan.tests import factories

from ckanext.archiver import archiving, indexing
from ckanext.archiver.queue_tables import ArchiverDataset
from origin_server import Origin
from rows import requested, run

pytestmark = pytest.mark.usefixtures("clean_site")


@pytest.fixture
def rebuilt(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The datasets that the archiver has indexed, while ckanext-qa says that it does."""
    monkeypatch.setattr(indexing, "indexes_itself", lambda: True)
    monkeypatch.setattr(indexing, "_waiting_since", {})
    ids: list[Any] = []
    real = ckan_search.rebuild
    monkeypatch.setattr(ckan_search, "rebuild", lambda **kwargs: (ids.extend(kwargs["package_ids"]), real(**kwargs)))
    return ids


def dataset(origin: Origin) -> str:
    """A dataset whose link is broken, which its index does not say."""
    made = factories.Dataset(resources=[{"url": origin.url("/gone.csv")}])
    for resource_id in requested():
        archiving.archive_resource(resource_id, at_once=True)
    return made["id"]


def facets(package_id: str) -> tuple[str | None, str | None]:
    model.Session.rollback()
    row = model.Session.get(ArchiverDataset, package_id)
    return row.facet, row.indexed_facet


def test_nothing_is_believed_without_evidence(origin: Origin, rebuilt: list[Any]) -> None:
    package_id = dataset(origin)
    assert indexing.refresh_left() == 0
    assert facets(package_id) == ("broken", None)
    assert rebuilt == []


def test_what_the_index_has_is_believed(origin: Origin, rebuilt: list[Any]) -> None:
    package_id = dataset(origin)
    ckan_search.rebuild(package_ids=[package_id])
    ckan_search.commit()
    assert indexing.refresh_left() == 1
    assert facets(package_id) == ("broken", "broken")


def test_where_qa_does_not_index_in_time_the_archiver_does(
    origin: Origin, rebuilt: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    package_id = dataset(origin)
    assert indexing.refresh_left() == 0
    monkeypatch.setattr(indexing, "QA_SECONDS", 0)
    assert indexing.refresh_left() == 1
    assert rebuilt == [package_id]
    assert facets(package_id) == ("broken", "broken")


@pytest.mark.parametrize(
    ("holder", "seen", "indexed"),
    [("alive", "now()", 0), ("silent", "now() - interval '5 minutes'", 1), ("gone", None, 1)],
)
def test_one_worker_indexes_until_it_dies(origin: Origin, holder: str, seen: str | None, indexed: int) -> None:
    dataset(origin)
    run("UPDATE archiver_dataset SET indexed_facet = NULL")
    run(
        "INSERT INTO archiver_state (key, value) VALUES ('indexing', to_jsonb(CAST(:holder AS text))) "
        "ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = now()",
        holder=holder,
    )
    if seen:
        run(
            "INSERT INTO archiver_worker (worker_id, hostname, pid, queues, seen_at) "
            f"VALUES (:holder, 'elsewhere', 1, 'bulk', {seen})",
            holder=holder,
        )
    assert indexing.refresh_left() == indexed
