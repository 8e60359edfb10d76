"""``ckan archiver status --watch`` on a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import click
import pytest
import sqlalchemy as sa

from ckanext.archiver.cli import watch
from ckanext.archiver.monitoring import watching
from ckanext.archiver.queue.sql import transaction
from rows import put, run

pytestmark = pytest.mark.usefixtures("clean_site")


def lines(found: watching.Watched | None, trouble: str = "", hosts: int = 5) -> list[str]:
    return ["".join(text for text, _ in line) for line in watch.page(found, trouble, hosts)]


def test_the_page_has_the_round_the_hosts_and_the_failures() -> None:
    put("busy.example", 3)
    with transaction():
        run(
            "INSERT INTO archiver_state (key, value) VALUES "
            "('round', jsonb_build_object('started_at', now() - interval '1 minute'))"
        )
        run(
            "INSERT INTO archival_check (resource_id, checked_at, verdict, cause) VALUES "
            "('r', timezone('utc', now()), 'broken', 'gone')"
        )

    shown = "\n".join(lines(watching.watch(5)))

    assert "NO WORKER reads queue bulk" in shown
    assert " 25%  1 of 4" in shown
    assert "busy.example" in shown
    assert "gone" in shown


def test_the_last_state_stays_while_the_database_is_away() -> None:
    last = watching.watch(5)

    def away(hosts: int) -> watching.Watched:
        raise sa.exc.OperationalError("SELECT 1", {}, Exception("server closed the connection"))

    found, trouble = watch._look(away, 5, last)

    assert found is last
    assert "Trying again." in lines(found, trouble)[1]


def test_nothing_in_a_host_controls_the_terminal() -> None:
    assert watch._cut([("a\x1b[2Jb\r\n", {})], 80) == "a?[2Jb??"
    assert len(click.unstyle(watch._cut([("x" * 100, {"bold": True}), ("y", {})], 20))) == 20


def test_a_time_of_another_day_has_its_date() -> None:
    assert watch.clock_time(datetime(2020, 1, 2, 3, 4, tzinfo=timezone.utc)) == "2020-01-02 03:04"


@pytest.mark.slow
def test_the_page_is_drawn_on_a_terminal_and_ctrl_c_ends_it(make_ini: Callable[..., Path]) -> None:
    put("busy.example", 3)
    main, other = pty.openpty()
    command = [str(Path(sys.executable).with_name("ckan")), "-c", str(make_ini()), "archiver", "status", "--watch"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CKAN_")}
    process = subprocess.Popen(command, env={**environment, "TERM": "xterm"}, stdin=other, stdout=other, stderr=other)
    os.close(other)
    shown = b""
    deadline = time.monotonic() + 120  # beside other tests a CKAN may take half a minute to start
    while b"busy.example" not in shown and time.monotonic() < deadline:
        shown += os.read(main, 65_536)
    assert b"busy.example" in shown
    process.send_signal(signal.SIGINT)
    try:
        while piece := os.read(main, 65_536):
            shown += piece
    except OSError:
        pass  # the terminal of an ended process (EIO, Linux)

    assert process.wait(10) == 0
    assert watch.BEGIN.encode() in shown
    assert shown.rstrip().endswith(watch.END.encode())
    assert b"Traceback" not in shown


def test_a_reader_that_has_ended_ends_it_too() -> None:
    def show() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        watch.repeat(show)
