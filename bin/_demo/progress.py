"""Progress on standard error; standard output is for the result."""

from __future__ import annotations

import sys

_WIDTH = 24


def say(line: str) -> None:
    """Print a line of progress."""
    sys.stderr.write(f"demo: {line}\n")
    sys.stderr.flush()


class Progress:
    """How much is done: a bar on a terminal, a line at the beginning and one at the end elsewhere."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, -1
        self.on_terminal = sys.stderr.isatty()

    def show(self, done: int) -> None:
        """Show that so much is done."""
        if done == self.done:
            return
        first, self.done = self.done < 0, done
        if self.on_terminal:
            full = _WIDTH * done // self.total
            sys.stderr.write(f"\rdemo: {self.what} [{'#' * full}{'.' * (_WIDTH - full)}] {done}/{self.total}")
            sys.stderr.flush()
        elif first or done == self.total:
            say(f"{self.what}: {done} of {self.total}")

    def end(self) -> None:
        """Leave the line."""
        if self.on_terminal:
            sys.stderr.write("\n")
