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
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def what_to_open(pages: dict[str, str], user: str, password: str) -> str:
    """The addresses to look at, and how to log in."""
    names = {
        "dataset": "Dataset page",
        "resource": "Resource page",
        "report": "Report",
        "package_show": "package_show",
        "login": "Log in",
    }
    lines = [f"  {names[name]:<14} {url}" for name, url in pages.items()]
    lines.append(f"  {'':<14} user {user}, password {password}")
    return "\nOpen:\n" + "\n".join(lines) + "\n"


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
