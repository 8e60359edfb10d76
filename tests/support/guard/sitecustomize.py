"""Read by every Python that a test starts with this folder on its path: the guard holds there too."""

import atexit
import sys

import loopback_only


def _tell() -> None:
    for attempt in loopback_only.refused:
        sys.stderr.write(f"LEFT THE MACHINE: {attempt}\n")


loopback_only.install()
atexit.register(_tell)
