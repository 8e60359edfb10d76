"""The threads in every worker that keep things going: they tell that the worker is alive, dispatch, schedule the
round, sweep. All workers run them; advisory locks in the database let one dispatch at a time.

They are threads of their own and not Celery timers, because a tick waits for the database and must never keep the
loop that reads the broker from reading. There are three, because a slow one must not keep the others: a worker that
could not tell that it lives would lose all it holds, and delivering notices or indexing may take any time.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import config, indexing
from ckanext.archiver.errors import BrokerError
from ckanext.archiver.queue import broker, dispatch, leases, notices, recovery, rounds
from ckanext.archiver.worker import consumer

log = logging.getLogger(__name__)

TICK_SECONDS = 0.2


class Load:
    """How much of a processor this process uses."""

    def __init__(self) -> None:
        self.used, self.at = time.process_time(), time.monotonic()

    def share(self) -> float:
        """Of the time since it was asked last, 1 at most."""
        used, at = time.process_time(), time.monotonic()
        share = (used - self.used) / max(at - self.at, 0.001)
        self.used, self.at = used, at
        return min(share, 1.0)


class Job:
    """Something done every so often. A failure is told once a minute, with growing pauses between the tries.

    :param longest: seconds between two tries, at most
    :param rest: how many times longer it rests than it used the processor, while this process archives and keeps one
        busy; in the same measure less where it does not
    """

    def __init__(
        self, name: str, seconds: float, work: Callable[[], Any], *, longest: float = 30, rest: float = 0
    ) -> None:
        self.name, self.seconds, self.work, self.longest, self.rest = name, seconds, work, longest, rest
        self.due = 0.0
        self.failures = 0
        self.told = float("-inf")
        self.load = Load()

    def run(self) -> Any:
        """Do it, if it is time."""
        now = time.monotonic()
        if now < self.due:
            return None
        self.due = now + self.seconds
        used = time.thread_time()
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
        if self.rest and leases.busy():
            rest = self.rest * self.load.share() * (time.thread_time() - used)
            self.due = max(self.due, time.monotonic() + rest)
        if self.failures:
            log.warning("%s works again", self.name)
        self.failures = 0
        return done

    def _failed(self, error: Exception | None) -> None:
        self.failures += 1
        self.due = time.monotonic() + min(2.0**self.failures, self.longest)
        if error is not None and time.monotonic() - self.told > 60:
            self.told = time.monotonic()
            log.warning("%s does not work, trying again: %s", self.name, str(error).splitlines()[0])


class Jobs(threading.Thread):
    """Runs some jobs, one after the other, until it is told to end.

    :ivar at_work: held while a job runs
    """

    def __init__(self, name: str, pause: float, jobs: list[Job]) -> None:
        super().__init__(name=f"archiver-{name}", daemon=True)
        self.pause = pause
        self.jobs = jobs
        self.at_work = threading.Lock()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(self.pause):
            for job in self.jobs:
                with self.at_work:
                    job.run()


def keep_quiet_while_forking(threads: list[Jobs]) -> None:
    """Have this process fork only between two jobs: a child would have the connection that a job is using.

    Where a job takes long, the fork waits for some seconds and then goes on, as it would have.
    """
    held: list[threading.Lock] = []

    def wait() -> None:
        held.extend(thread.at_work for thread in threads if thread.at_work.acquire(timeout=5))

    def go_on() -> None:
        while held:
            held.pop().release()

    os.register_at_fork(before=wait, after_in_parent=go_on, after_in_child=threads.clear)


def alive(queues: list[str]) -> Jobs:
    """What every process that archives needs, pool processes too: a sign of life, and a look at what it forgot."""
    return Jobs(
        "alive",
        0.2,
        [
            Job(
                "The sign of life",
                config.worker_dead_seconds() / 6,
                lambda: recovery.show_alive(leases.worker_id(), queues),
                longest=1,
            ),
            Job("Looking for forgotten leases", 2, lambda: recovery.return_forgotten(leases.worker_id())),
        ],
    )


STALLED_SECONDS = 20


class Stall:
    """Notices that messages wait, that this worker has nothing to do, and that none reaches it all the same.

    After some troubles of the broker kombu believes that messages are under way which it has lost, and takes no more
    (seen with kombu 5.6). Then only a new worker helps.

    :param begin_anew: does not return
    """

    def __init__(self, queues: list[str], begin_anew: Callable[[], None]) -> None:
        self.queues, self.begin_anew = queues, begin_anew
        self.since = 0.0
        self.came = -1

    def look(self) -> None:
        """Look once, every few seconds.

        :raises BrokerError: when the broker does not answer
        """
        if not self._nothing_comes():
            self.since = time.monotonic()
        elif time.monotonic() - self.since > STALLED_SECONDS:
            log.error("Messages wait and none has come for %s s", STALLED_SECONDS)
            self.begin_anew()

    def _nothing_comes(self) -> bool:
        came, self.came = self.came, consumer.taken_up()
        if came != self.came or leases.busy():
            return False
        # A worker without its database takes messages and waits.
        model.Session.connection().execute(sa.text("SELECT 1"))
        return broker.on_kept_connection(
            lambda connection: any(broker.queue_length(connection, queue) for queue in self.queues)
        )


class Dispatcher:
    """See the module's text.

    :param queues: the queues this worker reads
    :param begin_anew: what to do when no messages come any more; None for a worker that cannot tell
    """

    def __init__(self, queues: list[str], begin_anew: Callable[[], None] | None = None) -> None:
        config.remember()
        a_while = min(10.0, config.worker_dead_seconds() / 3)
        self.threads = [
            alive(queues),
            Jobs(
                "dispatcher",
                TICK_SECONDS,
                [
                    Job("Dispatching", TICK_SECONDS, dispatch.tick, longest=4),
                    Job("Looking for forgotten hosts", 60, dispatch.find_lost_hosts),
                    Job("Looking for lost messages", 10, recovery.find_lost_messages),
                ],
            ),
            Jobs(
                "housekeeper",
                0.5,
                [
                    Job("Looking for dead workers", a_while, recovery.take_from_the_dead),
                    Job("Delivering left notices", a_while, notices.deliver_left),
                    Job("Refreshing the index", 2, indexing.refresh_left, rest=99),
                    Job("Sweeping", a_while, recovery.sweep),
                    Job("The regular round", 20, rounds.put_due),
                    Job("Looking for links in no schedule", 60, rounds.put_never_planned),
                    Job("Looking for the end of the round", 5, rounds.note_end),
                    Job("Forgetting old checks", 600, recovery.forget_old_checks),
                ],
            ),
        ]
        if begin_anew is not None:
            stall = Stall(queues, begin_anew)
            self.threads.append(Jobs("watch", 1, [Job("Looking whether messages come", 5, stall.look, longest=5)]))

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """End the threads and say good-bye."""
        stop(self.threads)


def stop(threads: list[Jobs]) -> None:
    """End the threads, and take this worker off the list."""
    for thread in threads:
        thread.ended.set()
    for thread in threads:
        thread.join(timeout=3)
    try:
        recovery.say_goodbye(leases.worker_id())
    except sa.exc.SQLAlchemyError as e:
        # Then the others find out by our silence.
        log.warning("Could not sign off: %s", str(e).splitlines()[0])
    finally:
        model.Session.remove()
