"""What a check says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """How bad it is."""

    OK = "ok"
    """Nothing to do."""
    WARNING = "warning"
    """It works, and something is missing or may break."""
    PROBLEM = "problem"
    """Links are not archived, or copies not served, until it is mended."""

    __str__ = str.__str__


@dataclass(frozen=True)
class Finding:
    """One sentence, and what mends it.

    :ivar remedy: a command, a line for the configuration file, or what to do in words
    :ivar fix: does the remedy, where that is safe
    """

    level: Level
    message: str
    remedy: str = ""
    fix: Callable[[], object] | None = None


def ok(message: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, message)


def warning(message: str, remedy: str, fix: Callable[[], object] | None = None) -> Finding:
    """It works, and something is missing or may break."""
    return Finding(Level.WARNING, message, remedy, fix)


def problem(message: str, remedy: str, fix: Callable[[], object] | None = None) -> Finding:
    """Links are not archived, or copies not served, until it is mended."""
    return Finding(Level.PROBLEM, message, remedy, fix)
