"""What a worker does while its broker is away: it takes what is due from the table itself, once a second.

That is slower than messages, and keeps every rule: claims, the admission to hosts and the end of a dataset are in the
database. A broker that is restarted is not away yet: ``AWAY_SECONDS``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from ckan import model

from ckanext.archiver.errors import BrokerError
from ckanext.archiver.queue import broker, dispatch, leases, recovery, sql
from ckanext.archiver.queue.types import Queue

log = logging.getLogger(__name__)

AWAY_SECONDS = 10
"""Seconds of failures after which a broker is away."""

ASK_SECONDS = 5
"""Seconds between two questions to a broker that answers."""

RETRY_SENDING = 60
"""Seconds after which a broker that answers, and that refused messages, is sent to again: its memory may be full."""

IDLE_AFTER = 10
"""Seconds without a message sent after which a dispatcher is idle."""

IDLE_SECONDS = 2
"""Seconds between two turns of an idle dispatcher. An edit sends its message itself."""

POLL_SECONDS = 1
"""Seconds between two looks at a table with nothing due."""


class BrokerWatch:
    """Knows whether the broker is away, from asking it and from sending to it."""

    def __init__(self) -> None:
        self._failing_since: float | None = None
        self._refused_at = float("-inf")
        self._asked_at = float("-inf")
        self._sent_at = time.monotonic()
        self._dispatched_at = float("-inf")

    @property
    def is_away(self) -> bool:
        """Whether the broker has failed for ``AWAY_SECONDS``."""
        return self._failing_since is not None and time.monotonic() - self._failing_since > AWAY_SECONDS

    def ask(self) -> None:
        """Ask the broker, now and then while it answers, each time this is called while it does not."""
        now = time.monotonic()
        if self._failing_since is None and now - self._asked_at < ASK_SECONDS:
            return
        self._asked_at = now
        try:
            broker.on_kept_connection(lambda connection: broker.queue_length(connection, Queue.BULK))
        except BrokerError:
            self._refused_at = float("-inf")
            self._fails()
        else:
            if time.monotonic() - self._refused_at > RETRY_SENDING:
                self._failing_since = None

    def dispatch(self) -> None:
        """Dispatch, unless the broker is away: requests are not for its messages then.

        :raises BrokerError: when the broker does not take messages
        """
        now = time.monotonic()
        is_idle = now - self._sent_at > IDLE_AFTER
        if self.is_away or (is_idle and now - self._dispatched_at < IDLE_SECONDS):
            return
        self._dispatched_at = now
        try:
            if dispatch.tick():
                self._sent_at = now
        except BrokerError:
            self._refused_at = time.monotonic()
            self._fails()
            raise

    def _fails(self) -> None:
        self._failing_since = self._failing_since or time.monotonic()


class Poller:
    """Takes requests from the table while the broker is away.

    :param queues: those that this worker reads
    :param archive: archives the resource of a request, by its id and queue
    :param places: how many at a time
    """

    def __init__(
        self, watch: BrokerWatch, queues: Sequence[str], archive: Callable[[str, str], None], places: int
    ) -> None:
        self._watch, self._queues, self._archive, self._places = watch, queues, archive, places
        self._threads: ThreadPoolExecutor | None = None
        self._running: set[Future[None]] = set()
        self._next_look = 0.0

    def pause(self) -> float:
        """Seconds until the next call of :meth:`poll`."""
        return 1.0 if self._threads is None else 0.2

    def poll(self) -> None:
        """Start what is due and finds a place free."""
        if self._watch.is_away is (self._threads is None):
            self._begin() if self._threads is None else self._end()
        now = time.monotonic()
        if self._threads is None or now < self._next_look:
            return
        self._running = {task for task in self._running if not task.done()}
        found = 0
        for queue in self._queues:
            room = self._places - len(self._running)
            with sql.transaction():
                due = dispatch.take_due(queue, room) if room > 0 else []
            found += len(due)
            self._running |= {self._threads.submit(self._run, resource_id, queue) for resource_id in due}
        self._next_look = now + (0 if found else POLL_SECONDS)

    def wait(self, seconds: float) -> None:
        """Wait until what was started is done, at most so many seconds."""
        wait(self._running, seconds)

    def _begin(self) -> None:
        log.warning("The broker is away: requests are taken from the table, once a second, until it is back")
        with sql.transaction():
            recovery.forget_messages(self._queues)
        self._threads = ThreadPoolExecutor(self._places, thread_name_prefix="archiver-poller")
        leases.current().polls = True

    def _end(self) -> None:
        log.warning("The broker is back: requests come by its messages")
        assert self._threads is not None  # noqa: S101 - begun before
        self._threads.shutdown(wait=False)
        self._threads = None
        leases.current().polls = False

    def _run(self, resource_id: str, queue: str) -> None:
        try:
            self._archive(resource_id, queue)
        except Exception:
            log.exception("A defect while resource %s was archived", resource_id)
        finally:
            model.Session.remove()
