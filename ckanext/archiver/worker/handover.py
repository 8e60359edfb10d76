"""Transfers of edits that take long: they go on in threads of their own, so that the next edit finds a thread free."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ckan import model

log = logging.getLogger(__name__)

HAND_OVER_SECONDS = 0.1
"""Seconds that a message keeps its thread of the pool. Most edits are done by then or soon after; 200 slow transfers
that arrive at once are all under way after 200 / 16 of these."""


class Handover:
    """Runs the work of messages, each in a thread of its own that the pool's thread leaves when it takes long.

    :param limit: how many go on beside the pool's threads
    """

    def __init__(self, limit: int) -> None:
        self._free = threading.Semaphore(limit)
        self._running: set[threading.Thread] = set()

    def run(self, work: Callable[[], None], briefly: Callable[[], None]) -> None:
        """Do the work, and return when it is done or goes on by itself.

        :param briefly: the same work, ended where it takes long: done instead while as many go on as may
        :raises Exception: what the work raises within ``HAND_OVER_SECONDS``; what it raises later is logged
        """
        if not self._free.acquire(blocking=False):
            briefly()
            return
        task = _Task(work, self._free, self._running)
        task.start()
        task.join(HAND_OVER_SECONDS)
        task.leave()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing goes on, at most so many seconds; whether nothing does."""
        deadline = time.monotonic() + seconds
        for thread in list(self._running):
            thread.join(max(deadline - time.monotonic(), 0))
        return not self._running


class _Task(threading.Thread):
    def __init__(self, work: Callable[[], None], free: threading.Semaphore, running: set[threading.Thread]) -> None:
        super().__init__(name="archiver-transfer", daemon=True)
        self._work, self._free, self._running = work, free, running
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._is_left = False
        running.add(self)

    def run(self) -> None:
        try:
            self._work()
        except Exception as e:
            with self._lock:
                self._error = e
                if self._is_left:
                    log.exception("A transfer failed")
        finally:
            model.Session.remove()
            self._running.discard(self)
            self._free.release()

    def leave(self) -> None:
        """Let it go on by itself; raise what it has raised until now."""
        with self._lock:
            self._is_left = True
            if self._error is not None:
                raise self._error
