"""Where a stack keeps its files, and what it remembers between two commands."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

#: The short name people type → the release that is installed. The first one is the default.
CKAN_RELEASES = {"2.12": "2.12.0", "2.11": "2.11.6"}
DEFAULT_CKAN = next(iter(CKAN_RELEASES))


class StackError(Exception):
    """An error for the user to fix; the message says what is wrong and where the log is."""


def say(message: str, *args: object) -> None:
    """Print progress to standard error; standard output belongs to ``env`` and ``ini``."""
    sys.stderr.write("stack: " + (message % args if args else message) + "\n")
    sys.stderr.flush()


@dataclass(frozen=True)
class Stack:
    """One stack: a CKAN version in a folder."""

    ckan: str
    dir: Path

    @classmethod
    def at(cls, ckan: str, directory: str | os.PathLike[str] | None) -> Stack:
        path = Path(directory) if directory else REPOSITORY / ".stack" / ckan
        return cls(ckan, path.expanduser().absolute())

    @property
    def release(self) -> str:
        return CKAN_RELEASES[self.ckan]

    @property
    def constraints(self) -> Path:
        return Path(__file__).with_name("constraints") / f"ckan-{self.ckan}.txt"

    @property
    def venv(self) -> Path:
        return self.dir / "venv"

    @property
    def bin(self) -> Path:
        return self.venv / "bin"

    @property
    def python(self) -> Path:
        return self.bin / "python"

    @property
    def site(self) -> Path:
        """Holds what CKAN reads and writes: ini files, uploads, cached copies."""
        return self.dir / "site"

    @property
    def ini(self) -> Path:
        return self.site / "ckan.ini"

    @property
    def test_ini(self) -> Path:
        return self.site / "test.ini"

    @property
    def second(self) -> Stack:
        """A stack with servers of its own and the programs of this one: half of the tests may run there."""
        return Stack(self.ckan, self.dir / "second")

    def pid_file(self, server: str) -> Path:
        return self.dir / "run" / f"{server}.pid"

    def log_file(self, server: str) -> Path:
        return self.dir / "log" / f"{server}.log"

    def make(self) -> None:
        for name in ("run", "log", "site"):
            (self.dir / name).mkdir(parents=True, exist_ok=True)
        # git already ignores the default folder; a stack elsewhere in a checkout ignores itself.
        ignore = self.dir / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Serialize the commands that change this stack."""
        self.make()
        with (self.dir / "run" / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("waiting for another command on %s", self.dir)
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def used(self) -> Iterator[Callable[[], bool]]:
        """Mark this stack as used for a block of code.

        :returns: a function that ends the mark and says whether no other process uses the stack
        """
        self.make()
        with (self.dir / "run" / "users").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH)

            def is_last() -> bool:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                return True

            yield is_last

    # -- what is remembered ------------------------------------------------------------------------------------

    @property
    def _memory(self) -> Path:
        return self.dir / "run" / "stack.json"

    def recall(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._memory.read_text()))
        except FileNotFoundError:
            return {}

    def remember(self, **facts: str) -> None:
        """Keep ports and secrets. The file is readable by its owner only."""
        known = {**self.recall(), **facts}
        draft = self._memory.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
            json.dump(known, handle, indent=1, sort_keys=True)
        draft.replace(self._memory)

    def secret(self, name: str) -> str:
        known = self.recall()
        if name not in known:
            self.remember(**{name: secrets.token_hex(20)})
            known = self.recall()
        return known[name]

    def port(self, server: str, *, usable: bool = True) -> int:
        """The loopback port of ``server``: the one it had before, or a new one.

        :param usable: the port must be free now (the server is about to be started)
        """
        known = self.recall().get(f"{server}_port")
        if known and (not usable or is_free(int(known))):
            return int(known)
        port = free_port()
        self.remember(**{f"{server}_port": str(port)})
        return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A free loopback port below the range that the kernel hands to outgoing connections.

    A port of that range may be taken by any program's connection while the stack is down.
    """
    for _ in range(200):
        port = 20_000 + secrets.randbelow(12_000)
        if is_free(port):
            return port
    raise StackError("no free port between 20000 and 32000")
