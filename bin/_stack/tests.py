"""``bin/test``: pytest in a stack's environment."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from . import cli
from .ckan_site import process_environment
from .layout import REPOSITORY, Stack, StackError, say
from .process import run_to_its_end

#: CKAN's pytest plugins load a CKAN, with its database, before any test.
WITHOUT_CKAN = ("-p", "no:ckan", "-p", "no:ckan_fixtures")

#: Tests below these folders need no server.
_WITHOUT_SERVERS = ("tests/unit",)


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
    if _needs_no_server(arguments):
        with stack.locked():
            cli.install_packages(stack)
        return run_to_its_end([*pytest, *WITHOUT_CKAN, *arguments], dict(os.environ), REPOSITORY)
    with cli.servers(stack, keep=keep):
        command = [*pytest, f"--ckan-ini={stack.test_ini}", *arguments]
        return run_to_its_end(command, process_environment(stack, "test"), REPOSITORY)


def _needs_no_server(arguments: list[str]) -> bool:
    """Whether every path among the arguments lies in a folder of tests without servers."""
    paths = [Path(word.split("::")[0]).resolve() for word in arguments if not word.startswith("-")]
    paths = [path for path in paths if path.exists()]
    alone = [(REPOSITORY / folder).resolve() for folder in _WITHOUT_SERVERS]
    return bool(paths) and all(any(path.is_relative_to(folder) for folder in alone) for path in paths)
