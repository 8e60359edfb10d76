"""Starts workers: ``ckan archiver worker``, ``ckan celeryd2 run`` and ``celery -A ckanext.archiver.worker``."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from celery import signals
from celery.concurrency.prefork import TaskPool as PreforkPool
from ckan import model

from ckanext.archiver import archiving
from ckanext.archiver.queue import leases
from ckanext.archiver.queue.celery_app import QUEUE_NAMES, app
from ckanext.archiver.worker import background

log = logging.getLogger(__name__)

STOP_SECONDS = 15
"""What is in flight when a worker is told to stop has this long to finish; then it goes back to the table."""

ANEW_SECONDS = 5
"""Pause before a worker that ended by itself begins anew."""

DEFAULT_CONCURRENCY = {"threads": 16, "prefork": 2}

QUIET_LOGGERS = ("celery.worker.strategy", "celery.app.trace")
"""They tell of every message that comes and every task that ends; our own line per resource says more."""

_dispatcher: background.Dispatcher | None = None
_told_to_stop = threading.Event()
_lifeline: tuple[int, int] | None = None
"""A pipe to the processes of the prefork pool. Nothing is ever written: it ends when the parent closes its end, to
have them stop, or when the parent is dead."""


# -- a worker's life -----------------------------------------------------------------------------------------------


@signals.worker_init.connect
def _prepare(sender: Any = None, **kwargs: Any) -> None:
    global _lifeline
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    _lifeline = os.pipe()
    # What is open here would be shared by the processes of the pool.
    model.Session.remove()
    model.meta.engine.dispose()
    # What was loaded so far stays: the collector need not go through it again and again while all threads wait, and the
    # processes of a pool go on to share it.
    gc.collect()
    gc.freeze()


@signals.worker_ready.connect
def _start(sender: Any = None, **kwargs: Any) -> None:
    global _dispatcher
    queues = sorted(sender.app.amqp.queues.consume_from)
    # In a prefork pool the parent does not know what its children have in hand.
    is_prefork = isinstance(sender.pool, PreforkPool)
    _dispatcher = background.Dispatcher(queues, None if is_prefork else _begin_anew)
    if is_prefork:
        background.keep_quiet_while_forking(list(_dispatcher.threads))
    _dispatcher.start()
    log.info("Worker ready for %s", ", ".join(queues))


@signals.worker_shutting_down.connect
def _shut_down(**kwargs: Any) -> None:
    _told_to_stop.set()
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
    if _dispatcher is not None:
        _dispatcher.stop()


# -- a process of the prefork pool -----------------------------------------------------------------------------------


@signals.worker_process_init.connect
def _forked(**kwargs: Any) -> None:
    global _dispatcher
    # A forked child must not use its parent's connections, nor live under its name: it may be killed alone.
    model.meta.engine.dispose(close=False)
    model.Session.remove()
    leases.renew()
    _dispatcher = None
    life = background.alive(sorted(app.amqp.queues.consume_from))
    life.start()
    signals.worker_process_shutdown.connect(lambda **kwargs: background.stop([life]), weak=False)
    if _lifeline is not None:
        os.close(_lifeline[1])
        threading.Thread(target=_hold_on, args=(_lifeline[0], os.getppid()), daemon=True).start()


def _hold_on(lifeline: int, parent: int) -> None:
    os.read(lifeline, 1)
    archiving.stop()
    if os.getppid() != parent:
        # Killed: nobody gives us work any more, nor ends us.
        log.warning("The worker process %s is gone; so am I", parent)
        threading.Event().wait(2)  # for what was in flight to be given back
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
        return run_all(concurrency, pool)
    if queue == "bulk":
        _be_a_batch_job()
    number = concurrency or DEFAULT_CONCURRENCY[pool]
    arguments = [
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
    if not _told_to_stop.is_set():
        _begin_anew()
    return 0


def _be_a_batch_job() -> None:
    """Let the kernel (Linux) prefer whoever else wakes up, as the web server's processes, to the round; and let threads
    that hand Python's lock to each other change the processor less often, which saves about a tenth of its time.

    See SCHED_BATCH in sched(7). Threads and processes that come later inherit it.
    """
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _begin_anew() -> None:
    """Become a new worker, under the same process id.

    Celery ends its worker on an error that it takes for unrecoverable, some of which a broker causes that goes away at
    an unlucky moment. Ours waits for ever instead.
    """
    log.error("The worker begins anew in %s s", ANEW_SECONDS)
    _told_to_stop.wait(ANEW_SECONDS)
    if not _told_to_stop.is_set():
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - our own command line


def run_all(concurrency: int | None, pool: str) -> int:
    """Run one worker process per queue, so that the round can never fill the places that edits need."""
    children = [
        subprocess.Popen(_command(queue, concurrency, pool), preexec_fn=_end_with_parent) for queue in QUEUE_NAMES
    ]

    told = set()

    def pass_on(number: int, frame: Any) -> None:
        # From a terminal the children have had the INT themselves; a second one would not let them finish.
        number = signal.SIGTERM if number == signal.SIGINT else number
        for child in children:
            # Nor would a second TERM, when it comes at the very end.
            if child.poll() is None and (child.pid, number) not in told:
                told.add((child.pid, number))
                child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, pass_on)
    # When one ends by itself, the other is stopped too: a supervisor then starts both again.
    pid, status = os.wait()
    for child in children:
        if child.pid == pid:
            child.returncode = os.waitstatus_to_exitcode(status)
    pass_on(signal.SIGTERM, None)
    return max((abs(child.wait()) for child in children), default=0)


def _end_with_parent() -> None:
    """Have the kernel tell us to stop when the process that started us is killed (Linux): else its successor's
    workers would run beside us."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _command(queue: str, concurrency: int | None, pool: str) -> list[str]:
    import ckan.plugins.toolkit as tk

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
