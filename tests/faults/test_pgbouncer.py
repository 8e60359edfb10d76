"""Behind PgBouncer in transaction mode: each transaction may have another session of PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
import sqlalchemy as sa

from _stack.layout import free_port
from world import World, check_invariants

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


@pytest.fixture
def bouncer_url(tmp_path: Path) -> Iterator[str]:
    """The URL of the tests' database behind a PgBouncer with five sessions for everybody."""
    if PROGRAM is None:
        pytest.skip("pgbouncer is not installed")
    url = sa.engine.make_url(tk.config["sqlalchemy.url"])
    port = free_port()
    folder = tmp_path / "pgbouncer"
    folder.mkdir()
    (folder / "users.txt").write_text(f'"{url.username}" "{url.password or ""}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n{url.database} = host={url.host} port={url.port} dbname={url.database} pool_size=5\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\npool_mode = transaction\n"
        f"auth_type = trust\nauth_file = {folder}/users.txt\nmax_client_conn = 200\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    command = [PROGRAM, str(folder / "pgbouncer.ini")]
    user = None
    if os.geteuid() == 0:
        # It does not run as root.
        user = "nobody"
        for path in (*folder.parents, folder):
            if path.owner() == pwd.getpwuid(0).pw_name and path.is_relative_to("/tmp/pytest-of-root"):  # noqa: S108 - pytest's own
                path.chmod(0o755)
    process = subprocess.Popen(command, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert process.poll() is None, "pgbouncer does not start"
            assert time.monotonic() < deadline, "pgbouncer does not answer"
            time.sleep(0.05)
    yield url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
    process.terminate()
    process.wait(10)


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
    assert world.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    assert world.scalar("SELECT count(*) FROM archiver_selection") == 0
    check_invariants(world, runs=None)
