"""``bin/check``: every check of the code that needs no server."""

from __future__ import annotations

import argparse
import os
import subprocess

from . import audit, cli
from .layout import REPOSITORY, Stack, StackError, say
from .tests import WITHOUT_CKAN

#: The name of a check → its command, a program of the stack.
_CHECKS = {
    "ruff's rules": ["ruff", "check"],
    "the format": ["ruff", "format", "--check"],
    "the types": ["mypy"],
    "the direction of imports": ["lint-imports"],
    "the documentation": ["pytest", *WITHOUT_CKAN, "-q", "tests/contract/test_docs.py"],
    "sizes and words": ["pytest", *WITHOUT_CKAN, "-q", "tests/contract/test_code.py"],
}
_FIXES = {
    "ruff's rules": ["ruff", "check", "--fix"],
    "the format": ["ruff", "format"],
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bin/check", description="Check the code without running it.")
    cli.add_stack_options(parser)
    parser.add_argument("--fix", action="store_true", help="let ruff fix what it can, first")
    parser.add_argument("--audit", action="store_true", help="fail when a dependency has a known vulnerability")
    options = parser.parse_args(arguments)
    stack = Stack.at(options.ckan, options.dir)
    try:
        with stack.locked():
            cli.install_packages(stack)
    except StackError as error:
        say("%s", error)
        return 1
    failed = [name for name, command in _checks(fix=options.fix).items() if not _passes(stack, command)]
    # An advisory of today is no fault of a change that is checked today, so it is told, and fails on demand.
    if audit.told(stack) and options.audit:
        failed.append("the audit")
    say("check: %s", "failed: " + ", ".join(failed) if failed else "passed")
    return 1 if failed else 0


def _checks(*, fix: bool) -> dict[str, list[str]]:
    return {**_CHECKS, **_FIXES} if fix else _CHECKS


def _passes(stack: Stack, command: list[str]) -> bool:
    say("check: %s", " ".join(command))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CKAN_")}
    return (
        subprocess.run([stack.bin / command[0], *command[1:]], cwd=REPOSITORY, env=environment, check=False).returncode
        == 0
    )
