"""The thread in every worker that keeps things going: it dispatches, schedules the round, sweeps and tells that
the worker is alive. All workers run it; an advisory lock in the database lets one dispatch at a time.

It is a thread of its own and not a Celery timer, because a tick waits for the database and must never keep the
loop that reads the broker from reading.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import dispatch, housekeeping, indexing, notices
from ckanext.archiver.errors import BrokerError
from ckanext.archiver.worker import consumer

log = logging.getLogger(__name__)

TICK_SECONDS = 0.2
IDLE_SECONDS = 1.0


class Job:
    """Something done every so often. A failure is told once a minute, with growing pauses between the tries."""

    def __init__(self, name: str, seconds: float, work: Callable[[], Any]) -> None:
        self.name, self.seconds, self.work = name, seconds, work
        self.due = 0.0
        self.failures = 0
        self.told = float("-inf")

    def run(self) -> Any:
        """Do it, if it is time."""
        now = time.monotonic()
        if now < self.due:
            return None
        self.due = now + self.seconds
        try:
            done = self.work()
        except (sa.exc.SQLAlchemyError, BrokerError, OSError) as e:
            self._failed(e)
            return None
        except Exception:
            self._failed(None)
            log.exception("A defect in %s", self.name)
            return None
        finally:
            model.Session.remove()
        if self.failures:
            log.warning("%s works again", self.name)
        self.failures = 0
        return done

    def _failed(self, error: Exception | None) -> None:
        self.failures += 1
        self.due = time.monotonic() + min(2**self.failures, 30)
        if error is not None and time.monotonic() - self.told > 60:
            self.told = time.monotonic()
            log.warning("%s does not work, trying again: %s", self.name, str(error).splitlines()[0])


class Dispatcher(threading.Thread):
    """See the module's text.

    :param queues: the queues this worker reads
    """

    def __init__(self, queues: list[str]) -> None:
        super().__init__(name="archiver-dispatcher", daemon=True)
        self.queues = queues
        self.ended = threading.Event()
        self.dispatching = Job("Dispatching", TICK_SECONDS, dispatch.tick)
        self.others = [
            Job("The sign of life", 5, lambda: housekeeping.show_alive(consumer.WORKER_ID, self.queues)),
            Job("Looking for dead workers", 10, housekeeping.take_from_the_dead),
            Job("Looking for lost messages", 10, housekeeping.find_lost_messages),
            Job("Delivering left notices", 10, notices.deliver_left),
            Job("Refreshing the index", 2, indexing.refresh_left),
            Job("The regular round", 60, housekeeping.put_due),
            Job("Sweeping", 600, housekeeping.sweep),
        ]

    def run(self) -> None:
        housekeeping_now = self.others
        while not self.ended.is_set():
            for job in housekeeping_now:
                job.run()
            sent = self.dispatching.run()
            self.ended.wait(TICK_SECONDS if sent else IDLE_SECONDS / 2)

    def stop(self) -> None:
        """End the thread and say good-bye."""
        self.ended.set()
        self.join(timeout=10)
        try:
            housekeeping.say_goodbye(consumer.WORKER_ID)
        except sa.exc.SQLAlchemyError as e:
            # Then the others find out by our silence.
            log.warning("Could not sign off: %s", str(e).splitlines()[0])
        finally:
            model.Session.remove()
