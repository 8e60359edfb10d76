"""``bin/stack``: read :func:`up` first, it is the order of events."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

from . import ckan_site, install, postgres, solr, valkey
from .layout import CKAN_RELEASES, DEFAULT_CKAN, Stack, StackError, say
from .process import running

#: In the order of starting; stopped in the opposite order.
SERVERS: tuple[ModuleType, ...] = (postgres, valkey, solr)

_HELP = """\
up      install what is missing, start what does not run, wait until everything answers
down    stop what this stack started
status  say what runs and where; exit code 1 when something does not answer
env     print shell lines: eval "$(bin/stack env)"
ini     print the path of CKAN's configuration file
ckan …  run the ckan command of this stack: bin/stack ckan archiver update my-dataset

System servers are used instead when the environment names them:
  ARCHIVER_STACK_POSTGRES=postgresql://user:password@host/ckan_default   (the tests use <name>_test beside it)
  ARCHIVER_STACK_REDIS=redis://host:6379/0                               (the tests use the next number)
  ARCHIVER_STACK_SOLR=http://host:8983/solr/ckan                         (shared; CKAN keeps to its site id)
"""


def up(stack: Stack, *, for_tests: bool = True, keep: bool = True) -> None:
    """Make everything of the stack exist, run and answer. Harmless when it does already.

    :param for_tests: the tests' database too
    :param keep: no command that used the servers stops them, only :func:`down` does
    """
    with stack.locked():
        if keep:
            stack.remember(stop_after_use="")
        install_packages(stack)
        for server in SERVERS:
            server.up(stack)
        ckan_site.prepare(stack, for_tests=for_tests)


@contextlib.contextmanager
def servers(stack: Stack, *, for_tests: bool = True, keep: bool = False) -> Iterator[None]:
    """Have the stack up for a block of code.

    The servers that did not run before are stopped when the last such block ends, in this process or in another one.

    :param for_tests: the tests' database too
    :param keep: leave them running
    """
    with stack.used() as is_last:
        ran = _running(stack)
        try:
            try:
                up(stack, for_tests=for_tests, keep=keep)
            finally:
                if not keep:
                    stack.remember(stop_after_use=" ".join(_to_stop(stack) | (_running(stack) - ran)))
            yield
        finally:
            with stack.locked():
                if is_last():
                    _stop_after_use(stack)


def _stop_after_use(stack: Stack) -> None:
    for server in reversed(SERVERS):
        if server.NAME in _to_stop(stack):
            server.down(stack)
    stack.remember(stop_after_use="")


def _running(stack: Stack) -> set[str]:
    return {server.NAME for server in SERVERS if running(stack, server.NAME)}


def _to_stop(stack: Stack) -> set[str]:
    return set(stack.recall().get("stop_after_use", "").split())


def install_packages(stack: Stack) -> None:
    if install.needs_packages(stack):
        _stop_servers(stack)  # their programs are about to be replaced
    install.install(stack)


def down(stack: Stack) -> None:
    with stack.locked():
        _stop_servers(stack)
    if stack.second.dir.exists():
        down(stack.second)


def _stop_servers(stack: Stack) -> None:
    for server in reversed(SERVERS):
        if server.down(stack):
            say("stopped %s", server.NAME)


def status(stack: Stack) -> int:
    if not install.up_to_date(stack):
        _print(f"not installed, or not as the constraints say: {stack.dir}")
        return 1
    answers = True
    for server in SERVERS:
        pid, answered, where = server.status(stack)
        answers = answers and answered
        state = "answers" if answered else ("does not answer" if pid else "does not run")
        _print(f"{server.NAME:<9} {state:<16} {f'pid {pid}' if pid else '-':<11} {where}")
    _print(f"{'ckan':<9} {stack.release:<16} {'-':<11} {ckan_site.site_url(stack)}")
    return 0 if answers else 1


def main(arguments: Sequence[str] | None = None) -> int:
    stack, command, rest = parse(sys.argv[1:] if arguments is None else list(arguments))
    try:
        return _run(stack, command, rest)
    except StackError as error:
        say("%s", error)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(stack: Stack, command: str, rest: list[str]) -> int:
    if command == "up":
        up(stack)
    elif command == "down":
        down(stack)
    elif command == "status":
        return status(stack)
    else:
        if not ckan_site.is_prepared(stack):
            raise StackError(f"there is no stack in {stack.dir}; bin/stack up makes one")
        if command == "ini":
            _print(str(stack.ini))
        elif command == "env":
            for name, value in ckan_site.environment(stack).items():
                _print(f"export {name}={shlex.quote(value)}")
        else:
            program = str(stack.bin / "ckan")
            os.execve(program, [program, *rest], ckan_site.process_environment(stack))
    return 0


def parse(arguments: list[str]) -> tuple[Stack, str, list[str]]:
    """The stack, the command, and what is left for ``ckan``.

    ``--ckan`` and ``--dir`` may stand anywhere; after ``--`` everything belongs to the ckan command.
    """
    mine, theirs = take_stack_options(arguments)
    parser = argparse.ArgumentParser(
        prog="bin/stack",
        usage="bin/stack up | down | status | env | ini | ckan … [--ckan VERSION] [--dir DIR]",
        description="A real CKAN with its servers in one folder, from package registries alone.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["up", "down", "status", "env", "ini", "ckan"])
    add_stack_options(parser)
    if theirs[:1] in (["ckan"], ["--", "ckan"]):
        rest = theirs[theirs.index("ckan") + 1 :]
        if "--" in rest:
            rest.remove("--")
        options = parser.parse_args([*mine, "ckan"])
    else:
        rest = []
        options = parser.parse_args([*mine, *theirs])
    return Stack.at(options.ckan, options.dir), options.command, rest


def add_stack_options(parser: argparse.ArgumentParser) -> None:
    """The two options that every script of this project takes."""
    parser.add_argument("--ckan", choices=list(CKAN_RELEASES), default=DEFAULT_CKAN, help="default: %(default)s")
    parser.add_argument("--dir", help="the stack's folder; default: .stack/<ckan version>")


def add_keep_option(parser: argparse.ArgumentParser) -> None:
    """The option of the scripts that start servers for as long as they run."""
    parser.add_argument("--keep", action="store_true", help="leave the servers running that this command starts")


def take_stack_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into the options of the stack and everything else, in order."""
    mine: list[str] = []
    others: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            others += [word, *words]
        elif word in ("--ckan", "--dir"):
            mine += [word, *(value for value in [next(words, None)] if value is not None)]
        elif word == "--keep" or word.startswith(("--ckan=", "--dir=")):
            mine.append(word)
        else:
            others.append(word)
    return mine, others


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
