"""Starts workers: ``ckan archiver worker``, ``ckan celeryd2 run`` and ``celery -A ckanext.archiver.worker``."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn

import ckan.plugins.toolkit as tk
from celery import bootsteps, signals
from celery.concurrency.prefork import TaskPool as PreforkPool
from ckan import model

from ckanext.archiver import archiving, config, installation, log_lines
from ckanext.archiver.queue import broker, leases
from ckanext.archiver.queue.celery_app import app
from ckanext.archiver.queue.types import Queue
from ckanext.archiver.worker import background, both, consumer, database, saved_counters, systemd
from ckanext.archiver.worker.handover import Handover
from ckanext.archiver.worker.polling import BrokerWatch, Poller

log = logging.getLogger(__name__)

STOP_SECONDS = 15
"""Seconds for transfers in flight to finish when a worker is to stop; then their requests go back to the table."""

POOL_SECONDS = 10
"""Seconds after a TERM in which a process of the prefork pool ends with its pool; then it ends by itself."""

RESTART_SECONDS = 5
"""Pause before a worker that ended by itself is replaced by a new one."""

DEFAULT_CONCURRENCY = {"threads": 16, "prefork": 2}

QUIET_LOGGERS = ("celery.worker.strategy", "celery.app.trace")
"""They log every message received and every task done; our own line per resource says more."""

_background: background.BackgroundThreads | None = None
_poller: Poller | None = None
_stop_requested = threading.Event()
_restart_requested = threading.Event()
"""The worker is stopping, and starts again when it has."""
_stop_at = 0.0
"""When (``time.monotonic``) the transfers of a worker that is to stop are ended."""
_lifeline: tuple[int, int] | None = None
"""A pipe to the processes of the prefork pool. Nothing is ever written: it ends when the parent closes its end, which
stops them, or when the parent is dead."""


# -- a worker's life -----------------------------------------------------------------------------------------------


@signals.worker_init.connect
def _prepare(sender: Any = None, **kwargs: Any) -> None:
    global _lifeline
    _refuse_unusable_broker()
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    if config.log_format() == "json":
        log_lines.use_json()
    log.info("%s", installation.description())
    _lifeline = os.pipe()
    leases.become(leases.WorkerProcess())
    # A connection that is open here would be shared by the processes of the pool.
    model.Session.remove()
    model.meta.engine.dispose()
    leases.current().places = sender.concurrency
    database.use_own_engines(sender.concurrency)
    # The objects loaded so far stay for good: frozen, the collector does not go through them again and again while all
    # threads wait, and the processes of a pool keep sharing them.
    gc.collect()
    gc.freeze()


def _refuse_unusable_broker() -> None:
    """End the process where the broker can never be used: the worker would try for ever."""
    if why := broker.refusal():
        raise SystemExit(why)


class Background(bootsteps.StartStopStep):
    """Starts the background threads before the worker connects to its broker, which may be away for long."""

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        global _background, _poller
        queues = sorted(worker.app.amqp.queues.consume_from)
        watch = BrokerWatch()
        # In a prefork pool the parent does not know what its children have in flight.
        is_prefork = isinstance(worker.pool, PreforkPool)
        if not is_prefork:
            _poller = Poller(watch, queues, consumer.archive_resource, places=worker.concurrency)
            consumer.handover = Handover(config.slow_transfers())
            leases.current().places += config.slow_transfers()
        restart = None if is_prefork else _restart
        _background = background.BackgroundThreads(
            queues, watch, restart=restart, leave=_restart_after_stop, poller=_poller
        )
        if is_prefork:
            background.fork_between_chores(list(_background.threads))
        leases.current().parks = not is_prefork
        saved_counters.serve()
        _background.start()

    def stop(self, worker: Any) -> None:
        """``_stop`` does."""

    terminate = stop


@signals.worker_ready.connect
def _say_ready(sender: Any = None, **kwargs: Any) -> None:
    systemd.ready()
    log.info("Worker ready for %s", ", ".join(sorted(sender.app.amqp.queues.consume_from)))


class OneStop(bootsteps.StartStopStep):
    """Lets the first TERM or INT stop a worker, and ignores every other.

    Celery's handlers take a lock that is not re-entrant: a second signal that interrupts the first one's handler waits
    for it for ever. A group signal of systemd, supervisor or ``timeout`` beside one of a parent process is such a
    second signal.
    """

    def start(self, worker: Any) -> None:
        stop = signal.getsignal(signal.SIGTERM)
        is_stopping = False

        def once(number: int, frame: Any) -> None:
            nonlocal is_stopping
            if is_stopping:
                # Of two reasons to stop, one may be our own (_restart_after_stop): the other one ends the worker.
                _restart_requested.clear()
            elif callable(stop):
                is_stopping = True
                stop(signal.SIGTERM, frame)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, once)

    def stop(self, worker: Any) -> None:
        """The handlers stay: a signal may arrive until the very end."""

    terminate = stop


app.steps["worker"].update((Background, OneStop))


@signals.worker_shutting_down.connect
def _shut_down(**kwargs: Any) -> None:
    global _stop_at
    _stop_at = time.monotonic() + STOP_SECONDS
    _stop_requested.set()
    if not _restart_requested.is_set():
        systemd.stopping()
    timer = threading.Timer(STOP_SECONDS, _stop_transfers)
    timer.daemon = True
    timer.start()


def _stop_transfers() -> None:
    global _lifeline
    archiving.stop()
    if _lifeline is not None:
        os.close(_lifeline[1])
        _lifeline = None


@signals.worker_shutdown.connect
def _stop(**kwargs: Any) -> None:
    if _poller is not None:
        _poller.wait(max(_stop_at - time.monotonic(), 0))
    if not consumer.handover.wait(max(_stop_at - time.monotonic(), 0)):
        archiving.stop()
        # Transfers see the stop within a second; their requests go back to the table then.
        consumer.handover.wait(5)
    if _background is not None:
        _background.stop()
    if _restart_requested.is_set():
        _replace()


# -- a process of the prefork pool -----------------------------------------------------------------------------------


@signals.worker_process_init.connect
def _forked(**kwargs: Any) -> None:
    global _background
    # A forked child must not use its parent's connections, nor its name: it may be killed alone.
    database.use_own_engines(1)
    places = leases.current().places
    leases.become(leases.WorkerProcess())
    saved_counters.begin()
    leases.current().places = places
    _background = None
    signal.signal(signal.SIGTERM, _stop_pool_process)
    leases.current().parks = True
    queues, watch = sorted(app.amqp.queues.consume_from), BrokerWatch()
    poller = Poller(watch, queues, consumer.archive_resource, places=1)
    threads = [
        background.heartbeat(queues),
        background.writer(),
        background.broker_watch(watch),
        background.polling(poller),
    ]
    for thread in threads:
        thread.start()
    signals.worker_process_shutdown.connect(lambda **kwargs: background.stop(threads), weak=False)
    if _lifeline is not None:
        os.close(_lifeline[1])
        threading.Thread(target=_end_with_pool, args=(_lifeline[0], os.getppid()), daemon=True).start()


def _stop_pool_process(number: int, frame: Any) -> None:
    """A signal to the whole group reaches the pool's processes too. They give back what they do, and end with the pool;
    the timer is for a pool that wants them gone."""
    archiving.stop()
    timer = threading.Timer(POOL_SECONDS, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _end_with_pool(lifeline: int, parent: int) -> None:
    os.read(lifeline, 1)
    archiving.stop()
    if os.getppid() != parent:
        # The parent was killed: no process would give this one work any more, nor end it.
        log.warning("The worker process %s is gone; its pool process ends too", parent)
        threading.Event().wait(2)  # for the requests in flight to go back to the table
        os._exit(1)


# -- starting ------------------------------------------------------------------------------------------------------


def run(queue: str, concurrency: int | None, pool: str) -> int:
    """Run a worker until it is told to stop.

    :param queue: "priority", "bulk" or "all"
    :param concurrency: how many archivals at a time; None for the pool's default
    :param pool: "threads" or "prefork"
    :returns: exit code
    """
    if queue == "all":
        run_all(concurrency, pool)
    if queue == Queue.BULK:
        _yield_processor()
    _refuse_unusable_broker()
    number = concurrency or DEFAULT_CONCURRENCY[pool]
    arguments = [
        # Celery's banner is no JSON.
        *(["--quiet"] if config.log_format() == "json" else []),
        "worker",
        f"--queues={queue}",
        f"--concurrency={number}",
        f"--pool={pool}",
        "--loglevel=INFO",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
        f"--hostname={queue}-{os.getpid()}@%h",
    ]
    with contextlib.suppress(SystemExit):
        app.worker_main(arguments)
    if not _stop_requested.is_set():
        _restart()
    return 0


def _yield_processor() -> None:
    """Let the kernel (Linux) prefer other processes, as those of the web server, to the round; and let threads that
    hand Python's lock to each other change the processor less often, which saves about a tenth of its time.

    See SCHED_BATCH in sched(7). Threads and processes started later inherit it.
    """
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _restart() -> None:
    """Replace this worker by a new one, under the same process id.

    Celery ends its worker on an error that it takes for unrecoverable; a broker that goes away at an unlucky moment
    causes some of these. This worker waits for ever instead.
    """
    log.error("The worker restarts in %s s", RESTART_SECONDS)
    _stop_requested.wait(RESTART_SECONDS)
    if not _stop_requested.is_set():
        # Else "status" lists a worker that is gone until its heartbeat is old.
        if _background is not None:
            _background.stop()
        _replace()


def _restart_after_stop() -> None:
    """Stop this worker as TERM does, which gives back what it has received, and start it again."""
    if not _stop_requested.is_set():
        _restart_requested.set()
        os.kill(os.getpid(), signal.SIGTERM)


def _replace() -> NoReturn:
    os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - our own command line


def run_all(concurrency: int | None, pool: str) -> NoReturn:
    """Become the parent of one worker process per queue, so that the round can never fill the places that edits need.

    The parent has no CKAN in it, whose memory it would only waste.
    """
    commands = [_command(queue, concurrency, pool) for queue in Queue]
    sys.stdout.flush()
    sys.stderr.flush()
    # Isolated, and without the packages of the environment: it needs Python's own modules only.
    os.execv(sys.executable, [sys.executable, "-I", "-S", both.__file__, json.dumps(commands)])  # noqa: S606


def _command(queue: str, concurrency: int | None, pool: str) -> list[str]:
    command = [
        os.path.join(os.path.dirname(sys.executable), "ckan"),
        "-c",
        tk.config["__file__"],
        "archiver",
        "worker",
        "--queue",
        queue,
        "--pool",
        pool,
    ]
    return command + (["--concurrency", str(concurrency)] if concurrency else [])
