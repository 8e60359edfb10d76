"""Whatever a database has gone through, the migrations make of it what the model says, and lose nothing.

Each test has a schema of its own in the tests' database, so that the tables of the others stay as they are.
"""

from __future__ import annotations

import datetime
import itertools
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
import sqlalchemy as sa
import tzlocal
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from ckan import model as core
from ckan.cli.cli import ckan
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from ckanext.archiver import model

ALEMBIC_INI = Path(model.__file__).parent / "migration" / "archiver" / "alembic.ini"
OF_2X = "67818770e95f"
DAY = datetime.timedelta(days=1)

# As releases 2.0 to 2.2 made it; etag and last_modified came later.
TABLE_OF_2X = """
    CREATE TABLE archival (
        id TEXT PRIMARY KEY, package_id TEXT NOT NULL, resource_id TEXT NOT NULL,
        resource_timestamp TIMESTAMP,
        status_id INTEGER, is_broken BOOLEAN, reason TEXT, url_redirected_to TEXT,
        cache_filepath TEXT, cache_url TEXT, size BIGINT, mimetype TEXT, hash TEXT,
        first_failure TIMESTAMP, last_success TIMESTAMP, failure_count INTEGER,
        created TIMESTAMP, updated TIMESTAMP
    );
    CREATE INDEX ix_archival_package_id ON archival (package_id);
    CREATE INDEX ix_archival_resource_id ON archival (resource_id)
"""


class Scratch:
    """A schema that nothing else uses."""

    def __init__(self) -> None:
        self.name = f"migrations_{uuid.uuid4().hex[:8]}"
        url = sa.engine.make_url(tk.config["sqlalchemy.url"])
        self.engine: Engine = sa.create_engine(url, poolclass=NullPool)
        self.run(f"CREATE SCHEMA {self.name}")
        # A new engine: the one that was there before the schema remembers to be at home elsewhere.
        self.url = url.set(query={"options": f"-csearch_path={self.name} -clock_timeout=5s"})
        self.engine = sa.create_engine(self.url, poolclass=NullPool)
        self.run("CREATE TABLE resource (id TEXT PRIMARY KEY, url TEXT)")

    def run(self, sql: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(sql), values)

    def rows(self, sql: str) -> list[Any]:
        with self.engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(sa.text(sql))]

    def row(self, resource_id: str = "r") -> dict[str, Any]:
        (row,) = self.rows(f"SELECT * FROM archival WHERE resource_id = '{resource_id}'")  # noqa: S608 - our own
        return row

    def upgrade(self, revision: str = "head") -> None:
        command.upgrade(self._config(), revision)

    def downgrade(self, revision: str) -> None:
        command.downgrade(self._config(), revision)

    def stamp(self, revision: str) -> None:
        command.stamp(self._config(), revision)

    def head(self) -> str | None:
        return ScriptDirectory.from_config(self._config()).get_current_head()

    def differences(self) -> list[Any]:
        """What Alembic would change to get from this database to the model."""
        ours = {table.name for table in model.TABLES}

        def include(thing: Any, name: str | None, type_: str, *_: Any) -> bool:
            return (thing if type_ == "table" else thing.table).name in ours

        options = {"compare_type": True, "compare_server_default": True, "include_object": include}
        with self.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts=options)
            return compare_metadata(context, model.Archival.metadata)

    def archival(self, resource_id: str = "r", **columns: Any) -> str:
        row = {"id": str(uuid.uuid4()), "package_id": "p", "resource_id": resource_id, **columns}
        names = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        self.run(f"INSERT INTO archival ({names}) VALUES ({values})", **row)  # noqa: S608 - names of our own
        return str(row["id"])

    def _config(self) -> Config:
        config = Config(str(ALEMBIC_INI))
        url = self.url.render_as_string(hide_password=False)
        config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
        return config


@pytest.fixture
def db() -> Iterator[Scratch]:
    scratch = Scratch()
    yield scratch
    scratch.run(f"DROP SCHEMA {scratch.name} CASCADE")


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine stands in Berlin."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        tzlocal.reload_localzone()
        yield
    time.tzset()
    tzlocal.reload_localzone()


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def _empty(db: Scratch) -> None:
    pass


def _of_2x(db: Scratch) -> None:
    db.run(TABLE_OF_2X)
    db.archival("r")


def _of_2x_recorded(db: Scratch) -> None:
    _of_2x(db)
    db.run("ALTER TABLE archival ADD COLUMN etag TEXT, ADD COLUMN last_modified TEXT")
    db.stamp(OF_2X)


def _of_2x_migrated_by_its_own_command(db: Scratch) -> None:
    _of_2x(db)
    db.run("ALTER TABLE archival ADD COLUMN etag VARCHAR, ADD COLUMN last_modified VARCHAR")


def _of_2x_without_indexes_and_with_duplicates(db: Scratch) -> None:
    _of_2x(db)
    db.run("DROP INDEX ix_archival_package_id")
    db.run("DROP INDEX ix_archival_resource_id")
    db.archival("r")


def _made_from_the_model(db: Scratch) -> None:
    model.init_tables(db.engine)


def _archival_made_from_the_model(db: Scratch) -> None:
    model.Archival.__table__.create(db.engine)
    db.stamp(OF_2X)


STARTS = [
    _empty,
    _of_2x,
    _of_2x_recorded,
    _of_2x_migrated_by_its_own_command,
    _of_2x_without_indexes_and_with_duplicates,
    _made_from_the_model,
    _archival_made_from_the_model,
]


@pytest.mark.parametrize("start", STARTS)
def test_every_older_release_is_upgraded_to_the_models_tables(db: Scratch, start: Any) -> None:
    start(db)

    db.upgrade()

    assert db.differences() == []
    assert db.rows("SELECT version_num FROM archiver_alembic_version") == [{"version_num": db.head()}]


@pytest.mark.parametrize("start", STARTS)
def test_every_older_release_goes_down_and_up_again(db: Scratch, start: Any) -> None:
    start(db)
    db.upgrade()
    db.upgrade()

    db.downgrade(OF_2X)
    db.upgrade()

    assert db.differences() == []
    assert len(db.rows("SELECT * FROM archival")) == len(db.rows("SELECT DISTINCT resource_id FROM archival"))


# Counts the statements that reach the database, and is killed before the one of the number given: by SIGKILL, as by
# an operator who has lost patience, or by a machine that is switched off.
KILLED = """
import os, signal, sys
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from ckanext.archiver.migration.archiver import online

number = int(sys.argv[3])
online.ROWS = 7

@sa.event.listens_for(sa.engine.Engine, "before_cursor_execute")
def count(*_):
    global number
    number -= 1
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)

config = Config(sys.argv[1])
config.set_main_option("sqlalchemy.url", sys.argv[2].replace("%", "%%"))
command.upgrade(config, "head")
"""


def test_an_upgrade_that_is_killed_anywhere_goes_on(db: Scratch) -> None:
    db.run(TABLE_OF_2X)
    for number in range(20):
        db.run("INSERT INTO resource VALUES (:id, 'www.example.org/a.csv')", id=f"r{number}")
        db.archival(f"r{number}", status_id=0, is_broken=False, updated=_moment("2019-01-01") + number * DAY)
    db.archival("r0", status_id=11, is_broken=True, updated=_moment("2018-01-01"))
    url = db.url.render_as_string(hide_password=False)
    kills, survived = 0, False
    # Each start gets further than the one before, or repeats what that one had begun.
    for number in itertools.count(4, 2):
        words = [sys.executable, "-c", KILLED, str(ALEMBIC_INI), url, str(number)]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=60)
        if ended.returncode == 0:
            survived = True
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        kills += 1

    assert survived
    assert kills >= 10
    assert db.differences() == []
    rows = db.rows("SELECT * FROM archival ORDER BY updated")
    assert [row["resource_id"] for row in rows] == [f"r{number}" for number in range(20)]
    assert {(row["verdict"], row["is_broken"], row["source_url"]) for row in rows} == {
        ("ok", False, "http://www.example.org/a.csv")
    }
    planned = [row["next_check_at"] for row in rows]
    assert None not in planned
    assert db.rows("SELECT 1 FROM pg_index JOIN pg_class ON oid = indexrelid WHERE NOT indisvalid") == []


def test_a_downgrade_to_nothing_and_an_upgrade(db: Scratch) -> None:
    db.upgrade()

    db.downgrade("base")
    assert sorted(sa.inspect(db.engine).get_table_names()) == ["archiver_alembic_version", "resource"]

    db.upgrade()
    assert db.differences() == []


def test_a_link_that_worked_is_adopted(db: Scratch, in_berlin: None) -> None:
    db.run(TABLE_OF_2X)
    db.run("INSERT INTO resource VALUES ('r', 'http://origin.example/a.csv')")
    db.archival(
        status_id=0,
        is_broken=False,
        cache_filepath="/www/resource_cache/aa/r/a.csv",
        cache_url="http://portal.example/resource_cache/aa/r/a.csv",
        size=7,
        hash="abc",
        failure_count=0,
        resource_timestamp=_moment("2026-01-01T00:00:00"),
        created=_moment("2026-01-10T12:00:00"),
        updated=_moment("2026-07-10T12:00:00"),
        last_success=_moment("2026-07-10T12:00:00"),
    )

    db.upgrade()

    row = db.row()
    assert (row["verdict"], row["cause"], row["is_broken"], row["status_id"]) == ("ok", "ok", False, 0)
    assert row["source_url"] == "http://origin.example/a.csv"
    # Winter and summer, each with its own offset; CKAN's own time as it was.
    assert row["created"] == _moment("2026-01-10T11:00:00")
    assert row["updated"] == row["last_success"] == row["checked_at"] == _moment("2026-07-10T10:00:00")
    assert row["cached_at"] == _moment("2026-07-10T10:00:00")
    assert row["resource_timestamp"] == _moment("2026-01-01T00:00:00")
    assert (row["size"], row["hash"]) == (7, "abc")
    assert row["cache_filepath"] == "/www/resource_cache/aa/r/a.csv"


def test_the_rows_of_2x_are_scheduled_over_a_week_the_oldest_first(db: Scratch) -> None:
    db.run(TABLE_OF_2X)
    for number in range(8):
        # The youngest first, so that no order of the table helps.
        updated = _moment(f"2026-07-{20 - number:02}T12:00:00")
        db.archival(id=f"a{number}", resource_id=f"r{number}", status_id=0, is_broken=False, updated=updated)

    db.upgrade()

    planned = db.rows(
        "SELECT id, extract(epoch FROM next_check_at - timezone('utc', now())) / 86400 AS days FROM archival "
        "ORDER BY next_check_at"
    )
    assert [row["id"] for row in planned] == [f"a{number}" for number in reversed(range(8))]
    days = [float(row["days"]) for row in planned]
    assert days == pytest.approx(list(range(8)), abs=0.01)


def test_links_become_what_ckan_shows(db: Scratch) -> None:
    db.run(TABLE_OF_2X)
    urls = {"r1": "origin.example/a.csv", "r2": "http://origin.example/a.csv", "r3": "mailto:me@origin.example"}
    for id_, url in urls.items():
        db.run(f"INSERT INTO resource VALUES ('{id_}', '{url}')")
        db.archival(id=id_, resource_id=id_, status_id=10, is_broken=True)

    db.upgrade()

    rows = {row["resource_id"]: row["source_url"] for row in db.rows("SELECT * FROM archival")}
    assert rows == {**urls, "r1": "http://origin.example/a.csv"}


@pytest.mark.parametrize(("is_broken", "status_id"), [(False, 0), (True, 11), (None, 21)])
def test_every_state_has_a_sentence(db: Scratch, is_broken: bool | None, status_id: int) -> None:
    db.run(TABLE_OF_2X)
    db.archival(status_id=status_id, is_broken=is_broken, reason="")

    db.upgrade()

    assert db.row()["reason"].endswith(".")


def test_a_broken_link_is_adopted_with_its_history(db: Scratch, in_berlin: None) -> None:
    db.run(TABLE_OF_2X)
    db.archival(
        status_id=12,
        is_broken=True,
        reason="Server returned 500 error",
        failure_count=4,
        first_failure=_moment("2026-07-01T12:00:00"),
        updated=_moment("2026-07-22T12:00:00"),
    )

    db.upgrade()

    row = db.row()
    assert (row["verdict"], row["cause"], row["is_broken"]) == ("broken", "server-error", True)
    assert row["first_failure"] == row["failing_since"] == row["broken_since"] == _moment("2026-07-01T10:00:00")
    assert row["failure_count"] == 4
    assert row["reason"] == "Server returned 500 error"
    assert row["source_url"] is None  # the resource is gone


def test_what_2x_counted_but_does_not_say_the_link_is_bad_is_not_counted_on(db: Scratch) -> None:
    db.run(TABLE_OF_2X)
    db.archival(
        status_id=21,
        is_broken=None,
        failure_count=50,
        first_failure=_moment("2026-01-01T00:00:00"),
        updated=_moment("2026-07-22T12:00:00"),
    )

    db.upgrade()

    row = db.row()
    assert (row["verdict"], row["cause"], row["is_broken"]) == ("not-sure", "too-large", None)
    assert (row["failure_count"], row["first_failure"], row["failing_since"]) == (0, None, None)


def test_of_two_rows_the_newest_stays(db: Scratch) -> None:
    db.run(TABLE_OF_2X)
    db.archival("a", created=_moment("2026-01-01T00:00:00"), updated=_moment("2026-01-02T00:00:00"))
    newest = db.archival("a", created=_moment("2026-01-01T00:00:00"), updated=_moment("2026-01-03T00:00:00"))
    db.archival("a")
    db.archival("b", created=_moment("2026-01-01T00:00:00"))
    created_later = db.archival("b", created=_moment("2026-01-02T00:00:00"))

    db.upgrade()

    assert db.rows("SELECT id FROM archival ORDER BY resource_id") == [{"id": newest}, {"id": created_later}]
    with pytest.raises(sa.exc.IntegrityError):
        db.archival("a")


def test_times_are_converted_once(db: Scratch, in_berlin: None) -> None:
    db.run(TABLE_OF_2X)
    db.archival(status_id=0, is_broken=False, updated=_moment("2026-07-10T12:00:00"))

    db.upgrade("archiver_003")
    db.stamp("archiver_002")
    db.archival("s", status_id=0, is_broken=False, updated=_moment("2026-07-10T12:00:00"))
    db.upgrade()
    db.upgrade()
    once = db.row()["updated"]
    # A database without the record of its migrations starts over.
    db.stamp("base")
    db.upgrade()

    assert once == db.row()["updated"] == db.row("s")["updated"] == _moment("2026-07-10T10:00:00")


def test_the_rows_of_this_release_keep_their_times(db: Scratch, in_berlin: None) -> None:
    model.init_tables(db.engine)
    db.archival(updated=_moment("2026-07-10T12:00:00"))

    db.upgrade()

    assert db.row()["updated"] == _moment("2026-07-10T12:00:00")
    assert db.row()["verdict"] is None


def test_after_upgrade_and_downgrade_the_times_are_those_of_2x(db: Scratch, in_berlin: None) -> None:
    db.run(TABLE_OF_2X)
    db.archival(status_id=0, is_broken=False, updated=_moment("2026-07-10T12:00:00"))
    db.upgrade()

    db.downgrade(OF_2X)
    back = db.row()
    db.upgrade()

    assert back["updated"] == _moment("2026-07-10T12:00:00")
    assert "verdict" not in back
    assert db.row()["updated"] == _moment("2026-07-10T10:00:00")
    assert db.differences() == []


def test_rows_can_be_read_while_they_are_filled(db: Scratch) -> None:
    db.run(TABLE_OF_2X)
    db.archival(status_id=0, is_broken=False)
    db.upgrade("archiver_002")

    with db.engine.connect() as reader:
        # A page in the middle of its transaction holds a lock; what it stops ends in a lock timeout.
        reader.execute(sa.text("SELECT * FROM archival")).fetchall()
        db.upgrade("archiver_003")

    assert db.row()["verdict"] == "ok"


def test_one_process_at_a_time(db: Scratch) -> None:
    db.url = db.url.set(query={"options": f"-csearch_path={db.name} -clock_timeout=200ms"})
    with db.engine.connect() as other:
        other.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": 0x6172_636D})
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            db.upgrade()
    db.upgrade()
    assert db.differences() == []


def test_ckan_runs_the_migrations_itself(cli: Any) -> None:
    core.Session.remove()  # a test before this one may have left a transaction open, and with it a lock

    result = cli.invoke(ckan, ["db", "upgrade", "-p", "archiver"])
    assert result.exit_code == 0, result.output
    result = cli.invoke(ckan, ["db", "pending-migrations"])

    assert result.exit_code == 0, result.output
    # The output also names the configuration file, whose path may contain any word.
    assert "Upgrading DB: SUCCESS" in result.output
    assert "unapplied migrations for archiver" not in result.output
