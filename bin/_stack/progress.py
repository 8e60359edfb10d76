"""How far an installation is, on standard error: one line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

SECONDS_BETWEEN_LINES = 15
"""Where standard error is not a terminal."""


class PipProgress:
    """Counts the packages that pip has collected, by its log, and installed, by what is in the environment.

    :param total: how many packages there will be, about
    """

    def __init__(self, log: Path, venv: Path, total: int) -> None:
        self.log, self.venv, self.total = log, venv, max(total, 1)
        self.start = log.stat().st_size if log.exists() else 0
        self.began = time.monotonic()
        self.shown = self.began
        self.on_terminal = sys.stderr.isatty()

    def show(self) -> None:
        """Show the state now."""
        if not self.on_terminal and time.monotonic() - self.shown < SECONDS_BETWEEN_LINES:
            return
        self.shown = time.monotonic()
        end = "\033[K\r" if self.on_terminal else "\n"
        sys.stderr.write(f"stack: {self.text(self.shown - self.began)}{end}")
        sys.stderr.flush()

    def text(self, seconds: float) -> str:
        """The state in words.

        :param seconds: since the beginning
        """
        collected, installed = min(self.collected(), self.total), min(self.installed(), self.total)
        done = (collected + installed) / (2 * self.total)
        # The first packages say little about the pace of the rest.
        left = f", about {_duration(seconds / done - seconds)} left" if done > 0.1 else ""
        if installed <= 2:  # pip and setuptools
            return f"collected {collected} of {self.total} packages{left}"
        return f"installed {installed} of {self.total} packages{left}"

    def end(self) -> None:
        """Leave the line."""
        if self.on_terminal:
            sys.stderr.write("\033[K")
            sys.stderr.flush()

    def collected(self) -> int:
        with self.log.open("rb") as file:
            file.seek(self.start)
            text = file.read().decode(errors="replace")
        return len(set(re.findall(r"^Collecting ([\w.-]+)", text, re.MULTILINE)))

    def installed(self) -> int:
        return len(list(self.venv.glob("lib/python*/site-packages/*.dist-info")))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
