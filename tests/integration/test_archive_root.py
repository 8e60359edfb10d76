"""An archive directory that is not mounted: nothing is written below its mount point, and the operator learns of it."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import pytest
from ckan import model
from ckan.tests import factories
from click.testing import CliRunner

from ckanext.archiver import archive_root, archiving, monitoring, utils
from ckanext.archiver.cli import main, maintenance
from ckanext.archiver.model import Archival
from ckanext.archiver.queue import enqueue
from origin_server import Answer, Origin, Request
from rows import run

pytestmark = pytest.mark.usefixtures("clean_site")

CSV = b"id,name\n1,Kirkgate\n"


@pytest.fixture(autouse=True)
def fresh_look() -> None:
    archive_root._checked.clear()


def resource(url: str) -> dict[str, Any]:
    return factories.Dataset(resources=[{"url": url, "format": "CSV"}])["resources"][0]


def archive(resource_id: str) -> Any:
    archive_root._checked.clear()
    result = archiving.archive_resource(resource_id)
    model.Session.rollback()
    return result


def unmount(archive_dir: Path) -> None:
    """What a mount point looks like when nothing is mounted there."""
    shutil.rmtree(archive_dir)
    archive_dir.mkdir()


def test_init_marks_the_directory(archive_dir: Path) -> None:
    shutil.rmtree(archive_dir, ignore_errors=True)
    utils.initdb()
    assert [path.name for path in archive_dir.iterdir()] == [archive_root.SENTINEL]


def test_nothing_is_written_below_a_mount_point(origin: Origin, archive_dir: Path) -> None:
    first = resource(origin.serve("/stops.csv", CSV))
    assert archive(first["id"]) is not None
    before = Archival.get_for_resource(first["id"]).cache_filepath
    unmount(archive_dir)
    second = resource(origin.serve("/routes.csv", CSV))

    assert archive(second["id"]) is None

    assert list(archive_dir.iterdir()) == []
    assert origin.asked("/routes.csv") == 0
    assert run("SELECT held FROM archiver_request WHERE resource_id = :id", id=second["id"]) == [("disk-broken",)]
    assert Archival.get_for_resource(first["id"]).cache_filepath == before
    (alarm,) = [line for line in monitoring.alarms(monitoring.collect()) if "ARCHIVE" in line]
    assert "is it mounted?" in alarm
    assert str(archive_dir) in alarm


def test_an_unmount_is_noticed_at_once(origin: Origin, archive_dir: Path) -> None:
    """A busy worker writes many files in the second for which it would believe what it saw."""
    assert archive(resource(origin.serve("/stops.csv", CSV))["id"]) is not None
    assert archive_root.is_mounted(str(archive_dir))
    archive_dir.rename(archive_dir.with_name("unmounted"))
    archive_dir.mkdir()
    assert not archive_root.is_mounted(str(archive_dir))


def test_it_goes_on_when_it_is_mounted_again(origin: Origin, archive_dir: Path, tmp_path: Path) -> None:
    assert archive(resource(origin.serve("/stops.csv", CSV))["id"]) is not None
    disk = tmp_path / "disk"
    shutil.move(archive_dir, disk)
    archive_dir.mkdir()
    second = resource(origin.serve("/routes.csv", CSV))
    assert archive(second["id"]) is None
    archive_dir.rmdir()
    shutil.move(disk, archive_dir)
    run("UPDATE archiver_request SET not_before = now()")
    assert archive(second["id"]) is not None


def test_a_directory_of_an_older_release_is_known_by_its_copies(origin: Origin, archive_dir: Path) -> None:
    assert archive(resource(origin.serve("/stops.csv", CSV))["id"]) is not None
    assert not archive_root.has_sentinel(str(archive_dir))
    assert archive(resource(origin.serve("/routes.csv", CSV))["id"]) is not None


def test_the_archive_of_another_portal_is_left_alone(archive_dir: Path, ckan_config: dict[str, Any]) -> None:
    utils.initdb()
    assert archive_root.other_portal(str(archive_dir)) is None
    utils.initdb()  # safe to repeat
    resource_id = str(uuid.uuid4())
    copy = archive_dir / resource_id[:2] / resource_id / "copy.csv"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(CSV)
    os.utime(copy, (0, 0))
    run("UPDATE archiver_state SET value = to_jsonb(CAST('another' AS text)) WHERE key = 'portal'")
    model.Session.commit()
    assert archive_root.other_portal(str(archive_dir)) is None, "this portal, with another id after a move"
    address = ckan_config["ckan.site_url"]
    ckan_config["ckan.site_url"] = "http://staging.example.org"
    for command, options in ((maintenance.delete_orphans, ["--yes"]), (main.init, [])):
        result = CliRunner().invoke(command, options)
        assert result.exit_code == 1, result.output
        assert f"the archive of another portal ({address})" in result.output
    assert copy.exists()
    (archive_dir / archive_root.SENTINEL).unlink()
    utils.initdb()
    CliRunner().invoke(maintenance.delete_orphans, ["--yes"])
    assert not copy.exists()


def test_a_link_that_has_not_changed_gets_a_copy_in_a_new_directory(
    origin: Origin, archive_dir: Path, ckan_config: dict[str, Any], tmp_path: Path
) -> None:
    def answer(request: Request) -> Answer:
        if request.headers.get("If-None-Match"):
            return Answer(b"", 304, {"ETag": '"1"'})
        return Answer(CSV, 200, {"Content-Type": "text/csv", "ETag": '"1"'})

    first = resource(origin.answer("/stops.csv", answer))
    assert archive(first["id"]) is not None
    ckan_config["ckanext-archiver.archive_dir"] = str(tmp_path / "new")
    enqueue.put_resource(first["id"], "bulk", "round")
    model.Session.commit()
    assert archiving.archive_resource(first["id"], at_once=True) is not None
    model.Session.expire_all()
    assert Archival.get_for_resource(first["id"]).cache_filepath.startswith(str(tmp_path / "new"))


def test_an_archive_behind_a_symbolic_link_is_missed_when_it_is_not_mounted(
    origin: Origin, archive_dir: Path, ckan_config: dict[str, Any], tmp_path: Path
) -> None:
    assert archive(resource(origin.serve("/stops.csv", CSV))["id"]) is not None
    (tmp_path / "link").symlink_to(archive_dir)
    ckan_config["ckanext-archiver.archive_dir"] = str(tmp_path / "link")
    assert archive_root.is_mounted(str(tmp_path / "link"))
    unmount(archive_dir)
    archive_root._checked.clear()
    assert not archive_root.is_mounted(str(tmp_path / "link"))


def test_copies_that_were_lost_are_given_up_by_init(origin: Origin, archive_dir: Path) -> None:
    assert archive(resource(origin.serve("/stops.csv", CSV))["id"]) is not None
    unmount(archive_dir)
    second = resource(origin.serve("/routes.csv", CSV))
    assert archive(second["id"]) is None
    archive_root.make(str(archive_dir))
    run("UPDATE archiver_request SET not_before = now()")
    assert archive(second["id"]) is not None


def test_checks_without_copies_need_no_directory(
    origin: Origin, archive_dir: Path, ckan_config: dict[str, Any]
) -> None:
    assert archive(resource(origin.serve("/stops.csv", CSV))["id"]) is not None
    unmount(archive_dir)
    ckan_config["ckanext-archiver.mode"] = "check"
    assert archive(resource(origin.serve("/routes.csv", CSV))["id"]) is not None
    assert list(archive_dir.iterdir()) == []
