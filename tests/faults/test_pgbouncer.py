"""Behind PgBouncer in transaction mode: each transaction may have another session of PostgreSQL."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest

import engines
from world import World, check_invariants


@pytest.fixture
def bouncer_url(tmp_path: Path) -> Iterator[str]:
    """The URL of the tests' database behind a PgBouncer with five sessions for everybody."""
    server = engines.PgBouncer(tmp_path, tk.config["sqlalchemy.url"], sessions=5)
    with engines.running(server):
        yield server.url


@pytest.mark.timeout(180)
def test_everything_works_behind_pgbouncer(
    world: World,
    bouncer_url: str,
    start: Callable[..., Any],
    make_ini: Callable[..., Path],
    ckan_command: Callable[..., subprocess.CompletedProcess[str]],
    wait_until: Callable[..., None],
) -> None:
    world.add(60, delay=0.05)
    ini = make_ini({"sqlalchemy.url": bouncer_url})
    workers = [start("bulk", "--concurrency=4", database_url=bouncer_url, ready=False) for _ in range(2)]
    for worker in workers:
        worker.await_messages()

    for _ in range(2):
        done = ckan_command(ini, "archiver", "update")
        assert done.returncode == 0, done.stderr
        assert "60 archivals requested" in done.stdout or "requested already" in done.stdout
        done = ckan_command(ini, "archiver", "init")
        assert done.returncode == 0, done.stderr

    world.settle(60)
    assert world.scalar("SELECT count(*) FROM archiver_dataset WHERE facet IS DISTINCT FROM indexed_facet") == 0
    # A dispatcher has one for the moment of its transaction; one of a session would stay.
    wait_until(lambda: world.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0)
    assert world.scalar("SELECT count(*) FROM archiver_selection") == 0
    check_invariants(world, runs=None)
