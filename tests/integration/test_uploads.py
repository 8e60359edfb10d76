"""Files that are kept in CKAN itself: when they are archived, and what is known of them then."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from ckan.tests import factories
from werkzeug.datastructures import FileStorage

from ckanext.archiver import archiving
from ckanext.archiver.archiving import uploads
from ckanext.archiver.model import Archival, ArchiverRequest
from origin_server import Origin

try:
    from ckan.lib import files
except ImportError:  # CKAN 2.11
    files = None

pytestmark = pytest.mark.usefixtures("clean_site", "storage")

Dict = dict[str, Any]

STOPS = b"id,name\n1,Kirkgate\n"
ROUTES = b"id,name\n1,Station to Castle Hill\n"


@pytest.fixture(
    params=[
        "storage_path",
        pytest.param(
            "file-keeper", marks=pytest.mark.skipif(files is None, reason="CKAN 2.11 knows one place for uploads only")
        ),
    ]
)
def storage(request: pytest.FixtureRequest, tmp_path: Path, ckan_config: Dict, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The folder where CKAN keeps uploads: its own way, and on CKAN 2.12 by a configured storage too."""
    folder = tmp_path / "storage"
    monkeypatch.setitem(ckan_config, "ckan.storage_path", str(folder))
    if request.param == "storage_path":
        yield folder / "resources"
        return
    settings = {
        "type": "ckan:fs",
        "path": str(folder / "kept"),
        "initialize": True,
        "overwrite_existing": True,
    }
    for name, value in settings.items():
        monkeypatch.setitem(ckan_config, f"ckan.files.storage.resources.{name}", value)
    files.storages.reset()
    files.storages.collect()
    yield folder / "kept"
    monkeypatch.undo()
    files.storages.reset()
    files.storages.collect()


def act(action: str, data: Dict) -> Any:
    return tk.get_action(action)({"ignore_auth": True, "user": ""}, data)


def upload(content: bytes, name: str = "stops.csv") -> FileStorage:
    return FileStorage(io.BytesIO(content), name, "upload")


def create(content: bytes = STOPS, **fields: Any) -> Dict:
    package_id = fields.pop("package_id", None) or factories.Dataset()["id"]
    return act("resource_create", {"package_id": package_id, "upload": upload(content), **fields})


def wanted() -> set[str]:
    model.Session.rollback()
    return {request.resource_id for request in model.Session.query(ArchiverRequest)}


def archive(resource: Dict) -> Archival:
    """Do what is requested, as a worker would."""
    assert resource["id"] in wanted()
    assert archiving.archive_resource(resource["id"], "priority") is not None
    assert wanted() == set()
    found = Archival.get_for_resource(resource["id"])
    assert found is not None
    return found


def test_an_upload_is_archived_from_the_storage() -> None:
    resource = create()

    row = archive(resource)

    assert (row.verdict, row.detail, row.size, row.mimetype) == ("ok", "ok-upload", len(STOPS), "text/csv")
    assert row.source_url == "stops.csv"
    copy = Path(row.cache_filepath)
    assert copy.name == "stops.csv"
    assert copy.read_bytes() == STOPS


def test_an_upload_is_not_requested_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its URL is one of this portal, often on a private address: the guard of addresses has no exception for it."""
    resource = create()

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("an upload was fetched")

    monkeypatch.setattr("ckanext.archiver.engine.fetch.fetch", refuse)

    assert archive(resource).verdict == "ok"


def test_the_upload_of_a_private_dataset_is_archived() -> None:
    organization = factories.Organization()
    dataset = factories.Dataset(owner_org=organization["id"], private=True)

    assert archive(create(package_id=dataset["id"])).verdict == "ok"


def test_a_file_replaced_under_the_same_name_is_archived_again() -> None:
    resource = create()
    before = archive(resource).sha256

    act("resource_patch", {"id": resource["id"], "upload": upload(ROUTES)})
    row = archive(resource)

    assert row.sha256 != before
    assert Path(row.cache_filepath).read_bytes() == ROUTES


def test_a_file_replaced_under_another_name_leaves_one_copy() -> None:
    resource = create()
    old = Path(archive(resource).cache_filepath)

    act("resource_patch", {"id": resource["id"], "upload": upload(ROUTES, "routes.csv")})
    row = archive(resource)

    assert Path(row.cache_filepath).name == "routes.csv"
    assert [file.name for file in old.parent.iterdir()] == ["routes.csv"]


def test_a_file_replaced_before_the_first_was_archived_is_archived_once() -> None:
    resource = create()
    act("resource_patch", {"id": resource["id"], "upload": upload(ROUTES)})

    assert Path(archive(resource).cache_filepath).read_bytes() == ROUTES


def test_an_edit_of_an_uploads_description_requests_nothing() -> None:
    resource = create()
    archive(resource)

    act("resource_patch", {"id": resource["id"], "description": "One row per stop", "format": "TXT"})
    act("package_patch", {"id": resource["package_id"], "title": "Stops"})
    shown = act("package_show", {"id": resource["package_id"]})
    act("package_update", shown)
    act("package_update", {**shown, "notes": "Again"})

    assert wanted() == set()


def test_a_link_takes_the_place_of_an_upload_and_back(origin: Origin) -> None:
    resource = create()
    archive(resource)
    url = origin.serve("/routes.csv", ROUTES)

    act("resource_patch", {"id": resource["id"], "url": url, "url_type": "", "clear_upload": "true"})
    row = archive(resource)
    assert (row.source_url, row.detail) == (url, "ok")
    assert Path(row.cache_filepath).read_bytes() == ROUTES

    act("resource_patch", {"id": resource["id"], "upload": upload(STOPS)})
    row = archive(resource)
    assert (row.source_url, row.detail) == ("stops.csv", "ok-upload")
    assert Path(row.cache_filepath).read_bytes() == STOPS


def test_a_file_that_the_storage_lost_is_broken(storage: Path) -> None:
    neighbour, resource = create(), create()
    archiving.archive_resource(neighbour["id"])
    # The storage itself is there, with the files of others.
    _stored(storage, resource).unlink()

    row = archive(resource)

    assert (row.verdict, row.cause, row.detail) == ("broken", "gone", "upload-missing")
    assert row.cache_filepath is None
    assert "stops.csv" in row.reason


def test_a_file_that_cannot_be_read_is_our_own_fault_and_no_verdict(storage: Path) -> None:
    resource = create()
    file = _stored(storage, resource)
    file.unlink()
    file.mkdir()  # even root cannot read that

    assert archiving.archive_resource(resource["id"], "priority") is None

    assert Archival.get_for_resource(resource["id"]) is None
    assert wanted() == {resource["id"]}, "it waits to be tried again"


def test_a_storage_that_is_not_mounted_is_our_own_fault_and_no_verdict(storage: Path) -> None:
    resource = create()
    shutil.rmtree(storage)
    storage.mkdir()

    assert archiving.archive_resource(resource["id"], "priority") is None

    assert Archival.get_for_resource(resource["id"]) is None
    assert wanted() == {resource["id"]}


class Elsewhere:
    """The uploader of a plugin that keeps files in an object storage."""

    def get_path(self, id: str) -> str:
        return f"resources/{id}/stops.csv"


LOGIN = b"<!DOCTYPE html><html><title>Log in</title>"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, origin: Origin, ckan_config: Dict) -> Callable[..., Dict]:
    """``elsewhere(served)``: a resource whose file a plugin keeps; the portal redirects to it, or has a 404."""

    def make(served: bytes | None) -> Dict:
        resource = create()
        monkeypatch.setattr(uploads.uploader, "get_resource_uploader", lambda data: Elsewhere())
        path = f"/dataset/{resource['package_id']}/resource/{resource['id']}/download/stops.csv"
        if served is not None:
            origin.serve("/somewhere/in/the/storage", served, headers={"Content-Type": "text/csv"})
            origin.serve(path, b"", status=302, headers={"Location": "/somewhere/in/the/storage"})
        url = origin.serve("/", b"")
        monkeypatch.setitem(ckan_config, "ckan.site_url_internally", url)
        monkeypatch.setitem(ckan_config, "ckanext-archiver.allowed_addresses", "")
        return resource

    return make


def test_a_file_that_a_plugin_keeps_is_asked_for_at_the_portal(elsewhere: Callable[..., Dict]) -> None:
    row = archive(elsewhere(STOPS))

    assert (row.verdict, row.detail, row.size, row.mimetype) == ("ok", "ok-upload", len(STOPS), "text/csv")
    assert (row.url_redirected_to, row.permanent_url) == (None, None)
    assert Path(row.cache_filepath).read_bytes() == STOPS


@pytest.mark.parametrize("served", [None, LOGIN])
def test_a_file_that_the_portal_does_not_give_to_everybody_is_not_called_broken(
    elsewhere: Callable[..., Dict], served: bytes | None
) -> None:
    row = archive(elsewhere(served))

    assert (row.verdict, row.is_broken, row.detail) == ("not-sure", None, "upload-elsewhere")


def _stored(storage: Path, resource: Dict) -> Path:
    id_ = resource["id"]
    path = storage / id_[:3] / id_[3:6] / id_[6:]
    assert path.is_file()
    return path


@pytest.mark.ckan_config("ckanext-archiver.max_content_length", len(STOPS))
def test_an_upload_larger_than_what_is_kept_is_fine_and_has_no_copy(archive_dir: Path) -> None:
    fits, too_large = create(STOPS), create(STOPS + b"2")
    assert archiving.archive_resource(fits["id"]) is not None

    row = archive(too_large)

    assert (row.verdict, row.cause, row.status) == ("ok", "too-large", "Chose not to download")
    assert row.cache_filepath is None
    files_left = [path for path in archive_dir.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in files_left] == [STOPS], "nothing half-written is left"


def test_an_archival_object_shows_its_present_state() -> None:
    """The row is written past the ORM; extensions look at it in the session in which they had it archived."""
    resource = create()
    row = archive(resource)

    act("resource_patch", {"id": resource["id"], "upload": upload(ROUTES, "routes.csv")})
    archiving.archive_resource(resource["id"])

    assert row.source_url == "routes.csv"


def test_an_empty_upload_is_a_file() -> None:
    row = archive(create(b""))

    assert (row.verdict, row.size) == ("ok", 0)
    assert Path(row.cache_filepath).read_bytes() == b""


def test_the_name_of_an_upload_chooses_no_path(archive_dir: Path) -> None:
    file = upload(STOPS, "../../../etc/cron.d/öffentlich 1.csv")
    resource = act("resource_create", {"package_id": factories.Dataset()["id"], "upload": file})

    copy = Path(archive(resource).cache_filepath)

    assert copy.parent == archive_dir / resource["id"][:2] / resource["id"]
    assert copy.read_bytes() == STOPS
