"""The download of cached copies: what is served, to whom, and how harmless it is; and the pages it is on."""

from __future__ import annotations

import datetime
import os
import uuid
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from bs4 import BeautifulSoup
from ckan import model
from ckan.tests import factories, helpers

from ckanext.archiver import clock
from ckanext.archiver.model import Archival

pytestmark = pytest.mark.usefixtures("clean_site")

Dict = dict[str, Any]


def keep(archive_dir: Path, resource: Dict, content: bytes = b"a,b\n1,2\n", name: str = "a.csv") -> Path:
    """Put a copy into the archive, and the row that says so."""
    folder = archive_dir / resource["id"][:2] / resource["id"]
    folder.mkdir(parents=True)
    path = folder / name
    path.write_bytes(content)
    point_at(resource, path)
    return path


def point_at(resource: Dict, path: Path | str | None, **columns: Any) -> None:
    values = {"mimetype": "text/csv", "size": 8, "sha256": "0" * 64, "cached_at": clock.naive_utc()} | columns
    archival = Archival.get_for_resource(resource["id"]) or Archival(
        package_id=resource["package_id"],
        resource_id=resource["id"],
        source_url=resource["url"],
        verdict="ok",
        is_broken=False,
        status_id=0,
    )
    archival.cache_filepath = str(path) if path else None
    for column, value in values.items():
        setattr(archival, column, value)
    model.Session.add(archival)
    model.Session.commit()


@pytest.fixture
def resource() -> Dict:
    return factories.Resource(url="http://example.org/a.csv")


def url_of(resource: Dict) -> str:
    return f"/dataset/{resource['package_id']}/resource/{resource['id']}/cached"


def test_the_copy_comes_as_a_file_no_browser_runs(app: Any, archive_dir: Path, resource: Dict) -> None:
    keep(archive_dir, resource)

    answer = app.get(url_of(resource))

    assert answer.data == b"a,b\n1,2\n"
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == "attachment; filename=a.csv"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox")


def test_dataset_may_be_named(app: Any, archive_dir: Path, resource: Dict) -> None:
    keep(archive_dir, resource)
    name = model.Package.get(resource["package_id"]).name

    assert app.get(f"/dataset/{name}/resource/{resource['id']}/cached").status_code == 200


@pytest.mark.parametrize(
    "mimetype",
    [
        "text/html",
        "image/svg+xml",
        "application/xhtml+xml",
        "application/xml",
        "text/javascript",
        "junk",
        "text/csv\r\nX-Evil: 1",
        "",
        None,
    ],
)
def test_a_type_that_browsers_run_is_not_named(
    app: Any, archive_dir: Path, resource: Dict, mimetype: str | None
) -> None:
    path = keep(archive_dir, resource, b"<script>alert(1)</script>", name="a.html")
    point_at(resource, path, mimetype=mimetype)

    answer = app.get(url_of(resource))

    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "X-Evil" not in answer.headers


def test_a_name_in_any_script_is_quoted(app: Any, archive_dir: Path, resource: Dict) -> None:
    keep(archive_dir, resource, name='Fahrpläne "2026"; x=.csv')

    disposition = app.get(url_of(resource)).headers["Content-Disposition"]

    assert disposition.startswith("attachment; ")
    assert "filename*=UTF-8''Fahrpl%C3%A4ne%20_2026_%3B%20x%3D.csv" in disposition


def test_ranges_and_conditions_are_honoured(app: Any, archive_dir: Path, resource: Dict) -> None:
    keep(archive_dir, resource)

    part = app.get(url_of(resource), headers={"Range": "bytes=4-6"}, status=206)
    assert part.data == b"1,2"

    etag = app.get(url_of(resource)).headers["ETag"]
    app.get(url_of(resource), headers={"If-None-Match": etag}, status=304)


@pytest.mark.parametrize("asked", ["items=0-1", "bytes=0-1,3-4", "bytes=x", "bytes=-", "bytes=２-3"])
def test_a_range_that_is_not_understood_is_ignored(app: Any, archive_dir: Path, resource: Dict, asked: str) -> None:
    """RFC 9110 §14.2."""
    keep(archive_dir, resource)
    whole = app.get(url_of(resource)).data
    answer = app.get(url_of(resource), headers={"Range": asked.encode().decode("latin-1")}, status=200)
    assert answer.data == whole


def test_a_range_behind_the_end_names_the_length(app: Any, archive_dir: Path, resource: Dict) -> None:
    """RFC 9110 §15.5.17."""
    keep(archive_dir, resource)
    length = len(app.get(url_of(resource)).data)
    answer = app.get(url_of(resource), headers={"Range": "bytes=9999-"}, status=416)
    assert answer.headers["Content-Range"] == f"bytes */{length}"
    assert answer.data == b""


def test_a_file_that_the_row_does_not_describe_has_another_etag(app: Any, archive_dir: Path, resource: Dict) -> None:
    """As after a restore of a database that is older than the files."""
    path = keep(archive_dir, resource)
    now = clock.naive_utc()
    point_at(resource, path, cached_at=now)
    os.utime(path, (clock.aware(now).timestamp(),) * 2)
    assert app.get(url_of(resource)).headers["ETag"] == f'"{"0" * 64}"'
    path.write_bytes(b"a,b\n9,9\n")
    assert app.get(url_of(resource)).headers["ETag"] != f'"{"0" * 64}"'


def test_the_copy_names_its_original_and_its_time(app: Any, archive_dir: Path, resource: Dict) -> None:
    keep(archive_dir, resource)
    at = datetime.datetime.fromisoformat("2026-05-03T10:00:00")
    point_at(
        resource,
        Archival.get_for_resource(resource["id"]).cache_filepath,
        cached_at=at,
        source_url="http://user:secret@example.org/a.csv",
    )

    answer = app.flask_app.test_client().head(url_of(resource))

    assert answer.status_code == 200
    assert answer.data == b""
    assert answer.headers["Content-Length"] == "8"
    assert answer.headers["Memento-Datetime"] == "Sun, 03 May 2026 10:00:00 GMT"
    assert answer.headers["Link"] == '<http://***@example.org/a.csv>; rel="original"'


def test_a_web_server_sends_the_file_where_it_can(
    app: Any, archive_dir: Path, resource: Dict, ckan_config: Any, monkeypatch: Any
) -> None:
    path = keep(archive_dir, resource, name="a b.csv")
    option = "ckanext-archiver.send_files"
    monkeypatch.setitem(ckan_config, option, "/archiver-copies/")
    answer = app.get(url_of(resource))
    tail = f"{resource['id'][:2]}/{resource['id']}"
    assert (answer.headers["X-Accel-Redirect"], answer.data) == (f"/archiver-copies/{tail}/a%20b.csv", b"")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    monkeypatch.setitem(ckan_config, option, "x-sendfile")
    answer = app.get(url_of(resource))
    assert (answer.headers["X-Sendfile"], answer.data) == (str(path.resolve()), b"")


def test_there_is_a_page_when_there_is_no_copy(app: Any, archive_dir: Path, resource: Dict) -> None:
    sentence = "There is no cached copy of this resource."
    assert sentence in app.get(url_of(resource), status=404).body

    point_at(resource, None)
    assert sentence in app.get(url_of(resource), status=404).body

    keep(archive_dir, resource).unlink()
    assert sentence in app.get(url_of(resource), status=404).body


@pytest.mark.parametrize("dataset", ["no-such-dataset", "another"])
def test_the_address_must_be_right(app: Any, archive_dir: Path, resource: Dict, dataset: str) -> None:
    factories.Dataset(name="another")
    keep(archive_dir, resource)

    app.get(f"/dataset/{dataset}/resource/{resource['id']}/cached", status=404)
    app.get(f"/dataset/{resource['package_id']}/resource/nothing/cached", status=404)


def test_only_what_lies_in_the_archive_is_served(app: Any, archive_dir: Path, tmp_path: Path, resource: Dict) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    beside = Path(f"{archive_dir}-beside")
    beside.mkdir()
    (beside / "a.csv").write_text("secret")
    link = archive_dir / "link.csv"
    link.symlink_to(secret)

    for path in (
        secret,
        archive_dir / ".." / "secret.txt",
        beside / "a.csv",
        link,
        archive_dir,
        "a\x00b".replace("\x00", "%00"),
        "/dev/zero",
    ):
        point_at(resource, path)
        answer = app.get(url_of(resource), status=404)
        assert "secret" not in answer.body


def test_an_archive_behind_a_symbolic_link_is_served(
    app: Any, archive_dir: Path, tmp_path: Path, resource: Dict, ckan_config: Dict
) -> None:
    linked = tmp_path / "linked"
    linked.symlink_to(archive_dir)
    ckan_config["ckanext-archiver.archive_dir"] = str(linked)
    keep(linked, resource)

    assert app.get(url_of(resource)).data == b"a,b\n1,2\n"


# -- who may have it ---------------------------------------------------------------------------------------


def cache_control(answer: Any) -> set[str]:
    return set(answer.headers["Cache-Control"].split(", "))


@pytest.fixture
def people() -> Dict:
    editor, stranger = factories.UserWithToken(), factories.UserWithToken()
    owner = factories.Organization(users=[{"name": editor["name"], "capacity": "editor"}])
    return {"owner": owner, "editor": editor["token"], "stranger": stranger["token"]}


def test_the_copy_is_for_those_who_may_see_the_dataset_now(app: Any, archive_dir: Path, people: Dict) -> None:
    dataset = factories.Dataset(owner_org=people["owner"]["id"])
    resource = factories.Resource(package_id=dataset["id"], url="http://example.org/a.csv")
    keep(archive_dir, resource)
    # A cache may keep it, and has to ask again each time: the dataset may be private by then.
    assert {"public", "no-cache"} <= cache_control(app.get(url_of(resource)))

    helpers.call_action("package_patch", id=dataset["id"], private=True)

    app.get(url_of(resource), status=404)
    app.get(url_of(resource), headers={"Authorization": people["stranger"]}, status=404)
    answer = app.get(url_of(resource), headers={"Authorization": people["editor"]})
    assert answer.data == b"a,b\n1,2\n"
    assert {"private", "no-cache"} <= cache_control(answer)
    assert "public" not in cache_control(answer)

    helpers.call_action("package_patch", id=dataset["id"], private=False)
    assert app.get(url_of(resource)).status_code == 200


def test_the_copy_of_a_deleted_resource_is_not_served(app: Any, archive_dir: Path, resource: Dict) -> None:
    keep(archive_dir, resource)
    helpers.call_action("resource_delete", id=resource["id"])

    app.get(url_of(resource), status=404)


def test_not_yours_and_not_there_are_one_answer(app: Any, archive_dir: Path, people: Dict) -> None:
    dataset = factories.Dataset(owner_org=people["owner"]["id"], private=True)
    resource = factories.Resource(package_id=dataset["id"], url="http://example.org/a.csv")
    keep(archive_dir, resource)
    without_copy = factories.Resource(package_id=dataset["id"], url="http://example.org/b.csv")

    def answer(path: str) -> tuple[str, set[str]]:
        shown = app.get(path, headers={"Authorization": people["stranger"]}, status=404)
        text = BeautifulSoup(shown.body, "html.parser").body.get_text(" ", strip=True)
        return text, set(shown.headers.keys())

    nothing = str(uuid.uuid4())
    answers = [
        answer(url_of(resource)),
        answer(url_of(without_copy)),
        answer(f"/dataset/{dataset['id']}/resource/{nothing}/cached"),
        answer(f"/dataset/{nothing}/resource/{nothing}/cached"),
    ]
    assert answers == answers[:1] * 4


@pytest.mark.parametrize("hide", ["private", "deleted"])
def test_no_form_of_request_returns_what_a_reader_may_not_see(
    app: Any, archive_dir: Path, people: Dict, hide: str
) -> None:
    dataset = factories.Dataset(owner_org=people["owner"]["id"])
    resource = factories.Resource(package_id=dataset["id"], url="http://example.org/a.csv")
    path = keep(archive_dir, resource)
    etag = app.get(url_of(resource)).headers["ETag"]
    if hide == "private":
        helpers.call_action("package_patch", id=dataset["id"], private=True)
    else:
        helpers.call_action("package_delete", id=dataset["id"])

    for token in ({}, {"Authorization": people["stranger"]}):
        for asked in ({}, {"Range": "bytes=0-0"}, {"If-None-Match": etag}, {"If-None-Match": "*"}):
            for method in ("GET", "HEAD"):
                answer = app.test_client().open(url_of(resource), method=method, headers=token | asked)
                assert answer.status_code == 404
                assert b"a,b" not in answer.data
                assert not {"ETag", "Content-Disposition", "Content-Range", "Last-Modified"} & set(
                    answer.headers.keys()
                )
                assert path.name not in str(answer.headers)


# -- the button --------------------------------------------------------------------------------------------


def page_of(app: Any, resource: Dict, **headers: str) -> str:
    return app.get(f"/dataset/{resource['package_id']}/resource/{resource['id']}", headers=headers).body


def test_the_page_links_to_us(app: Any, archive_dir: Path, resource: Dict) -> None:
    keep(archive_dir, resource)

    assert f'href="{url_of(resource)}"' in page_of(app, resource)


@pytest.mark.ckan_config("ckanext-archiver.cache_url_root", "https://data.example.org/cache")
def test_only_a_public_copy_is_linked_to_elsewhere(app: Any, archive_dir: Path, people: Dict) -> None:
    published = "https://data.example.org/cache/ab/abcd/a.csv"
    dataset = factories.Dataset(owner_org=people["owner"]["id"])
    resource = factories.Resource(package_id=dataset["id"], url="http://example.org/a.csv")
    point_at(resource, keep(archive_dir, resource), cache_url=published)
    assert f'href="{published}"' in page_of(app, resource)

    helpers.call_action("package_patch", id=dataset["id"], private=True)

    page = page_of(app, resource, Authorization=people["editor"])
    assert published not in page
    assert f'href="{url_of(resource)}"' in page


@pytest.mark.ckan_config("ckanext-archiver.cache_url_root", "https://data.example.org/cache")
@pytest.mark.parametrize("old", ["javascript:alert(1)", "https://data.example.org/cache.evil/a", "http://old/a"])
def test_an_address_that_is_not_below_the_root_is_not_linked_to(
    app: Any, archive_dir: Path, resource: Dict, old: str
) -> None:
    point_at(resource, keep(archive_dir, resource), cache_url=old)

    page = page_of(app, resource)

    assert f'href="{old}"' not in page
    assert f'href="{url_of(resource)}"' in page


def test_the_dict_is_not_printed_on_the_page(app: Any, archive_dir: Path, resource: Dict) -> None:
    keep(archive_dir, resource)

    page = page_of(app, resource)

    assert "is_broken_printable" not in page
    assert "archiver-panel" in page
    assert tk.h.archiver_format_resource_items([("archiver", {"a": 1}), ("format", "CSV")]) == [("format", "CSV")]


def test_badges_have_their_looks_on_every_page(app: Any, archive_dir: Path, resource: Dict) -> None:
    """Also where the page itself knows nothing of us: CKAN's list of resources to be put in order."""
    keep(archive_dir, resource)
    headers = {"Authorization": factories.SysadminWithToken()["token"]}

    page = app.get(f"/dataset/resources/{resource['package_id']}", headers=headers).body

    assert 'class="archiver-badge' in page
    assert "archiver.css" in page
