"""Messages to systemd (sd_notify(3)): the worker is ready, is alive, is stopping. Without systemd nothing is sent."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

BEATS = 3
"""Messages per time-out of the watchdog: one may be late on a busy machine."""


def ready() -> None:
    """Report that the worker takes messages; from now on feed the watchdog, if the unit sets ``WatchdogSec``.

    The watchdog is fed until the process ends: also while it stops, since transfers may need time to finish.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    _notify(address, "READY=1")
    if address and (seconds := _watchdog_seconds()):
        threading.Thread(target=_beat, args=(address, seconds / BEATS), name="watchdog", daemon=True).start()


def stopping() -> None:
    """Report that the worker stops."""
    _notify(os.environ.get("NOTIFY_SOCKET", ""), "STOPPING=1")


def _beat(address: str, interval: float) -> None:
    while True:
        _notify(address, "WATCHDOG=1")
        time.sleep(interval)


def _watchdog_seconds() -> float:
    """0 where systemd does not watch this process."""
    watched = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1_000_000 if watched and microseconds.isdigit() else 0


def _notify(address: str, message: str) -> None:
    if not address:
        return
    if address.startswith("@"):  # Linux' abstract sockets begin with a NUL
        address = "\0" + address[1:]
    # systemd that does not listen is no reason to stop archiving.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(message.encode(), address)
