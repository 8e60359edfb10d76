"""The background threads of a worker: heartbeat, writer, dispatcher, housekeeper, counter and broker. Some workers have
the threads poller and stalls as well. All workers dispatch; for each queue an advisory lock lets one do so at a time.

They are threads and not Celery timers, because a tick waits for the database and must never stop the loop that reads
the broker. There are several, because a slow chore must not delay the others: a worker without a heartbeat loses all
its leases, and delivering notices or indexing may take any time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import cache_urls, config, indexing, retention, rollup
from ckanext.archiver.archiving import parked
from ckanext.archiver.archiving.parked_writer import write_parked
from ckanext.archiver.errors import DATABASE_AWAY, BrokerError
from ckanext.archiver.queue import broker, claims, dispatch, leases, names, notices, recovery, rounds, sql
from ckanext.archiver.worker import database, saved_counters
from ckanext.archiver.worker.polling import BrokerWatch, Poller

log = logging.getLogger(__name__)

TICK_SECONDS = 0.2

LOG_SECONDS = 60
"""Seconds between two lines about the same failure."""


class Load:
    """The share of a processor that this process uses."""

    def __init__(self) -> None:
        self.used, self.at = time.process_time(), time.monotonic()

    def share(self) -> float:
        """Since the last call; 1 at most."""
        used, at = time.process_time(), time.monotonic()
        share = (used - self.used) / max(at - self.at, 0.001)
        self.used, self.at = used, at
        return min(share, 1.0)


class DatabaseAway:
    """Says once a minute, for all chores of this process, that the database does not answer, and once that it is
    back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged_at = float("-inf")
        self._is_away = False

    def log(self, error: Exception) -> None:
        """The database does not answer."""
        with self._lock:
            self._is_away = True
            if time.monotonic() - self._logged_at > LOG_SECONDS:
                self._logged_at = time.monotonic()
                log.warning("The database does not answer, trying again: %s", str(error).splitlines()[0])

    def ends(self) -> None:
        """It answers."""
        with self._lock:
            was_away, self._is_away = self._is_away, False
        if was_away:
            log.warning("The database answers again")


_database = DatabaseAway()


class Chore:
    """Work that is done every so often. After failures, the pauses between the tries grow.

    A failure of the broker or the disk is logged once a minute for each chore, one of the database once a minute for
    all. Any other is a defect, and is logged each time.

    :param work: runs in a transaction of this chore
    :param own_transactions: ``work`` opens its transactions itself
    :param max_pause: most seconds between two tries
    :param rest: pause after work, as a multiple of the processor time it took, scaled by how busy this process is; none
        while it is not archiving
    """

    def __init__(
        self,
        name: str,
        seconds: float,
        work: Callable[[], Any],
        *,
        own_transactions: bool = False,
        max_pause: float = 30,
        rest: float = 0,
    ) -> None:
        self.name, self.seconds, self.work, self.max_pause, self.rest = name, seconds, work, max_pause, rest
        self.own_transactions = own_transactions
        self.due = 0.0
        self.failures = 0
        self.lacked_database = False
        self.logged_at = float("-inf")
        self.load = Load()

    def run(self) -> Any:
        """Do the work, if it is due."""
        now = time.monotonic()
        if now < self.due:
            return None
        self.due = now + self.seconds
        used = time.thread_time()
        database.use_background_connection()
        try:
            with contextlib.nullcontext() if self.own_transactions else sql.transaction():
                result = self.work()
        except (sa.exc.SQLAlchemyError, BrokerError, OSError) as e:
            self._failed(e)
            return None
        except Exception:
            self._failed(None)
            log.exception("A defect in: %s", self.name)
            return None
        finally:
            model.Session.remove()
        if self.rest and leases.busy():
            rest = self.rest * self.load.share() * (time.thread_time() - used)
            self.due = max(self.due, time.monotonic() + rest)
        if self.failures and not self.lacked_database:
            log.warning("%s works again", self.name)
        elif self.failures:
            _database.ends()
        self.failures = 0
        return result

    def _failed(self, error: Exception | None) -> None:
        self.failures += 1
        self.due = time.monotonic() + min(2.0**self.failures, self.max_pause)
        self.lacked_database = isinstance(error, DATABASE_AWAY)
        if self.lacked_database and error is not None:
            _database.log(error)
        elif error is not None and time.monotonic() - self.logged_at > LOG_SECONDS:
            self.logged_at = time.monotonic()
            log.warning("%s does not work, trying again: %s", self.name, str(error).splitlines()[0])


class BackgroundThread(threading.Thread):
    """Does its chores one after the other, until it is to end.

    :param pause: seconds between two rounds of its chores, or a function that says them
    :ivar at_work: held while a chore runs
    """

    def __init__(self, name: str, pause: float | Callable[[], float], chores: list[Chore]) -> None:
        super().__init__(name=f"archiver-{name}", daemon=True)
        self.pause = pause if callable(pause) else lambda: pause
        self.chores = chores
        self.at_work = threading.Lock()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(self.pause()):
            for chore in self.chores:
                with self.at_work:
                    chore.run()


def fork_between_chores(threads: list[BackgroundThread]) -> None:
    """Let this process fork only between two chores: a child would inherit the connection that a chore is using.

    Where a chore takes long, the fork waits for some seconds and then goes ahead.
    """
    held: list[threading.Lock] = []

    def before() -> None:
        held.extend(thread.at_work for thread in threads if thread.at_work.acquire(timeout=5))

    def after() -> None:
        while held:
            held.pop().release()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=threads.clear)


def heartbeat(queues: list[str]) -> BackgroundThread:
    """What every process that archives needs, pool processes too: a heartbeat, and the release of forgotten leases."""
    return BackgroundThread(
        "heartbeat",
        min(1.0, config.worker_dead_seconds() / 12),
        [
            Chore(
                "Heartbeat",
                config.worker_dead_seconds() / 6,
                lambda: recovery.record_heartbeat(leases.worker_id(), queues),
                max_pause=1,
            ),
            Chore("Releasing forgotten leases", 2, lambda: recovery.release_forgotten_leases(leases.worker_id())),
        ],
    )


def writer() -> BackgroundThread:
    """Writes what other transactions had locked: also what every process that archives needs."""
    return BackgroundThread(
        "writer",
        0.5,
        [
            Chore("Writing parked runs", 0.5, write_parked, own_transactions=True, max_pause=5),
            Chore("Sending locked requests again", 1, claims.send_contended_again, max_pause=5),
            Chore("Saving the counters", 5, saved_counters.save, own_transactions=True),
        ],
    )


STALLED_SECONDS = 20


class StallWatch:
    """Notices that messages wait, that this worker has nothing to do, and that it receives none all the same.

    After some failures of the broker kombu counts messages as delivered that were lost, and takes no more (seen with
    kombu 5.6). Only a new worker process helps then.

    :param restart: does not return
    """

    def __init__(self, queues: list[str], restart: Callable[[], None]) -> None:
        self.queues, self.restart = queues, restart
        self.since = 0.0
        self.received = -1

    def check(self) -> None:
        """Check once, every few seconds.

        :raises BrokerError: when the broker does not answer
        """
        if not self._is_stalled():
            self.since = time.monotonic()
        elif time.monotonic() - self.since > STALLED_SECONDS:
            log.error("Messages wait, and this worker has received none for %s s", STALLED_SECONDS)
            self.restart()

    def _is_stalled(self) -> bool:
        process = leases.current()
        before, self.received = self.received, process.messages_received
        if before != self.received or process.is_busy:
            return False
        # A worker without its database takes messages and waits.
        with sql.transaction():
            sql.run("SELECT 1")
        return broker.on_kept_connection(
            lambda connection: any(broker.queue_length(connection, queue) for queue in self.queues)
        )


def _keep_names(queues: list[str], leave: Callable[[], None]) -> None:
    """Claim the names of the queues again, in case the broker was flushed; where another portal has them by now, leave
    them to it, and have this portal's messages sent again under its new ones."""
    if names.keep():
        return
    log.error(
        "Another portal has the names of this portal's queues at the broker, as after FLUSHALL. This portal's are now "
        "%s: the worker restarts to read them, and messages are sent again",
        ", ".join(names.all_at_broker().values()),
    )
    with sql.transaction():
        recovery.forget_messages(queues)
    leave()


class BackgroundThreads:
    """The threads of a worker: see the module's text.

    :param queues: the queues that this worker reads
    :param restart: replaces a worker that receives no messages; None for one that cannot tell
    :param leave: ends this worker's reading of its queues, and restarts it
    :param poller: takes requests while the broker is away; None for a worker that archives nothing itself
    """

    def __init__(
        self,
        queues: list[str],
        watch: BrokerWatch,
        *,
        restart: Callable[[], None] | None,
        leave: Callable[[], None],
        poller: Poller | None,
    ) -> None:
        config.remember()
        self.threads = [
            heartbeat(queues),
            writer(),
            _dispatcher(watch),
            _housekeeper(),
            _counter(),
            broker_watch(
                watch, Chore("Keeping the queues' names", 5, lambda: _keep_names(queues, leave), own_transactions=True)
            ),
        ]
        if poller is not None:
            self.threads.append(polling(poller))
        if restart is not None:
            stalls = Chore("Stall watch", 5, StallWatch(queues, restart).check, own_transactions=True, max_pause=5)
            self.threads.append(BackgroundThread("stalls", 1, [stalls]))

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """End the threads and deregister this worker."""
        stop(self.threads)


def broker_watch(watch: BrokerWatch, *more: Chore) -> BackgroundThread:
    """Asks the broker in a thread of its own: one that hangs takes its time.

    :param more: what asks it too
    """
    return BackgroundThread("broker", 1, [Chore("Broker watch", 1, watch.ask, own_transactions=True), *more])


def polling(poller: Poller) -> BackgroundThread:
    """What takes requests while the broker is away."""
    return BackgroundThread(
        "poller", poller.pause, [Chore("Polling", 0.2, poller.poll, own_transactions=True, max_pause=4)]
    )


def _dispatcher(watch: BrokerWatch) -> BackgroundThread:
    return BackgroundThread(
        "dispatcher",
        TICK_SECONDS,
        [
            Chore("Dispatching", TICK_SECONDS, watch.dispatch, own_transactions=True, max_pause=4),
            Chore("Waking forgotten hosts", 60, dispatch.wake_forgotten_hosts),
            Chore("Finding lost messages", 10, recovery.forget_lost_messages, own_transactions=True),
        ],
    )


def _housekeeper() -> BackgroundThread:
    often = min(10.0, config.worker_dead_seconds() / 3)
    return BackgroundThread(
        "housekeeper",
        0.5,
        [
            Chore("Releasing leases of dead workers", often, recovery.release_leases_of_the_dead),
            Chore("Delivering abandoned notices", often, notices.deliver_abandoned, own_transactions=True),
            Chore("Refreshing the index", 2, indexing.refresh_left, own_transactions=True, rest=99),
            Chore("Sweeping temporary files", often, recovery.sweep, own_transactions=True),
            Chore("Scheduling the round", 20, rounds.put_due),
            Chore("Scheduling unscheduled links", 60, rounds.put_never_planned, own_transactions=True),
            Chore("Finishing the round", 5, rounds.note_finished),
            Chore("Following the options of copies' URLs", 60, cache_urls.follow_options, own_transactions=True),
            Chore("Removing copies of deleted resources", 60, retention.drop_expired),
            Chore("Deleting old checks", 600, recovery.delete_old_checks),
            Chore("Deleting old selections", 3600, rounds.delete_old_selections),
        ],
    )


def _counter() -> BackgroundThread:
    # A thread of its own: at a million links a count takes seconds, which leases and notices must not wait for.
    return BackgroundThread(
        "counter",
        5,
        [
            Chore("Counting links for the report", 20, rollup.refresh, own_transactions=True),
            Chore("Counting links of earlier days", 20, rollup.fill_back),
            Chore("Noting deleted resources", 60, retention.note_deleted),
            Chore("Enforcing quotas", 20, retention.enforce_quotas, own_transactions=True),
        ],
    )


def stop(threads: list[BackgroundThread]) -> None:
    """End the threads, save the counters, release this worker's leases and delete its row."""
    for thread in threads:
        thread.ended.set()
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(timeout=3)
    parked.drop()
    database.use_background_connection()
    try:
        saved_counters.save()
        with sql.transaction():
            recovery.deregister(leases.worker_id())
    except sa.exc.SQLAlchemyError as e:
        # The other workers notice the missing heartbeat.
        log.warning("Could not deregister this worker: %s", str(e).splitlines()[0])
    finally:
        model.Session.remove()
