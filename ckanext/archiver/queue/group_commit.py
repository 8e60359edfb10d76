"""Threads share transactions: whoever comes first does the work of all who came meanwhile.

A worker's many threads each claim a request and write a result in a few milliseconds of work, most of which is the
same whether it is done for one or for twenty. PostgreSQL writes its own log so, under the same name.

One thread's work must not hold the others up. So work that is shared never waits for a lock of another transaction
(an edit may be long): what it could not do, or all of it if it failed, each thread does alone, where it may wait and
where its errors are its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Done = TypeVar("Done")

MOST = 50
"""Items of one transaction at most."""


class Contended:
    """Given in the place of a result: this item is to be done alone."""


CONTENDED = Contended()


class _Entry(Generic[Item, Done]):
    """An item that waits, with the thread that brought it."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: Done | Contended = CONTENDED
        self.leads = False
        self._woken = threading.Lock()
        self._woken.acquire()

    def wait(self) -> None:
        """Until it is done, or is to lead."""
        self._woken.acquire()

    def wake(self) -> None:
        self._woken.release()


class Group(Generic[Item, Done]):
    """Work that threads share.

    :param together: does many items and gives their results in the same order, ``CONTENDED`` for those whose row was
        locked. It begins and ends its own transaction, waits for nobody, and whatever it raises is as if it had done
        nothing
    :param alone: does one item, may wait, and raises what there is to raise
    """

    def __init__(self, together: Callable[[list[Item]], list[Done | Contended]], alone: Callable[[Item], Done]) -> None:
        self._together = together
        self._alone = alone
        self._lock = threading.Lock()
        self._waiting: list[_Entry[Item, Done]] = []
        self._led = False

    def do(self, item: Item) -> Done:
        """Do an item, with those of other threads."""
        entry: _Entry[Item, Done] = _Entry(item)
        with self._lock:
            self._waiting.append(entry)
            entry.leads, self._led = not self._led, True
        if not entry.leads:
            entry.wait()
        if entry.leads:
            self._lead(entry)
        return self._alone(item) if isinstance(entry.result, Contended) else entry.result

    def _lead(self, leader: _Entry[Item, Done]) -> None:
        with self._lock:
            # The leader was the first to come, so it is among them.
            entries, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        try:
            results = self._together([entry.item for entry in entries])
            for entry, result in zip(entries, results, strict=True):
                entry.result = result
        except Exception as e:  # noqa: BLE001 - each of the threads meets what is its own again, alone
            log.debug("%s items are done one by one: %s", len(entries), e)
        finally:
            self._hand_over()
            for entry in entries:
                if entry is not leader:
                    entry.wake()

    def _hand_over(self) -> None:
        """Let the next thread lead that came meanwhile."""
        with self._lock:
            following = self._waiting[0] if self._waiting else None
            self._led = following is not None
            if following is not None:
                following.leads = True
        if following is not None:
            following.wake()
