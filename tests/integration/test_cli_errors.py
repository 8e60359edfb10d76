"""What a command says when something fails that is not its own: one sentence, exit code 1, no traceback."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from alembic.util.exc import CommandError
from ckan import model
from ckan.cli import db
from ckan.cli.cli import ckan
from ckan.tests import factories

from ckanext.archiver import maintenance, monitoring
from ckanext.archiver import model as model_
from ckanext.archiver.cli import errors
from ckanext.archiver.errors import BrokerError
from ckanext.archiver.queue import enqueue, rounds
from ckanext.archiver.worker import run

pytestmark = pytest.mark.usefixtures("clean_site")


def _runs(sql: str) -> Any:
    return lambda *args, **kwargs: model.Session.execute(sa.text(sql))


def _raises(error: Exception) -> Any:
    def function(*args: Any, **kwargs: Any) -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        (_runs("SELECT 1 FROM archiver_of_tomorrow"), "lacks a table of the archiver"),
        (_runs("SELECT colour FROM archival"), "lacks a column of the archiver"),
        (_runs("SELECT pg_terminate_backend(pg_backend_pid())"), "The database does not answer: "),
        (
            _runs("SET LOCAL ROLE pg_monitor; DELETE FROM archival"),
            "The database refuses the statement: permission",
        ),
        (
            _runs("SET TRANSACTION READ ONLY; DELETE FROM archival"),
            "The database refuses the statement: cannot execute",
        ),
        (_raises(PermissionError(13, "Permission denied", "/archive/x")), "Permission denied: /archive/x"),
        (
            _raises(UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed")),
            "'a\\udcff' is not text in UTF-8",
        ),
        (_raises(BrokerError("The broker does not answer: no")), "The broker does not answer: no"),
    ],
)
def test_a_foreseen_error_is_one_sentence(cli: Any, monkeypatch: Any, fails: Any, expected: str) -> None:
    monkeypatch.setattr(monitoring, "collect", fails)
    result = cli.invoke(ckan, ["archiver", "status"])
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert expected in line
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)


def test_a_defect_keeps_its_traceback(cli: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(monitoring, "collect", _raises(ZeroDivisionError()))
    assert isinstance(cli.invoke(ckan, ["archiver", "status"]).exception, ZeroDivisionError)
    monkeypatch.setattr(monitoring, "collect", _runs("SELECT 1 / 0"))
    assert isinstance(cli.invoke(ckan, ["archiver", "status"]).exception, sa.exc.DataError)


def test_an_update_that_loses_the_database_says_so_and_keeps_what_it_put(cli: Any, monkeypatch: Any) -> None:
    for number in range(3):
        factories.Resource(url=f"http://h{number}.example/")
    model.Session.execute(sa.text("DELETE FROM archiver_request"))
    model.Session.commit()
    monkeypatch.setattr(rounds, "BATCH", 2)
    put, batches = enqueue.put_selected, []

    def loses_the_database(connection: Any, *args: Any) -> int:
        batches.append(args)
        if len(batches) == 2:
            connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return put(connection, *args)

    monkeypatch.setattr(enqueue, "put_selected", loses_the_database)
    result = cli.invoke(ckan, ["archiver", "update"])
    assert "Error: The database does not answer: " in result.output
    assert "What was done so far is kept: run the command again." in result.output
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert model.Session.execute(sa.text("SELECT count(*) FROM archiver_request")).scalar() == 2


@pytest.mark.parametrize(
    "words", [["size-report"], ["clean-status", "--yes"], ["migrate-task-status"], ["report"], ["view"]]
)
def test_every_command_is_one_of_them(cli: Any, monkeypatch: Any, words: list[str]) -> None:
    lost = sa.exc.OperationalError("", {}, Exception("server closed the connection unexpectedly\n\tThis probably"))
    monkeypatch.setattr(model.Session, "execute", _raises(lost))
    monkeypatch.setattr(model.Session, "connection", _raises(lost))
    result = cli.invoke(ckan, ["archiver", *words])
    assert "Error: The database does not answer: server closed the connection unexpectedly. " in result.output
    assert result.exit_code == 1


@pytest.mark.parametrize("words", [["archiver", "worker"], ["celeryd2", "run", "bulk"]])
def test_no_worker_starts_on_tables_of_an_older_release(cli: Any, monkeypatch: Any, words: list[str]) -> None:
    monkeypatch.setattr(run, "run", _raises(AssertionError("it started")))
    ours = model_.TABLES[0]
    monkeypatch.setattr(
        model_,
        "TABLES",
        [sa.Table(ours.name, sa.MetaData(), *(sa.Column(c.name) for c in ours.columns), sa.Column("x"))],
    )
    result = cli.invoke(ckan, words)
    assert "Error: The database lacks a column of the archiver." in result.output
    assert result.exit_code == 1


@pytest.mark.parametrize("name", ["init", "migrate"])
def test_tables_of_a_newer_release_are_left_alone(cli: Any, monkeypatch: Any, name: str) -> None:
    newer = CommandError("Can't locate revision identified by 'archiver_099'")
    monkeypatch.setattr(db, "_run_migrations", _raises(newer))
    result = cli.invoke(ckan, ["archiver", name])
    assert "Error: Can't locate revision identified by 'archiver_099'" in result.output
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)


def test_a_file_error_without_a_file_is_a_defect() -> None:
    assert errors.sentence(OSError("what?")) is None
    assert errors.sentence(maintenance.OutsideArchiveError("/x does not lie in /y")) == "/x does not lie in /y"
