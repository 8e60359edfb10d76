"""What operators do with the cached copies: nothing outside the archive is touched, and nothing is lost by halves."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ckan import model as core
from click.testing import CliRunner, Result

from ckanext.archiver import maintenance
from ckanext.archiver.cli import maintenance as maintenance_cli
from ckanext.archiver.maintenance import forgetting
from ckanext.archiver.model import Archival

COMMANDS = {command.name: command for command in maintenance_cli.commands}
LONG_AGO = time.time() - 7 * 24 * 3600

pytestmark = pytest.mark.usefixtures("clean_db")


@pytest.fixture
def archive(tmp_path: Path, ckan_config: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "archive"
    root.mkdir()
    monkeypatch.setitem(ckan_config, "ckanext-archiver.archive_dir", str(root))
    return root


def run(name: str, *words: str, typed: str = "") -> Result:
    return CliRunner().invoke(COMMANDS[name], words, input=typed)


def execute(sql: str, **values: Any) -> None:
    core.Session.execute(sa.text(sql), values)
    core.Session.commit()


def resource(state: str = "active", dataset_state: str = "active") -> str:
    """A resource that no hook has heard of."""
    package_id, resource_id = str(uuid.uuid4()), str(uuid.uuid4())
    execute("INSERT INTO package (id, name, state) VALUES (:id, :id, :state)", id=package_id, state=dataset_state)
    execute(
        """
        INSERT INTO resource (id, package_id, url, state, position)
        VALUES (:id, :package_id, 'http://o.example/', :state, 0)
        """,
        id=resource_id,
        package_id=package_id,
        state=state,
    )
    return resource_id


def archival(resource_id: str, path: Path | str | None = None, size: int = 4) -> str:
    package_id = core.Session.execute(
        sa.text("SELECT package_id FROM resource WHERE id = :id"), {"id": resource_id}
    ).scalar()
    execute(
        """
        INSERT INTO archival (id, package_id, resource_id, verdict, cache_filepath, cache_url, size, hash)
        VALUES (:id, :package_id, :id, 'ok', :path, :url, :size, 'abc')
        """,
        id=resource_id,
        package_id=package_id or "gone",
        path=str(path) if path else None,
        url=f"http://portal.example/cache/{Path(path).name}" if path else None,
        size=size,
    )
    return resource_id


def file_at(path: Path, changed: float = LONG_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a,b\n")
    os.utime(path, (changed, changed))
    return path


def copy_of(archive: Path, resource_id: str, name: str = "a.csv", **kwargs: Any) -> Path:
    return file_at(archive / resource_id[:2] / resource_id / name, **kwargs)


def row(resource_id: str) -> Any:
    core.Session.expire_all()
    return Archival.get_for_resource(resource_id)


def count(table: str) -> int:
    return int(core.Session.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar() or 0)  # noqa: S608 - our own


# -- forgetting --------------------------------------------------------------------------------------------


def test_clean_status_forgets_links_and_history_and_leaves_the_files(archive: Path) -> None:
    one = resource()
    path = copy_of(archive, one)
    archival(one, path)
    execute(
        "INSERT INTO archival_check (resource_id, checked_at, verdict, cause) VALUES (:id, now(), 'ok', 'ok')",
        id=one,
    )
    execute("INSERT INTO archiver_dataset VALUES ('p', 'ok', 'ok')")

    result = run("clean-status", "--yes")

    assert (result.exit_code, result.output) == (0, "1 links forgotten.\n")
    assert (count("archival"), count("archival_check")) == (0, 0)
    assert path.exists()
    stale = "SELECT package_id FROM archiver_dataset WHERE facet IS DISTINCT FROM indexed_facet"
    assert core.Session.execute(sa.text(stale)).scalar() == "p"


@pytest.mark.parametrize("name", ["clean-status", "clean-cached-resources"])
def test_nothing_is_forgotten_without_a_yes(name: str) -> None:
    one = archival(resource(), "/somewhere/a.csv")

    for typed in ("n\n", ""):
        result = run(name, typed=typed)

        assert result.exit_code == 1
        assert "Nothing was done. Without a terminal to ask on, give --yes." in result.output
    assert row(one).cache_filepath == "/somewhere/a.csv"


def test_clean_cached_resources_forgets_the_copies_only(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "BATCH", 2)
    ids = [archival(resource(), f"/somewhere/{number}.csv") for number in range(5)]

    assert list(maintenance.clean_cached_resources()) == [2, 2, 1]

    for one in ids:
        found = row(one)
        assert (found.cache_filepath, found.cache_url, found.size, found.hash) == (None,) * 4
        assert found.verdict == "ok"


# -- sizes -------------------------------------------------------------------------------------------------


def test_size_report_counts_each_copy_of_a_living_resource_once() -> None:
    for size in (0, 1024, 1025, 5 * 1024**2, 200 * 1024**3):
        archival(resource(), "/somewhere/a.csv", size)
    archival(resource(state="deleted"), "/somewhere/a.csv", 3)
    archival(resource(dataset_state="deleted"), "/somewhere/a.csv", 3)
    archival(resource(), None, 3)

    found = {one.label: (one.files, one.bytes) for one in maintenance.size_report() if one.files}

    assert found == {
        "<1 KB": (2, 1024),
        "1-10 KB": (1, 1025),
        "1-10 MB": (1, 5 * 1024**2),
        ">100 GB": (1, 200 * 1024**3),
    }
    assert run("size-report").output.splitlines()[-1].split() == [
        "Totals",
        "5",
        f"{sum(b for _, b in found.values()):,}",
    ]
    for_scripts = json.loads(run("size-report", "--json").output)
    assert for_scripts[0] == {"label": "<1 KB", "files": 2, "bytes": 1024}
    assert len(for_scripts) == 10


@pytest.mark.ckan_config("ckanext-archiver.max_content_length", "10")
def test_copies_that_became_too_large_are_deleted_and_forgotten(archive: Path) -> None:
    large, small, gone = resource(), resource(), resource()
    paths = {one: copy_of(archive, one) for one in (large, small, gone)}
    archival(large, paths[large], 11)
    archival(small, paths[small], 10)
    archival(gone, paths[gone], 12)
    paths[gone].unlink()

    result = run("delete-files-larger-than-max-content-length", "--yes")

    assert result.exit_code == 0, result.output
    assert "2 cached copies are larger than 10 bytes: 23 bytes in total." in result.output
    assert not paths[large].parent.exists()
    assert paths[small].exists()
    assert [row(one).cache_filepath for one in (large, gone)] == [None, None]
    assert row(large).verdict == "ok"
    assert row(small).cache_filepath == str(paths[small])


@pytest.mark.ckan_config("ckanext-archiver.max_content_length", "10")
def test_a_path_that_leads_out_of_the_archive_is_left_alone_and_reported(archive: Path, tmp_path: Path) -> None:
    treasure = file_at(tmp_path / "elsewhere" / "treasure.csv")
    plain, climbing, linked = resource(), resource(), resource()
    archival(plain, treasure, 11)
    archival(climbing, archive / ".." / "elsewhere" / "treasure.csv", 11)
    (archive / linked[:2]).mkdir()
    (archive / linked[:2] / linked).symlink_to(treasure.parent)
    archival(linked, archive / linked[:2] / linked / "treasure.csv", 11)

    result = run("delete-files-larger-than-max-content-length", "--yes")

    assert result.exit_code == 1
    assert result.output.count("is not in") == 3
    assert treasure.exists()
    assert row(plain).cache_filepath == str(treasure)


# -- places ------------------------------------------------------------------------------------------------


def test_directories_of_the_old_layout_are_moved_and_the_archivals_follow(archive: Path) -> None:
    one = resource()
    file_at(archive / one / "a.csv")
    archival(one, archive / one / "a.csv")
    execute("UPDATE archival SET cache_url = :url", url=f"http://portal.example/cache/{one}/a.csv")
    other = archival(resource(), "/elsewhere/a.csv")

    result = run("migrate-archive-dirs")
    again = run("migrate-archive-dirs")

    assert (result.exit_code, again.exit_code) == (0, 0), result.output
    assert "1 moved." in result.output
    assert "0 moved." in again.output
    moved = archive / one[:2] / one / "a.csv"
    assert moved.read_text() == "a,b\n"
    assert not (archive / one).exists()
    assert row(one).cache_filepath == str(moved)
    assert row(one).cache_url == f"http://portal.example/cache/{one[:2]}/{one}/a.csv"
    assert row(other).cache_filepath == "/elsewhere/a.csv"


def test_a_move_that_was_interrupted_is_made_up_for(archive: Path) -> None:
    one = resource()
    copy_of(archive, one)
    archival(one, archive / one / "a.csv")

    assert run("migrate-archive-dirs").exit_code == 0

    assert row(one).cache_filepath == str(archive / one[:2] / one / "a.csv")


def test_no_file_is_overwritten_and_no_link_followed_by_a_move(archive: Path, tmp_path: Path) -> None:
    twice, linked = resource(), resource()
    old = file_at(archive / twice / "a.csv")
    new = copy_of(archive, twice)
    new.write_text("newer\n")
    archival(twice, old)
    outside = file_at(tmp_path / "outside" / "a.csv")
    (archive / linked).symlink_to(outside.parent)

    result = run("migrate-archive-dirs")

    assert result.exit_code == 1
    assert "already" in result.output
    assert (old.read_text(), new.read_text()) == ("a,b\n", "newer\n")
    assert row(twice).cache_filepath == str(old)
    assert (archive / linked).is_symlink()
    assert outside.exists()


def test_nothing_is_moved_out_of_the_archive(archive: Path, tmp_path: Path) -> None:
    one = resource()
    old = file_at(archive / one / "a.csv")
    (tmp_path / "outside").mkdir()
    (archive / one[:2]).symlink_to(tmp_path / "outside")

    result = run("migrate-archive-dirs")

    assert result.exit_code == 1
    assert "leads out of the archive directory" in result.output
    assert old.exists()


# -- orphans -----------------------------------------------------------------------------------------------


def test_orphans_go_and_everything_else_stays(archive: Path, tmp_path: Path) -> None:
    kept, renamed, gone, young = resource(), resource(), str(uuid.uuid4()), str(uuid.uuid4())
    outside = file_at(tmp_path / "outside" / "a.csv")
    stay = [
        copy_of(archive, kept),
        copy_of(archive, renamed, "new.csv"),
        copy_of(archive, young, changed=time.time()),
        file_at(archive / "README"),
        file_at(archive / ".tmp" / "worker" / "fetch-1"),
        file_at(archive / "other" / "thing" / "a.csv"),
        file_at(archive / "ab" / "thing" / "a.csv"),
        outside,
    ]
    go = [copy_of(archive, renamed, "old.csv"), copy_of(archive, gone), file_at(archive / gone / "a.csv")]
    (archive / gone[:2] / f"{gone[:2]}-link").symlink_to(outside.parent)
    archival(kept, stay[0])
    archival(renamed, stay[1])

    counted = run("delete-orphans", "--dry-run")
    refused = run("delete-orphans", typed="n\n")
    assert counted.output == "3 files of no link: 12 bytes in total.\n"
    assert refused.exit_code == 1
    assert all(path.exists() for path in go)

    result = run("delete-orphans", "--yes")

    assert result.exit_code == 0, result.output
    assert "3 deleted." in result.output
    assert not any(path.exists() for path in go)
    assert all(path.exists() for path in stay)
    assert not (archive / gone).exists()


def test_copies_are_known_however_the_archive_directory_is_written(archive: Path, tmp_path: Path) -> None:
    one = resource()
    path = copy_of(archive, one)
    archival(one, Path("/www/resource_cache") / path.relative_to(archive))

    assert list(maintenance.orphans(archive)) == []


def test_a_terminal_shows_the_progress_of_the_search(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_of(archive, archival(resource(), "/somewhere/a.csv"))
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with maintenance_cli._search_progress() as on_progress:
        list(maintenance.orphans(archive, on_progress))
    assert re.search("Searching.*1/1", terminal.getvalue())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_copy_of_0_1_is_no_orphan_before_it_is_brought_over(archive: Path) -> None:
    one = resource()
    old = file_at(archive / one / "a.csv")
    execute(
        "UPDATE resource SET extras = :extras WHERE id = :id", id=one, extras=json.dumps({"cache_filepath": str(old)})
    )
    assert list(maintenance.orphans(archive)) == []
    archival(one)
    assert [orphan.path for orphan in maintenance.orphans(archive)] == [old]


def test_the_list_names_orphans_and_copies_that_are_missing(archive: Path, tmp_path: Path) -> None:
    orphan = copy_of(archive, str(uuid.uuid4()))
    missing = resource()
    archival(missing, archive / missing[:2] / missing / "a.csv")

    result = run("delete-orphans", "--dry-run", str(tmp_path / "out.csv"))

    assert result.exit_code == 0, result.output
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        lines = [line[:2] for line in csv.reader(file)]
    assert lines == [
        ["Resource ID", "Filepath"],
        [orphan.parent.name, str(orphan)],
        [missing, str(archive / missing[:2] / missing / "a.csv")],
    ]


@pytest.mark.parametrize("name", ["migrate-archive-dirs", "delete-orphans"])
def test_without_an_archive_directory_there_is_one_sentence(
    name: str, tmp_path: Path, ckan_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ckan_config, "ckanext-archiver.archive_dir", str(tmp_path / "none"))

    result = run(name)

    assert result.exit_code == 1
    assert result.output.startswith("Error: There is no directory ")
