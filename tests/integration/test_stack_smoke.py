"""The servers of the stack answer, CKAN works on them, and the fixtures do what they promise."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ckan.plugins as p
import ckan.plugins.toolkit as tk
import pytest
import sqlalchemy as sa
from ckan import model
from ckan.common import config
from ckan.lib.redis import connect_to_redis
from ckan.tests import factories

from origin_server import Origin


@pytest.mark.usefixtures("clean_site")
def test_a_dataset_is_stored_and_found() -> None:
    dataset = factories.Dataset(title="Rainfall by month")

    found = tk.get_action("package_search")({}, {"q": "rainfall"})

    assert [one["id"] for one in found["results"]] == [dataset["id"]]


@pytest.mark.usefixtures("clean_site")
def test_a_clean_site_is_empty() -> None:
    assert p.plugin_loaded("archiver")
    for table in ("package", "archival", "archiver_request", "archiver_notice", "archiver_worker"):
        count = model.Session.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar()
        assert count == 0, table
    assert tk.get_action("package_search")({}, {})["count"] == 0
    assert connect_to_redis().dbsize() == 0


def test_the_tests_do_not_run_on_the_site_of_the_stack() -> None:
    assert config["sqlalchemy.url"].endswith("_test")
    assert config["ckan.site_id"] == "archiver-test"


@pytest.fixture
def empty_database(clean_site: None) -> Iterator[str]:
    """The URL of a database without tables, whose name the tests accept."""
    url = sa.engine.make_url(config["sqlalchemy.url"])
    name = f"{url.database}_empty_test"
    server = model.meta.engine.execution_options(isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    yield url.set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))


def test_the_tests_create_the_tables_of_an_empty_database(
    empty_database: str, make_ini: Callable[..., Path], request: pytest.FixtureRequest
) -> None:
    ini = make_ini({"sqlalchemy.url": empty_database})
    one = f"{__file__}::{test_a_clean_site_is_empty.__name__}"

    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"--ckan-ini={ini}", "-q", one],
        cwd=request.config.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_origin_answers_as_it_is_told(origin: Origin) -> None:
    url = origin.serve("/a.csv", b"a,b\n", headers={"ETag": '"1"'})

    with urllib.request.urlopen(url) as answer:
        assert (answer.status, answer.read(), answer.headers["ETag"]) == (200, b"a,b\n", '"1"')
    assert origin.asked("/a.csv", "GET") == 1


@pytest.mark.usefixtures("clean_site")
def test_a_worker_starts_and_stops(worker: Callable[..., Any]) -> None:
    with worker("priority") as process:
        assert process.runs
    assert not process.runs


@pytest.mark.usefixtures("clean_site")
def test_a_web_server_starts(web: Callable[..., str]) -> None:
    dataset = factories.Dataset()

    with urllib.request.urlopen(f"{web()}/dataset/{dataset['name']}") as answer:
        assert answer.status == 200
