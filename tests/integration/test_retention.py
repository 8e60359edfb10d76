"""Copies that are removed: of deleted resources after a while, of purged ones at once, and what exceeds a quota."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from ckan.tests import factories
from click.testing import CliRunner

from ckanext.archiver import archiving, monitoring, retention
from ckanext.archiver.cli import maintenance as maintenance_cli
from ckanext.archiver.doctor import storage
from ckanext.archiver.doctor.finding import Level
from ckanext.archiver.model import Archival
from ckanext.archiver.queue import enqueue, leases, notices
from ckanext.archiver.queue.sql import transaction
from origin_server import Answer, Origin
from rows import requested, run

pytestmark = pytest.mark.usefixtures("clean_site")

ADMIN = {"ignore_auth": True, "user": ""}


@pytest.fixture(autouse=True)
def room_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_known", (float("-inf"), {}))


def act(name: str, **data: Any) -> Any:
    return tk.get_action(name)(dict(ADMIN), data)


def resource(origin: Origin, size: int = 4, *, organization: str | None = None) -> str:
    url = origin.answer(f"/{size}-{len(origin.requests)}.csv", lambda request: Answer(b"a" * size, 200, {}))
    dataset = factories.Dataset(resources=[{"url": url, "format": ""}], owner_org=organization)
    return str(dataset["resources"][0]["id"])


def check(resource_id: str) -> Archival:
    if resource_id not in requested():
        enqueue.put_resource(resource_id, "bulk", "round")
        model.Session.commit()
    assert archiving.archive_resource(resource_id, at_once=True) is not None
    return row(resource_id)


def row(resource_id: str) -> Archival:
    model.Session.expire_all()
    found = Archival.get_for_resource(resource_id)
    assert found is not None
    return found


def copy(resource_id: str) -> Path:
    return Path(row(resource_id).cache_filepath)


def days_pass(days: int) -> None:
    run("UPDATE archival SET deleted_since = deleted_since - :days * interval '1 day'", days=days)
    hour_passes()


def hour_passes() -> None:
    run("UPDATE archiver_state SET updated_at = now() - interval '2 hours' WHERE key LIKE 'turn:%'")


def remove() -> int:
    """What a worker's background threads do."""
    with transaction():
        retention.note_deleted()
    with transaction():
        retention.drop_expired()
    return notices.deliver_abandoned()


def enforce() -> int:
    hour_passes()
    dropped = retention.enforce_quotas()
    notices.deliver_abandoned()
    retention._known = float("-inf"), {}
    return dropped


# -- deleted resources ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["resource", "dataset"])
def test_the_copy_of_what_is_deleted_goes_after_the_grace(kind: str, origin: Origin) -> None:
    one, other = resource(origin), resource(origin)
    for resource_id in (one, other):
        check(resource_id)
    path, kept = copy(one), copy(other)
    if kind == "resource":
        act("resource_delete", id=one)
    else:
        act("package_delete", id=row(one).package_id)
    remove()
    days_pass(29)
    remove()
    assert path.exists()

    days_pass(1)
    remove()
    assert not path.parent.exists()
    assert (row(one).cache_filepath, row(one).cache_url) == (None, None)
    assert row(one).verdict == "ok"
    assert kept.exists()
    assert row(other).deleted_since is None


def test_what_is_restored_within_the_grace_keeps_its_copy(origin: Origin) -> None:
    one = resource(origin)
    check(one)
    package_id = row(one).package_id
    act("package_delete", id=package_id)
    remove()
    days_pass(29)
    act("package_patch", id=package_id, state="active")
    days_pass(30)
    remove()
    assert copy(one).exists()
    assert row(one).deleted_since is None

    act("package_delete", id=package_id)
    hour_passes()
    remove()
    assert copy(one).exists(), "the grace begins anew"


@pytest.mark.ckan_config("ckanext-archiver.orphan_grace_days", "0")
def test_without_a_grace_the_copy_goes_at_once(origin: Origin) -> None:
    one = resource(origin)
    check(one)
    path = copy(one)
    act("package_delete", id=row(one).package_id)
    remove()
    assert not path.exists()


def test_a_purge_removes_the_copy_once_it_is_committed(origin: Origin) -> None:
    one = resource(origin)
    check(one)
    path, package_id = copy(one), row(one).package_id
    model.Package.get(package_id).purge()
    model.Session.flush()
    model.Session.rollback()
    notices.deliver_abandoned()
    assert path.exists()

    act("dataset_purge", id=package_id)
    notices.deliver_abandoned()
    assert not path.parent.exists()


def test_a_copy_that_came_since_is_not_removed(origin: Origin) -> None:
    one = resource(origin)
    check(one)
    path = copy(one)
    run("UPDATE archival SET cache_filepath = NULL")
    run("INSERT INTO archiver_notice (operation, resource_id) VALUES ('dropped', :id)", id=one)
    run("UPDATE archival SET cache_filepath = :path", path=str(path))
    assert notices.deliver_abandoned() == 1
    assert path.exists()


def test_a_copy_that_is_being_renewed_is_left_to_its_run(origin: Origin) -> None:
    one = resource(origin)
    check(one)
    path = copy(one)
    enqueue.put_resource(one, "bulk", "round")
    model.Session.commit()
    token = leases.issue()
    run("UPDATE archiver_request SET lease_token = :token, leased_by = 'other'", token=token)
    leases.discard(token)
    with transaction():
        assert retention._drop([one]) == 0
    assert copy(one) == path

    # Claimed between the two steps.
    run("UPDATE archival SET cache_filepath = NULL")
    run("INSERT INTO archiver_notice (operation, resource_id) VALUES ('dropped', :id)", id=one)
    assert notices.deliver_abandoned() == 1
    assert path.exists()


# -- quotas ----------------------------------------------------------------------------------------------------


def test_without_a_quota_nothing_is_measured(origin: Origin) -> None:
    check(resource(origin))
    assert enforce() == 0
    assert run("SELECT count(*) FROM archiver_state WHERE key = 'quota'") == [(0,)]


@pytest.mark.ckan_config("ckanext-archiver.quota_bytes", "100")
def test_over_the_quota_the_last_copy_of_a_broken_link_goes_last(origin: Origin) -> None:
    names = {}
    for name, size in {"small": 20, "large": 70, "not-sure": 60, "failing": 50, "broken": 90, "upload": 10}.items():
        names[name] = resource(origin, size)
        check(names[name])
    for name in ("not-sure", "failing", "broken"):
        run("UPDATE archival SET verdict = :verdict WHERE resource_id = :id", verdict=name, id=names[name])
    run("UPDATE resource SET url_type = 'upload' WHERE id = :id", id=names["upload"])
    paths = {name: copy(resource_id) for name, resource_id in names.items()}

    # 300 bytes, 200 too many: 10 of the upload, 70 and 20 of those that work, 60, and 50.
    assert enforce() == 5
    assert {name for name, path in paths.items() if path.exists()} == {"broken"}
    assert enforce() == 0


@pytest.mark.ckan_config("ckanext-archiver.quota_bytes_per_organization", "100")
def test_the_quota_of_an_organization_is_its_own(origin: Origin) -> None:
    full, other = factories.Organization(), factories.Organization()
    ours = [resource(origin, size, organization=full["id"]) for size in (80, 40)]
    theirs, nobodys = resource(origin, 90, organization=other["id"]), resource(origin, 300)
    for resource_id in (*ours, theirs, nobodys):
        check(resource_id)

    assert enforce() == 1
    assert [row(one).cache_filepath is None for one in (*ours, theirs, nobodys)] == [True, False, False, False]
    assert retention.full_quotas() == [full["name"]], "as it was measured, before the removal"
    enforce()
    assert retention.full_quotas() == []


@pytest.mark.ckan_config("ckanext-archiver.quota_bytes", "100")
def test_at_the_quota_new_links_are_checked_and_not_downloaded(origin: Origin) -> None:
    old = resource(origin, 100)
    check(old)
    assert enforce() == 0
    new = resource(origin, 30)
    found = check(new)
    assert (found.verdict, found.cache_filepath) == ("ok", None)
    assert check(old).cache_filepath, "a link with a copy is renewed as before"

    status = monitoring.collect()
    assert status["disk"]["full_quotas"] == [""]
    assert any("have reached their quota" in line for line in monitoring.lines(status))
    said = [finding.message for finding in storage.unused_space() if finding.level == Level.WARNING]
    assert len(said) == 1
    assert "this portal have reached ckanext-archiver.quota_bytes" in said[0]

    act("package_delete", id=row(old).package_id)
    act("dataset_purge", id=row(old).package_id)
    enforce()
    assert check(new).cache_filepath


@pytest.mark.ckan_config("ckanext-archiver.quota_bytes", "100")
def test_a_copy_that_was_removed_comes_back_only_where_it_fits(origin: Origin) -> None:
    large, small = resource(origin, 80), resource(origin, 40)
    for resource_id in (large, small):
        check(resource_id)
    assert enforce() == 1
    enforce()
    assert retention.full_quotas() == []
    assert check(large).cache_filepath is None, "80 bytes do not fit beside 40"
    assert row(large).size == 80
    run("UPDATE archival SET size = 20 WHERE resource_id = :id", id=small)
    enforce()
    assert check(large).cache_filepath


# -- commands ---------------------------------------------------------------------------------------------------


def command(name: str, *words: str) -> Any:
    found = next(command for command in maintenance_cli.commands if command.name == name)
    result = CliRunner().invoke(found, words)
    assert result.exit_code == 0, result.output
    return result.output


def test_sizes_by_organization_format_and_host(origin: Origin) -> None:
    organization = factories.Organization()
    check(resource(origin, 30, organization=organization["id"]))
    check(resource(origin, 50, organization=organization["id"]))
    check(resource(origin, 7))

    by_organization = json.loads(command("size-report", "--by", "organization", "--json"))
    assert by_organization == [
        {"label": organization["name"], "files": 2, "bytes": 80},
        {"label": "", "files": 1, "bytes": 7},
    ]
    lines = command("size-report", "--by", "host").splitlines()
    assert lines[0].split()[0] == "host"
    assert lines[-1].split() == ["Totals", "3", "87"]
    run("UPDATE resource SET format = ''")
    assert "(no format)" in command("size-report", "--by", "format")


def test_orphans_are_reported_and_nothing_is_changed(origin: Origin, archive_dir: Path, tmp_path: Path) -> None:
    deleted, lost = resource(origin, 30), resource(origin, 50)
    for resource_id in (deleted, lost):
        check(resource_id)
    act("resource_delete", id=deleted)
    copy(lost).unlink()
    orphan = archive_dir / "ab" / "ab000000-0000-0000-0000-000000000000" / "a.csv"
    orphan.parent.mkdir(parents=True)
    orphan.write_text("a,b\n")

    os.utime(orphan, (0, 0))

    found = json.loads(command("report-orphans", "--json", str(tmp_path / "list.csv")))
    assert found == {
        "orphans": {"files": 1, "bytes": 4},
        "missing": 1,
        "of_deleted_resources": {"files": 1, "bytes": 30},
    }
    text = command("report-orphans")
    assert "1 files of no link: 4 bytes" in text
    assert "Workers remove them 30 days after" in text
    assert len((tmp_path / "list.csv").read_text().splitlines()) == 3
    assert orphan.exists()
