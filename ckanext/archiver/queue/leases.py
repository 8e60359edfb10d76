"""The state of this process as a worker: its name, the leases it holds, and whether it is to stop.

A worker that claims a request or a notice writes a token into its row, and keeps the token in flight here while it
works. A row whose token is not in flight belongs to a run that lost the database before it could write: the worker
releases it itself (``recovery.release_forgotten_leases``). The leases of a worker that died are released by the
others.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid


class WorkerProcess:
    """What one process is and does as a worker. ``worker/run.py`` makes one, and another in each forked child.

    :ivar worker_id: in leases and in the name of the temporary directory: host, pid and something random
    :ivar stopping: set when transfers are to end soon
    :ivar messages_received: about: two threads that count at the same moment may count as one
    :ivar parks: a background thread writes what another transaction has locked, so that no other thread waits for it
    :ivar places: how many archivals may be under way at a time; 0 for a process that is not a worker
    :ivar polls: the broker is away, and requests are taken from the table
    :ivar contended: resources whose message was received while another transaction had their request locked
    """

    def __init__(self) -> None:
        self.worker_id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.stopping = threading.Event()
        self.messages_received = 0
        self.parks = False
        self.places = 0
        self.polls = False
        self.contended: set[str] = set()
        self._in_flight: set[str] = set()

    def issue(self) -> str:
        """A new token, in flight from now on: before it is in the database, so that it never counts as forgotten."""
        token = uuid.uuid4().hex
        self._in_flight.add(token)
        return token

    def discard(self, token: str) -> None:
        """End the work on what was claimed by this token: it was written, deferred or lost."""
        self._in_flight.discard(token)

    def in_flight(self, token: str) -> bool:
        """Whether this process still works on it."""
        return token in self._in_flight

    @property
    def is_busy(self) -> bool:
        """Whether this process has anything in flight."""
        return bool(self._in_flight)


_process = WorkerProcess()


def current() -> WorkerProcess:
    """The state of this process."""
    return _process


def become(process: WorkerProcess) -> None:
    """Be this worker from now on. A forked child is not its parent, which lives on when the child is killed."""
    global _process
    _process = process


def worker_id() -> str:
    """See :class:`WorkerProcess`."""
    return _process.worker_id


def issue() -> str:
    """See :meth:`WorkerProcess.issue`."""
    return _process.issue()


def discard(token: str) -> None:
    """See :meth:`WorkerProcess.discard`."""
    _process.discard(token)


def in_flight(token: str) -> bool:
    """See :meth:`WorkerProcess.in_flight`."""
    return _process.in_flight(token)


def busy() -> bool:
    """See :attr:`WorkerProcess.is_busy`."""
    return _process.is_busy
