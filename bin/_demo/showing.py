"""The result: the table, what to open, or all of it as JSON."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any, TextIO

from .watching import Result

_COLOURS = {"ok": "32", "failing": "33", "broken": "31", "not-sure": "36"}


def table(results: Sequence[Result], out: TextIO) -> str:
    """The table of all links, as wide as the terminal; a dataset is named once."""
    coloured = out.isatty() and not os.environ.get("NO_COLOR")
    total = max(shutil.get_terminal_size((150, 24)).columns, 100)
    widths = [
        max(len(text) for text in [head, *texts])
        for head, texts in (
            ("Dataset", [result.dataset for result in results]),
            ("Resource", [result.link.name for result in results]),
            ("Verdict", [result.verdict for result in results]),
        )
    ]
    copies = [_copy(result) for result in results]
    last = max(len(text) for text in copies)
    room = max(total - sum(widths) - last - 8, 24)
    lines = [_line(["Dataset", "Resource", "Verdict", "Reason", "Copy"], [*widths, room])]
    lines.append("-" * min(total, sum(widths) + room + last + 8))
    before = ""
    for result, copy in zip(results, copies, strict=True):
        reasons = textwrap.wrap(result.reason, room) or [""]
        dataset = "" if result.dataset == before else result.dataset
        before = result.dataset
        verdict = result.verdict.ljust(widths[2])
        if coloured:
            verdict = f"\033[{_COLOURS.get(result.verdict, '0')}m{verdict}\033[0m"
        lines.append(_line([dataset, result.link.name, verdict, reasons[0], copy], [*widths, room]))
        lines += [_line(["", "", " " * widths[2], more, ""], [*widths, room]) for more in reasons[1:]]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
    return "  ".join([*padded, *cells[len(widths) :]]).rstrip()


def _copy(result: Result) -> str:
    if not result.cached:
        return "-"
    size = float(result.size or 0)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def what_to_open(pages: dict[str, str], users: dict[str, str]) -> str:
    """The addresses to open, and how to log in.

    :param users: passwords by name
    """
    names = {
        "dataset": "Dataset page",
        "resource": "Resource page",
        "report": "Report",
        "package_show": "package_show",
        "login": "Log in",
    }
    lines = [f"  {names[name]:<14} {url}" for name, url in pages.items()]
    lines += [f"  {'':<14} user {user}, password {password}" for user, password in users.items()]
    return "\nOpen (the history of the links before today is sample data):\n" + "\n".join(lines) + "\n"


def what_to_try(broken: Result) -> str:
    """Commands for a second terminal, as they are typed there."""
    commands = {
        "bin/demo ckan archiver status": "queues, workers, hosts, disk",
        "bin/demo ckan archiver doctor": "what is wrong with the installation, if anything",
        f"bin/demo ckan archiver view {broken.dataset}": "what is known of a dataset",
        f"bin/demo ckan archiver check {broken.url}": "check one link, without the database",
        "bin/demo ckan archiver update --broken --wait": "archive all broken links again",
        "bin/demo ckan archiver report": "the report as CSV",
        "bin/demo ckan archiver --help": "all commands",
    }
    width = max(map(len, commands))
    lines = [f"  {command:<{width}}  {what}" for command, what in commands.items()]
    return "\nTry, in another terminal in this folder:\n" + "\n".join(lines) + "\n"


def as_json(results: Sequence[Result], pages: dict[str, str], seconds: float) -> dict[str, Any]:
    """The one object that ``--json`` prints."""
    resources = [
        {
            "dataset": result.dataset,
            "resource": result.link.name,
            "url": result.url,
            "verdict": result.verdict,
            "cause": result.cause,
            "reason": result.reason,
            "cached": result.cached,
        }
        for result in results
    ]
    return {"resources": resources, "pages": pages, "seconds": round(seconds, 1)}
