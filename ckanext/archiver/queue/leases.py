"""Who this worker is, and what it has in hand.

Whoever takes a request or a notice from its table leaves a token there, and keeps it here while it works. A lease
in the table that its worker does not have in hand belongs to a run that lost the database before it could write:
the worker itself gives it back (``housekeeping.return_forgotten``). The leases of a worker that died are taken
from it by the others.
"""

from __future__ import annotations

import os
import socket
import uuid

_worker_id = ""
_in_flight: set[str] = set()


def worker_id() -> str:
    """This process, in leases and in the name of its temporary directory: host, pid and something random."""
    return _worker_id or renew()


def renew() -> str:
    """Become another worker: a forked child is not its parent, which goes on living when the child is killed."""
    global _worker_id
    _worker_id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    _in_flight.clear()
    return _worker_id


def issue() -> str:
    """A new token, in hand from now on: before it is in the database, so that it is never taken for forgotten."""
    token = uuid.uuid4().hex
    _in_flight.add(token)
    return token


def discard(token: str) -> None:
    """We are done with what was taken by this token, one way or the other."""
    _in_flight.discard(token)


def in_flight(token: str) -> bool:
    """Whether this process still works on it."""
    return token in _in_flight


def busy() -> bool:
    """Whether this process has anything in hand."""
    return bool(_in_flight)
