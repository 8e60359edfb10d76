"""``bin/docs``: read :func:`_run` first.

Sphinx has an environment of its own, since it needs other releases of packages that CKAN pins. What it documents
(commands, actions, metrics) it imports from the stack's environment, behind its own. No server runs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from _stack import cli as stack_cli
from _stack.layout import REPOSITORY, Stack, StackError, say
from _stack.process import tail

_REQUIREMENTS = REPOSITORY / "docs" / "requirements.txt"
_SITE = REPOSITORY / "build" / "docs"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bin/docs", description="Build the documentation as a site.")
    stack_cli.add_stack_options(parser)
    parser.add_argument(
        "--write", action="store_true", help="write the options and the verdicts into their pages first"
    )
    options = parser.parse_args(arguments)
    try:
        return _run(Stack.at(options.ckan, options.dir), write=options.write)
    except StackError as error:
        say("%s", error)
        return 1


def _run(stack: Stack, *, write: bool) -> int:
    with stack.locked():
        stack_cli.install_packages(stack)
        _install(stack)
    if write:
        for module in ("_docs.options", "_docs.verdicts"):
            subprocess.run([stack.python, "-m", module], cwd=REPOSITORY / "bin", check=True)
    code = _build(stack)
    say("docs: %s", f"built {_SITE / 'index.html'}" if code == 0 else "failed")
    return code


def _build(stack: Stack) -> int:
    """:returns: the exit code of Sphinx; 1 when there was a warning"""
    # With CKAN's variables set, every import of its modules would load the whole of CKAN.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CKAN_")}
    options = ["-W", "--keep-going", "-q", "-E", "-b", "html", "-d", str(_SITE / ".doctrees")]
    command = [str(_venv(stack) / "bin" / "sphinx-build"), *options, str(REPOSITORY / "docs"), str(_SITE)]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode


def _install(stack: Stack) -> None:
    """Make Sphinx's environment what docs/requirements.txt says; does nothing when it is that already.

    :raises StackError: pip fails
    """
    venv = _venv(stack)
    stamp = venv / ".requirements"
    wanted = hashlib.sha256(f"{sys.version_info[:2]} {venv}".encode() + _REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say("installing Sphinx in %s", venv)
    shutil.rmtree(venv, ignore_errors=True)
    log = stack.log_file("install")
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with log.open("ab") as output:
        for command in ([sys.executable, "-m", "venv", str(venv)], [*pip, "--requirement", str(_REQUIREMENTS)]):
            if subprocess.run(command, stdout=output, stderr=output, check=False).returncode:
                raise StackError(f"Sphinx could not be installed; the end of {log}:\n{tail(log)}")
    _site_packages(venv).joinpath("stack.pth").write_text(f"{_site_packages(stack.venv)}\n")
    stamp.write_text(wanted)


def _venv(stack: Stack) -> Path:
    return stack.dir / "docs"


def _site_packages(venv: Path) -> Path:
    return venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
