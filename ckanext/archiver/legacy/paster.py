"""The command ``paster``, for lines in cron and supervisor, and for habits, from before CKAN had ``ckan``.

It translates such a line, prints the modern line once on standard error, and runs it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import shutil
import sys
from collections.abc import Sequence

#: The commands of each plugin. ``report`` is ckanext-report's own where that works, else ``archiver report``.
KNOWN = {
    "ckanext-archiver": ("archiver", "celeryd2"),
    "ckanext-report": ("report",),
}

#: Subcommands of ``archiver`` that were renamed.
RENAMED = {"delete-files-larger-than-max": "delete-files-larger-than-max-content-length"}

USAGE = "paster --plugin=PLUGIN COMMAND [ARGUMENTS] [-c FILE.ini]"


class Refused(Exception):
    """A line that cannot be translated; the text says why, in one sentence."""


class Done(Exception):
    """A line with nothing left to do; the text says why, in one sentence."""


def translate(words: Sequence[str], *, report_works: bool) -> list[str]:
    """The modern line of an old one.

    :param words: the words after ``paster``
    :param report_works: whether ckanext-report can be used here
    :returns: the words of a ``ckan`` command, ``ckan`` included
    :raises Refused: an unknown plugin or command
    :raises Done: there is nothing to do
    """
    plugin, ini, rest = _parse(words)
    if plugin and plugin not in KNOWN:
        raise Refused(f"paster knows the plugins {' and '.join(KNOWN)}, not {plugin}.")
    commands = KNOWN[plugin] if plugin else tuple(name for names in KNOWN.values() for name in names)
    if not rest or rest[0] not in commands:
        what = repr(rest[0]) if rest else "nothing"
        raise Refused(f"{plugin or 'paster'} has the commands {', '.join(commands)}; {what} is none of them.")
    command, *arguments = rest
    if command == "report" and not report_works:
        command, arguments = "archiver", _our_report(arguments)
    elif command == "archiver":
        arguments = [RENAMED.get(word, word) for word in arguments[:1]] + arguments[1:]
    return ["ckan", *(["-c", ini] if ini else []), command, *arguments]


def main() -> None:
    """Run the line of this process. The exit code is 2 for a line that is refused."""
    words = sys.argv[1:]
    if not words or words in (["-h"], ["--help"]):
        _say(f"Usage: {USAGE}\nPlugins and their commands: " + _list_of_commands())
        raise SystemExit(0 if words else 2)
    try:
        line = translate(words, report_works="report" not in words or _report_works())
    except Refused as refusal:
        _say(str(refusal))
        raise SystemExit(2) from None
    except Done as reason:
        _say(str(reason))
        raise SystemExit(0) from None
    program = ckan_program()
    _say("paster is now: " + shlex.join(line))
    os.execv(program, line)  # noqa: S606 - this process is replaced, so that signals and the exit code are the command's own


def _parse(words: Sequence[str]) -> tuple[str | None, str | None, list[str]]:
    """(plugin, ini file, all other words in their order)."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--plugin")
    parser.add_argument("-c", "--config")
    try:
        options, rest = parser.parse_known_args(list(words))
    except argparse.ArgumentError as e:
        raise Refused(f"{e.argument_name} needs a value.") from e
    # distutils treated the two spellings of a project's name as one.
    plugin = options.plugin.replace("_", "-").lower() if options.plugin else None
    return plugin, options.config, rest


def _our_report(arguments: list[str]) -> list[str]:
    """The arguments of ``archiver`` that replace a line of ckanext-report."""
    match arguments:
        case ["initdb", *_]:
            raise Done("The report no longer needs tables of its own: nothing to do.")
        case ["generate"] | ["generate", "broken-links", *_]:
            return ["report"]
        case _:
            raise Refused(
                "ckanext-report is not installed, or does not work with this CKAN; without it paster knows "
                "`report generate [broken-links]` and `report initdb`."
            )


def _report_works() -> bool:
    try:
        importlib.import_module("ckanext.report.model")
    except Exception:  # noqa: BLE001 - on a CKAN that is too new for it, its import fails with various errors
        return False
    return True


def ckan_program() -> str:
    """The ``ckan`` of this script's environment."""
    beside = os.path.join(os.path.dirname(sys.executable), "ckan")
    program = beside if os.access(beside, os.X_OK) else shutil.which("ckan")
    if program is None:
        _say(f"There is no program ckan beside {sys.executable} or on the PATH.")
        raise SystemExit(2)
    return program


def _list_of_commands() -> str:
    return "; ".join(f"{plugin}: {', '.join(commands)}" for plugin, commands in KNOWN.items())


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
