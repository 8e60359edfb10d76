"""Loaded by every Python process that a test starts with this folder on its path: installs the guard there too."""

import atexit
import sys

import loopback_only


def _report() -> None:
    for attempt in loopback_only.refused:
        sys.stderr.write(f"LEFT THE MACHINE: {attempt}\n")


loopback_only.install()
atexit.register(_report)
