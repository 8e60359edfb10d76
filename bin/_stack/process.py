"""Start a server, recognise it later and stop it, by its process id alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .layout import Stack, StackError

POLL = 0.05  # seconds between two calls of a readiness check


def wait_until(ready: Callable[[], bool], seconds: float) -> bool:
    """Poll until ``ready()`` is true, for at most ``seconds``; returns whether it became true."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def birth(pid: int) -> str | None:
    """What distinguishes this process from a later one with the same pid; None when it does not run.

    A zombie (a killed server whose parent has not collected it) does not run.
    """
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    fields = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return None if len(fields) < 2 or fields[0].startswith("Z") else fields[1].strip()


def running(stack: Stack, server: str) -> int | None:
    """The pid of this stack's ``server``, or None when it does not run."""
    try:
        pid, born = stack.pid_file(server).read_text().splitlines()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if birth(int(pid)) == born else None


def start(
    stack: Stack,
    server: str,
    command: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | str,
    env: dict[str, str] | None = None,
    before_exec: Callable[[], None] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``server`` in a session of its own, its output in its log, and write its pid file."""
    with stack.log_file(server).open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=before_exec,
        )
    stack.pid_file(server).write_text(f"{process.pid}\n{birth(process.pid) or 'gone'}\n")
    return process


def await_ready(
    stack: Stack,
    server: str,
    process: subprocess.Popen[bytes],
    ready: Callable[[], bool],
    seconds: float = 60,
) -> None:
    """Wait until a server is ready.

    :raises StackError: it ended, or was not ready in time; with the end of its log
    """
    ended = False

    def ended_or_ready() -> bool:
        nonlocal ended
        ended = process.poll() is not None
        return ended or ready()

    if wait_until(ended_or_ready, seconds) and not ended:
        return
    stop(stack, server, signal.SIGTERM)
    what = f"ended with code {process.returncode}" if ended else f"was not ready after {seconds:.0f} s"
    raise StackError(f"{server} {what}; the end of {stack.log_file(server)}:\n{tail(stack.log_file(server))}")


def stop(stack: Stack, server: str, how: signal.Signals, seconds: float = 15) -> bool:
    """Stop this stack's ``server`` if it runs. A pid that belongs to another process by now is not signalled."""
    pid = running(stack, server)
    if pid is not None:
        for sign in (how, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
            if wait_until(lambda: running(stack, server) is None, seconds):
                break
        else:
            raise StackError(f"{server} (pid {pid}) does not stop")
    stack.pid_file(server).unlink(missing_ok=True)
    return pid is not None


def run_to_its_end(
    command: Sequence[str], environment: dict[str, str], cwd: Path, beside: Sequence[subprocess.Popen[bytes]] = ()
) -> int:
    """Run a command in the foreground; a signal that ends this process ends the command instead, and is waited for.

    :param beside: processes that get the same signals
    :returns: its exit code, as a shell gives it
    """
    started = list(beside)

    def forward(number: int, frame: object) -> None:
        # Ctrl-C reaches the command by itself: the terminal interrupts every process of the foreground.
        if number != signal.SIGINT:
            for process in started:
                process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        started.append(subprocess.Popen(command, env=environment, cwd=cwd))
        code = exit_code(started[-1])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code


def exit_code(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; returns its exit code, as a shell gives it."""
    code = process.wait()
    return code if code >= 0 else 128 - code


def tail(path: Path, lines: int = 15) -> str:
    try:
        return "\n".join("  " + line for line in path.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "  (no log)"
