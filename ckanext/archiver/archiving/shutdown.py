"""The stop of this process: transfers end soon, and their requests go back to the table."""

from __future__ import annotations

import threading

requested = threading.Event()


def stop() -> None:
    """Have the transfers of this process end soon; their requests go back to the table."""
    requested.set()


def stopping(seconds: float) -> bool:
    """Wait for the stop, at most so many seconds; True once it was requested."""
    return requested.wait(seconds)
