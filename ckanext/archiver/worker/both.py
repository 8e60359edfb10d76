"""The parent of the two workers of ``ckan archiver worker``: run as a file, without CKAN, which is large."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def run(commands: Sequence[Sequence[str]]) -> int:
    """Run commands beside each other until all have ended. Each gets the signals of this process, once.

    :returns: exit code
    """
    children = [subprocess.Popen(command, preexec_fn=_end_with_parent) for command in commands]
    sent = set()

    def forward(number: int, frame: Any) -> None:
        # From a terminal the children have received the INT themselves; a second one would not let them finish.
        number = signal.SIGTERM if number == signal.SIGINT else number
        for child in children:
            # Nor would a second TERM at the very end.
            if child.poll() is None and (child.pid, number) not in sent:
                sent.add((child.pid, number))
                child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, forward)
    # When one ends by itself, the other is stopped too: a supervisor then starts both again.
    pid, status = os.wait()
    for child in children:
        if child.pid == pid:
            child.returncode = os.waitstatus_to_exitcode(status)
    forward(signal.SIGTERM, None)
    return max((_code(child.wait()) for child in children), default=0)


def _code(returned: int) -> int:
    """The exit code for what a child returned. One that is stopped while it still starts is ended by the signal."""
    return 0 if returned == -signal.SIGTERM else abs(returned)


def _end_with_parent() -> None:
    """Have the kernel (Linux) send TERM when the parent process is killed: else the workers of its successor would run
    beside this one."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    sys.exit(run(json.loads(sys.argv[1])))
