"""Runs that cannot be written yet, because another transaction (an edit, a harvest) has their request locked.

The thread of such a run goes on with the next message; a background thread writes the run when the lock is gone
(:mod:`~ckanext.archiver.archiving.parked_writer`). Until then its lease stays in flight and its file in the worker's
temporary directory.
"""

from __future__ import annotations

import threading

from ckanext.archiver.archiving import run as one_run
from ckanext.archiver.archiving.types import Run
from ckanext.archiver.queue import leases

_runs: list[Run] = []
_lock = threading.Lock()


def park(run: Run) -> None:
    """Keep a run to be written later."""
    with _lock:
        _runs.append(run)


def take(most: int) -> list[Run]:
    """Remove the oldest runs, and return them."""
    with _lock:
        taken, _runs[:] = _runs[:most], _runs[most:]
    return taken


def number() -> int:
    """How many runs are parked."""
    return len(_runs)


def drop() -> None:
    """Let go of the parked runs of a worker that ends: their requests go back to the table."""
    for run in take(len(_runs)):
        let_go(run)


def let_go(run: Run) -> None:
    """Give up a run: its request goes back to the table."""
    leases.discard(run.claim.token)
    one_run.remove_temporary(run)
