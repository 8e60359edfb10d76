"""The parent of the two workers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ckanext.archiver.worker import both

STARTING = [sys.executable, "-c", "import os, time; os.write(1, b'up\\n'); time.sleep(60)"]
FAILING = [sys.executable, "-c", "raise SystemExit(3)"]


@pytest.mark.parametrize(("commands", "code"), [([STARTING, STARTING], 0), ([STARTING, FAILING], 3)])
def test_a_child_that_is_stopped_before_it_is_ready_is_no_failure(commands: list[list[str]], code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, str(Path(both.__file__)), json.dumps(commands)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(commands.count(STARTING)):
        assert process.stdout.readline() == "up\n"
    if code == 0:
        process.send_signal(signal.SIGTERM)
    assert process.wait(20) == code
    process.stdout.close()
