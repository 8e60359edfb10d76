"""``bin/test``: pytest in a stack's environment."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from . import cli
from .ckan_site import process_environment
from .layout import REPOSITORY, Stack, StackError, say
from .process import exit_code, run_to_its_end

#: CKAN's pytest plugins load a CKAN, with its database, before any test.
WITHOUT_CKAN = ("-p", "no:ckan", "-p", "no:ckan_fixtures")

#: Tests below these folders need no server.
_WITHOUT_SERVERS = (REPOSITORY / "tests" / "unit",)

_FAULTS = "tests/faults"

#: pytest's exit code where no test was selected.
_NO_TESTS = 5


def main(arguments: list[str]) -> int:
    mine, theirs = cli.take_stack_options(arguments)
    parser = argparse.ArgumentParser(prog="bin/test", add_help=False)
    cli.add_stack_options(parser)
    cli.add_keep_option(parser)
    options = parser.parse_args(mine)
    stack = Stack.at(options.ckan, options.dir)
    # While the servers start; so that those which run already are stopped.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        return _run(stack, [word for word in theirs if word != "--"], keep=options.keep)
    except StackError as error:
        say("%s", error)
        return 1


def _run(stack: Stack, arguments: list[str], *, keep: bool) -> int:
    pytest = [str(stack.python), "-m", "pytest"]
    paths = _paths(arguments)
    if paths and all(any(path.is_relative_to(folder) for folder in _WITHOUT_SERVERS) for path in paths):
        with stack.locked():
            cli.install_packages(stack)
        return run_to_its_end([*pytest, *WITHOUT_CKAN, *arguments], dict(os.environ), REPOSITORY)
    faults, others = _halves(arguments)
    with cli.servers(stack, keep=keep):
        if not faults or not others:
            return run_to_its_end(*_pytest(stack, arguments), REPOSITORY)
        stack.second.make()
        if not stack.second.venv.is_symlink():
            stack.second.venv.symlink_to(stack.venv)
        with cli.servers(stack.second, keep=keep):
            return _run_in_two(stack, faults, others)


def _halves(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments for the fault tests, and those for the others; nothing for a half that is not asked for."""
    paths = _paths(arguments)
    if not paths:
        return [_FAULTS, *arguments], [f"--ignore={_FAULTS}", *arguments]
    words = [word for word in arguments if _path(word) not in paths]
    faults = [word for word in arguments if _path(word) in paths and _path(word).is_relative_to(REPOSITORY / _FAULTS)]
    others = [word for word in arguments if _path(word) in paths and word not in faults]
    return [*faults, *words] if faults else [], [*others, *words] if others else []


def _run_in_two(stack: Stack, faults_of: list[str], others_of: list[str]) -> int:
    """Run the fault tests, which mostly wait, while the others run; their output follows that of the others."""
    with stack.second.log_file("pytest").open("w+b") as output:
        command, environment = _pytest(stack.second, faults_of)
        faults = subprocess.Popen(
            command, env=environment, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            others = run_to_its_end(*_pytest(stack, others_of), REPOSITORY, [faults])
            codes = {others, exit_code(faults)}
        finally:
            faults.kill()
            output.seek(0)
            shutil.copyfileobj(output, sys.stdout.buffer)
            sys.stdout.flush()
    # The options may select tests of one half only.
    return max(codes - {_NO_TESTS}, default=_NO_TESTS)


def _pytest(stack: Stack, arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """The command and its environment."""
    command = [str(stack.python), "-m", "pytest", f"--ckan-ini={stack.test_ini}", *arguments]
    return command, process_environment(stack, "test")


def _paths(arguments: list[str]) -> list[Path]:
    """The paths of tests among the arguments."""
    paths = [_path(word) for word in arguments if not word.startswith("-")]
    return [path for path in paths if path.exists()]


def _path(word: str) -> Path:
    return Path(word.split("::")[0]).resolve()
