"""What bin/stack does without a server: command line, pid files, ports, ini files, pins."""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from _stack import cli, install, process
from _stack.ckan_site import with_settings
from _stack.cli import parse, take_stack_options
from _stack.layout import CKAN_RELEASES, REPOSITORY, Stack, is_free


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    stack = Stack.at("2.12", tmp_path / "stack")
    stack.make()
    return stack


# -- the command line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["--ckan 2.11 --dir d up", "up --ckan 2.11 --dir d", "up --dir=d --ckan=2.11", "--dir d up --ckan 2.11"],
)
def test_the_options_stand_anywhere(line: str) -> None:
    stack, command, rest = parse(line.split())

    assert (stack.ckan, stack.dir, command, rest) == ("2.11", Path("d").absolute(), "up", [])


def test_the_ckan_command_gets_its_own_options() -> None:
    stack, command, rest = parse(["ckan", "archiver", "update", "x", "--queue", "bulk", "--ckan", "2.11", "--help"])

    assert (stack.ckan, command) == ("2.11", "ckan")
    assert rest == ["archiver", "update", "x", "--queue", "bulk", "--help"]


def test_everything_after_two_dashes_belongs_to_the_ckan_command() -> None:
    _, _, rest = parse(["ckan", "--", "some-command", "--dir", "there"])

    assert rest == ["some-command", "--dir", "there"]


def test_options_that_are_not_the_stacks_belong_to_pytest() -> None:
    assert take_stack_options(["-k", "x", "--ckan", "2.11", "tests/ckan", "-q"]) == (
        ["--ckan", "2.11"],
        ["-k", "x", "tests/ckan", "-q"],
    )


def test_the_default_folder_names_the_version() -> None:
    assert parse(["up"])[0].dir == REPOSITORY / ".stack" / "2.12"


# -- processes -------------------------------------------------------------------------------------------------


def sleeper(stack: Stack) -> subprocess.Popen[bytes]:
    return process.start(stack, "sleeper", [sys.executable, "-c", "import time; time.sleep(60)"], cwd=stack.dir)


def test_a_server_is_known_by_its_pid_file_and_stopped(stack: Stack) -> None:
    child = sleeper(stack)
    # As init does: otherwise the ended child stays a zombie.
    threading.Thread(target=child.wait, daemon=True).start()

    assert process.running(stack, "sleeper") == child.pid
    assert process.stop(stack, "sleeper", signal.SIGTERM)
    assert process.running(stack, "sleeper") is None
    assert not stack.pid_file("sleeper").exists()


def test_a_killed_server_does_not_run_even_as_a_zombie(stack: Stack) -> None:
    child = sleeper(stack)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # wait for the end, but leave the zombie

    assert process.running(stack, "sleeper") is None
    child.wait()


def test_another_process_with_the_same_pid_is_left_alone(stack: Stack) -> None:
    child = sleeper(stack)
    pid, _ = stack.pid_file("sleeper").read_text().splitlines()
    stack.pid_file("sleeper").write_text(f"{pid}\nanother birth\n")
    try:
        assert not process.stop(stack, "sleeper", signal.SIGTERM)
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_a_server_that_ends_at_once_is_an_error_that_shows_its_log(stack: Stack) -> None:
    child = process.start(stack, "bad", [sys.executable, "-c", "raise SystemExit('no such disk')"], cwd="/")

    with pytest.raises(Exception, match="(?s)ended with code 1.*no such disk"):
        process.await_ready(stack, "bad", child, lambda: False)


class Sleeper:
    """A server, as :mod:`_stack.cli` uses it."""

    NAME = "sleeper"

    @staticmethod
    def down(stack: Stack) -> bool:
        return process.stop(stack, "sleeper", signal.SIGTERM)


@pytest.fixture
def one_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def up(stack: Stack, **_: bool) -> None:
        if not process.running(stack, "sleeper"):
            threading.Thread(target=sleeper(stack).wait, daemon=True).start()

    monkeypatch.setattr(cli, "SERVERS", (Sleeper,))
    monkeypatch.setattr(cli, "up", up)


@pytest.mark.usefixtures("one_server")
def test_a_server_is_stopped_when_the_last_command_that_uses_it_ends(stack: Stack) -> None:
    with cli.servers(stack):
        with cli.servers(stack):
            pass
        assert process.running(stack, "sleeper")

    assert process.running(stack, "sleeper") is None


@pytest.mark.usefixtures("one_server")
def test_the_last_command_stops_what_another_one_started(stack: Stack) -> None:
    first, second = cli.servers(stack), cli.servers(stack)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert process.running(stack, "sleeper")

    second.__exit__(None, None, None)

    assert process.running(stack, "sleeper") is None


@pytest.mark.usefixtures("one_server")
def test_servers_stay_that_ran_before_or_are_to_be_kept(stack: Stack) -> None:
    with cli.servers(stack, keep=True):
        pass
    assert process.running(stack, "sleeper")

    with cli.servers(stack):
        pass

    assert process.running(stack, "sleeper")
    Sleeper.down(stack)


def test_a_signal_ends_the_command_and_its_exit_code_is_a_shells(tmp_path: Path) -> None:
    code = "import os, signal; os.kill(os.getppid(), signal.SIGTERM); signal.pause()"

    assert process.run_to_its_end([sys.executable, "-c", code], dict(os.environ), tmp_path) == 128 + signal.SIGTERM
    assert process.run_to_its_end([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ), tmp_path) == 3


def test_a_signal_ends_the_processes_beside_the_command_too(tmp_path: Path) -> None:
    beside = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    code = "import os, signal; os.kill(os.getppid(), signal.SIGTERM); signal.pause()"

    process.run_to_its_end([sys.executable, "-c", code], dict(os.environ), tmp_path, [beside])

    assert process.exit_code(beside) == 128 + signal.SIGTERM


def test_a_stack_with_the_programs_of_another_installs_none(stack: Stack) -> None:
    stack.make()
    stack.venv.mkdir()
    stack.second.make()
    stack.second.venv.symlink_to(stack.venv)

    assert install._packages(stack.second) == install._packages(stack)


# -- ports and memory ------------------------------------------------------------------------------------------


def test_a_port_is_kept_while_it_is_free_and_changed_when_it_is_taken(stack: Stack) -> None:
    port = stack.port("valkey")
    assert stack.port("valkey") == port

    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
        assert stack.port("valkey", usable=False) == port
        assert stack.port("valkey") != port


def test_secrets_are_kept_and_only_the_owner_reads_them(stack: Stack) -> None:
    assert stack.secret("password") == stack.secret("password")
    assert (stack.dir / "run" / "stack.json").stat().st_mode & 0o077 == 0


def test_one_command_at_a_time_changes_a_stack(stack: Stack) -> None:
    order = []

    def second() -> None:
        with stack.locked():
            order.append("second")

    thread = threading.Thread(target=second)
    with stack.locked():
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join()

    assert order == ["first", "second"]


# -- files -----------------------------------------------------------------------------------------------------


def test_settings_are_replaced_or_added() -> None:
    ini = "[app:main]\nuse = egg:ckan\na.b = 1\n# a.b = 2\n[loggers]\nkeys = root\n"

    assert with_settings(ini, {"a.b": "50%", "c": "x\\y"}) == (
        "[app:main]\nuse = egg:ckan\nc = x\\y\na.b = 50%%\n# a.b = 2\n[loggers]\nkeys = root\n"
    )


def test_the_wheel_that_stands_for_psycopg2_is_one(tmp_path: Path) -> None:
    install._write_psycopg2_wheel(tmp_path, "2.9.12")

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        metadata = files.read("psycopg2-2.9.12.dist-info/METADATA").decode()
    assert "Requires-Dist: psycopg2-binary==2.9.12" in metadata


@pytest.mark.parametrize("version", CKAN_RELEASES)
def test_every_requirement_is_pinned(version: str) -> None:
    def names(path: Path) -> set[str]:
        words = (re.match(r"[\w.-]+", line) for line in path.read_text().splitlines())
        return {word[0].lower().replace("_", "-") for word in words if word}

    stack = Stack.at(version, None)
    wanted = names(REPOSITORY / "requirements.txt") | names(REPOSITORY / "dev-requirements.txt")

    assert wanted - names(stack.constraints) == set()
    assert f"ckan=={stack.release}" in stack.constraints.read_text().splitlines()
    # The shim wheel takes the place of the one, so both have to be the same release.
    assert install._pinned(stack.constraints, "psycopg2") == install._pinned(stack.constraints, "psycopg2-binary")


@pytest.mark.parametrize("version", CKAN_RELEASES)
def test_the_extra_of_a_ckan_fits_what_is_pinned_for_it(version: str) -> None:
    extra = importlib.metadata.requires("ckanext-archiver") or []
    wanted = [Requirement(line) for line in extra]
    name = f"ckan-{version}".replace(".", "-")
    pairs = {one.name: one for one in wanted if one.marker and one.marker.evaluate({"extra": name})}

    assert set(pairs) >= {"celery", "kombu"}
    for package in ("celery", "kombu"):
        assert install._pinned(Stack.at(version, None).constraints, package) in pairs[package].specifier
