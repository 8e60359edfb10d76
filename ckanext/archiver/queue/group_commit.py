"""Group commit: the first thread to arrive writes for every thread that arrives while it is writing.

Each thread of a worker claims a request and writes a result in a few milliseconds of work, most of which costs the
same for one item as for twenty. PostgreSQL writes its own log this way, under the same name.

One item must not hold up the others. So a batch leaves out an item whose row another transaction has locked (an edit
may be long), and waits for other locks for a short time only. An item that the batch could not do, or each item of a
batch that failed, is done by its own thread, where it may wait and where its errors are its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Done = TypeVar("Done")

MAX_ITEMS = 50
"""Most items of one transaction."""


class Contended:
    """In the place of a result: another transaction has the item's row locked."""


CONTENDED = Contended()


class _Entry(Generic[Item, Done]):
    """An item whose thread waits for its result."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: Done | Contended = CONTENDED
        self.leads = False
        self._woken = threading.Lock()
        self._woken.acquire()

    def wait(self) -> None:
        """Wait until the item is done, or its thread is to lead."""
        self._woken.acquire()

    def wake(self) -> None:
        self._woken.release()


class Group(Generic[Item, Done]):
    """Work whose transactions threads share.

    :param do_batch: does many items and returns their results in the same order, ``CONTENDED`` for an item whose row
        is locked. It begins and ends its own transaction and waits for no item's row; when it raises, nothing was done
    :param do_one: does one item, may wait, and raises the item's own errors
    """

    def __init__(
        self, do_batch: Callable[[list[Item]], list[Done | Contended]], do_one: Callable[[Item], Done]
    ) -> None:
        self._do_batch = do_batch
        self._do_one = do_one
        self._lock = threading.Lock()
        self._waiting: list[_Entry[Item, Done]] = []
        self._led = False

    def do(self, item: Item) -> Done:
        """Do an item, together with those of other threads."""
        entry: _Entry[Item, Done] = _Entry(item)
        with self._lock:
            self._waiting.append(entry)
            entry.leads, self._led = not self._led, True
        if not entry.leads:
            entry.wait()
        if entry.leads:
            self._lead(entry)
        return self._do_one(item) if isinstance(entry.result, Contended) else entry.result

    def _lead(self, leader: _Entry[Item, Done]) -> None:
        with self._lock:
            # The leader was the first to arrive, so it is among them.
            entries, self._waiting = self._waiting[:MAX_ITEMS], self._waiting[MAX_ITEMS:]
        try:
            results = self._do_batch([entry.item for entry in entries])
            for entry, result in zip(entries, results, strict=True):
                entry.result = result
        except Exception as e:  # noqa: BLE001 - each thread does its item alone and meets its own error again
            log.debug("%s items are done one by one: %s", len(entries), e)
        finally:
            self._hand_over()
            for entry in entries:
                if entry is not leader:
                    entry.wake()

    def _hand_over(self) -> None:
        """Make the first of the threads that arrived since then the next leader."""
        with self._lock:
            following = self._waiting[0] if self._waiting else None
            self._led = following is not None
            if following is not None:
                following.leads = True
        if following is not None:
            following.wake()
