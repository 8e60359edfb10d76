"""The first check of a link that a release 2.x archived: its copy is compared, not downloaded as if it were new."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from ckan import model
from ckan.tests import factories

from ckanext.archiver import archiving
from ckanext.archiver.engine import store
from ckanext.archiver.model import Archival
from ckanext.archiver.queue import enqueue
from origin_server import Answer, Origin, Request
from rows import run

pytestmark = pytest.mark.usefixtures("clean_site")

CSV = b"id,name\n1,Kirkgate\n"


def adopted(url: str, archive_dir: Path, etag: str | None) -> str:
    """A resource with the row and the copy that 2.x left, as the migrations made them."""
    dataset = factories.Dataset(resources=[{"url": url, "format": "CSV"}])
    resource_id = dataset["resources"][0]["id"]
    store.make_resource_dir(archive_dir, resource_id)
    path = store.resource_dir(archive_dir, resource_id) / "stops.csv"
    path.write_bytes(CSV)
    # 2.x let the file have whatever time it was written at.
    os.utime(path, (1_700_000_000, 1_700_000_000))
    run(
        "INSERT INTO archival (id, package_id, resource_id, source_url, verdict, cause, is_broken, status_id, "
        "cache_filepath, size, hash, etag, cached_at, last_success, updated, checked_at) "
        "VALUES (:id, :package, :id, :url, 'ok', 'ok', false, 0, :path, :size, :hash, :etag, '2026-07-10', "
        "'2026-07-10', '2026-07-10', '2026-07-10')",
        id=resource_id,
        package=dataset["id"],
        url=url,
        path=str(path),
        size=len(CSV),
        hash=hashlib.sha1(CSV).hexdigest(),  # noqa: S324 - the column of 2.x
        etag=etag,
    )
    return resource_id


def archive(resource_id: str) -> Any:
    enqueue.put_resource(resource_id, "bulk", "round")
    model.Session.commit()
    assert archiving.archive_resource(resource_id, at_once=True) is not None
    model.Session.expire_all()
    return Archival.get_for_resource(resource_id)


def test_the_request_is_conditional(origin: Origin, archive_dir: Path) -> None:
    asked: list[str | None] = []

    def answer(request: Request) -> Answer:
        asked.append({name.lower(): value for name, value in request.headers.items()}.get("if-none-match"))
        return Answer(b"", 304)

    row = archive(adopted(origin.answer("/stops.csv", answer), archive_dir, '"1"'))
    assert asked == ['"1"']
    assert (row.verdict, row.status) == ("ok", "Content has not changed")
    assert Path(row.cache_filepath).read_bytes() == CSV


def test_the_same_bytes_count_as_unchanged(origin: Origin, archive_dir: Path) -> None:
    row = archive(adopted(origin.serve("/stops.csv", CSV), archive_dir, None))
    assert (row.verdict, row.status) == ("ok", "Content has not changed")
    assert row.sha256 == hashlib.sha256(CSV).hexdigest()
