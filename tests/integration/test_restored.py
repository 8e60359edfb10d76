"""A database that is older than the files, or that has forgotten them: no check removes the only copy there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ckan import model
from ckan.tests import factories

from ckanext.archiver import archiving
from ckanext.archiver.maintenance import forgetting
from ckanext.archiver.model import Archival
from origin_server import Origin
from rows import run

pytestmark = pytest.mark.usefixtures("clean_site")


def archive(resource_id: str, *, deaths: int = 0) -> Archival:
    """Archive a link now; returns its row.

    :param deaths: of workers that had the request before
    """
    run(
        "INSERT INTO archiver_request (resource_id, package_id, queue, host, reason, deaths) "
        "SELECT id, package_id, 'bulk', '127.0.0.1', 'round', :deaths FROM resource WHERE id = :id "
        "ON CONFLICT (resource_id) DO NOTHING",
        id=resource_id,
        deaths=deaths,
    )
    archiving.archive_resource(resource_id, at_once=True)
    model.Session.rollback()
    model.Session.expire_all()
    return Archival.get_for_resource(resource_id)


@pytest.fixture
def copied(origin: Origin, archive_dir: Path) -> Archival:
    """A link with a copy, and broken by now."""
    url = origin.serve("/stops.csv", b"first\n")
    resource = factories.Dataset(resources=[{"url": url, "format": "CSV"}])["resources"][0]
    row = archive(resource["id"])
    assert Path(row.cache_filepath).read_bytes() == b"first\n"
    origin.serve("/stops.csv", status=404)
    return row


def test_the_copy_of_an_older_row_is_found_under_its_new_name(copied: Archival) -> None:
    newer = Path(copied.cache_filepath).with_name("stops-2026.csv")
    Path(copied.cache_filepath).rename(newer)
    newer.write_bytes(b"second, and longer\n")
    row = archive(copied.resource_id)
    assert row.verdict != "ok"
    assert newer.read_bytes() == b"second, and longer\n"
    assert (row.cache_filepath, row.size) == (str(newer), 19)
    assert row.cache_url.endswith(f"/resource/{row.resource_id}/cached")


def test_what_a_download_replaces_is_removed(copied: Archival, origin: Origin) -> None:
    older = Path(copied.cache_filepath).with_name("older.csv")
    older.write_bytes(b"older\n")
    origin.serve("/stops.csv", b"second\n")
    row = archive(copied.resource_id)
    assert [path.read_bytes() for path in Path(row.cache_filepath).parent.iterdir()] == [b"second\n"]


def test_a_check_without_a_download_keeps_what_lies_beside_the_copy(copied: Archival) -> None:
    beside = Path(copied.cache_filepath).with_name("newer.csv")
    beside.write_bytes(b"newer\n")
    archive(copied.resource_id)
    assert beside.exists()


@pytest.mark.parametrize("forget", ["clean_status", "clean_cached_resources"])
def test_files_that_were_forgotten_stay_while_the_link_is_broken(copied: Archival, forget: str) -> None:
    path, resource_id = Path(copied.cache_filepath), str(copied.resource_id)
    done: Any = getattr(forgetting, forget)()
    assert done == 1 or list(done) == [1]
    row = archive(resource_id)
    assert row.verdict != "ok"
    assert row.cache_filepath is None
    assert path.read_bytes() == b"first\n"


def test_what_a_dead_worker_left_is_removed(copied: Archival) -> None:
    left = Path(copied.cache_filepath).with_name("left.csv")
    left.write_bytes(b"left\n")
    archive(copied.resource_id, deaths=1)
    assert not left.exists()
