"""What release 0.1 knew becomes archivals."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ckan import model as core
from click.testing import CliRunner

import ckanext.archiver
from ckanext.archiver.cli.maintenance import migrate_task_status
from ckanext.archiver.legacy import task_status
from ckanext.archiver.model import Archival

pytestmark = pytest.mark.usefixtures("clean_db")


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def execute(sql: str, **values: Any) -> None:
    core.Session.execute(sa.text(sql), values)
    core.Session.commit()


def resource(state: str = "active", **columns: Any) -> str:
    """A resource as 0.1 left it, which no hook has heard of."""
    package_id = str(uuid.uuid4())
    execute("INSERT INTO package (id, name, state) VALUES (:id, :id, 'active')", id=package_id)
    values = {
        "id": str(uuid.uuid4()),
        "package_id": package_id,
        "url": "http://origin.example/a.csv",
        "state": state,
        "position": 0,
        **columns,
    }
    names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
    execute(f"INSERT INTO resource ({names}) VALUES ({marks})", **values)  # noqa: S608 - names of our own
    return str(values["id"])


def status(resource_id: str, value: str, key: str = "status", error: str | None = None, **details: Any) -> None:
    execute(
        """
        INSERT INTO task_status (id, entity_id, entity_type, task_type, key, value, error, last_updated)
        VALUES (:id, :entity_id, 'resource', 'archiver', :key, :value, :error, '2014-07-22 12:00')
        """,
        id=str(uuid.uuid4()),
        entity_id=resource_id,
        key=key,
        value=value,
        error=json.dumps(details) if error is None else error,
    )


def migrate(write: bool = True) -> Counter[str]:
    return sum(task_status.migrate(write), Counter())


def row(resource_id: str) -> Archival | None:
    core.Session.expire_all()
    return Archival.get_for_resource(resource_id)


def test_a_link_that_worked(in_berlin: None) -> None:
    one = resource(
        cache_url="http://portal.example/cache/aa/x/a.csv",
        hash="abc",
        size=7,
        mimetype="text/csv",
        extras=json.dumps({"cache_filepath": "/www/resource_cache/aa/x/a.csv"}),
    )
    status(
        one,
        "Archived successfully",
        reason="",
        last_success="2014-07-22T12:00:00",
        first_failure="",
        failure_count=0,
        url_redirected_to="http://origin.example/b.csv",
    )

    assert migrate() == {task_status.ADDED: 1}

    found = row(one)
    assert found is not None
    assert (found.status, found.verdict, found.cause, found.is_broken) == (
        "Archived successfully",
        "ok",
        "ok",
        False,
    )
    assert found.last_success == found.updated == found.created == datetime.datetime(2014, 7, 22, 10, 0)  # noqa: DTZ001
    assert found.cache_filepath == "/www/resource_cache/aa/x/a.csv"
    assert found.cache_url == "http://portal.example/cache/aa/x/a.csv"
    assert (found.hash, found.size, found.mimetype) == ("abc", 7, "text/csv")
    assert found.url_redirected_to == "http://origin.example/b.csv"
    assert found.source_url == "http://origin.example/a.csv"


def test_a_link_that_was_broken(in_berlin: None) -> None:
    one = resource()
    status(
        one,
        "Download error",
        reason="Server returned 404 error",
        last_success="",
        first_failure="2014-01-22T12:00:00.123456",
        failure_count="3",
        url_redirected_to=None,
    )

    migrate()

    found = row(one)
    assert found is not None
    assert (found.verdict, found.cause, found.is_broken, found.failure_count) == (
        "broken",
        "server-error",
        True,
        3,
    )
    assert found.reason == "Server returned 404 error"
    assert found.first_failure == found.broken_since == datetime.datetime(2014, 1, 22, 11, 0, 0, 123456)  # noqa: DTZ001
    assert found.last_success is None


def test_a_copy_without_a_status() -> None:
    one = resource(cache_url="http://portal.example/cache/a.csv")

    migrate()

    found = row(one)
    assert found is not None
    assert (found.verdict, found.status, found.is_broken) == ("not-sure", None, None)


def test_rows_of_other_extensions_are_left_alone() -> None:
    uploaded = resource(hash="abc", size=7, mimetype="text/csv")
    queued = resource()
    status(queued, "0a4b97d9", key="celery_task_id", error="")
    deleted = resource(state="deleted", cache_url="http://portal.example/cache/a.csv")

    assert task_status.count() == 0
    assert migrate() == {}
    assert [row(one) for one in (uploaded, queued, deleted)] == [None] * 3


@pytest.mark.parametrize("error", ["", "not JSON", "[]", '{"failure_count": "many", "first_failure": "soon"}'])
def test_damaged_details_do_not_stop_it(error: str) -> None:
    one, unknown = resource(extras='{damaged "cache_filepath"'), resource()
    status(one, "Download error", error=error)
    status(unknown, "Something else", error=error)

    assert migrate() == {task_status.ADDED: 1, task_status.NEITHER: 1}

    found = row(one)
    assert found is not None
    assert (found.verdict, found.failure_count) == ("broken", 1)


def test_a_second_run_changes_nothing_and_newer_rows_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_status, "BATCH", 2)
    ids = [resource(cache_url="http://portal.example/cache/a.csv") for _ in range(5)]
    core.Session.add(Archival(resource_id=ids[0], package_id="p", verdict="ok"))
    core.Session.commit()

    first, second = migrate(), migrate()

    assert first == {task_status.ADDED: 4, task_status.KNOWN: 1}
    assert second == {task_status.KNOWN: 5}
    kept = row(ids[0])
    assert kept is not None
    assert (kept.verdict, kept.cache_url) == ("ok", None)


def test_without_write_nothing_is_written() -> None:
    one = resource(cache_url="http://portal.example/cache/a.csv")

    result = CliRunner().invoke(migrate_task_status)

    assert result.exit_code == 0, result.output
    assert "1  Added to the table archival" in result.output
    assert "Nothing was written" in result.output
    assert row(one) is None


def test_the_line_of_the_readme_is_the_command(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    program = tmp_path / "ckan"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    script = Path(ckanext.archiver.__file__).parent / "bin" / "migrate_task_status.py"
    code = (
        f"import runpy, sys; sys.executable = {str(tmp_path / 'python')!r}\n"
        f"sys.argv = [{str(script)!r}, '--write', 'production.ini']\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=os.environ
    )

    assert (ran.returncode, ran.stdout) == (0, "-c production.ini archiver migrate-task-status --write\n"), ran.stderr


def test_what_was_checked_longest_ago_is_checked_first_within_a_week() -> None:
    ids = [resource() for _ in range(5)]
    for place, one in enumerate(ids):
        status(one, "Archived successfully")
        execute(
            "UPDATE task_status SET last_updated = '2014-01-01'::date + :place WHERE entity_id = :id",
            place=place,
            id=one,
        )

    migrate()

    planned = [row(one).next_check_at for one in ids]
    assert planned == sorted(planned)
    assert planned[-1] - planned[0] == datetime.timedelta(days=7)
