"""Starts workers: ``ckan archiver worker``, ``ckan celeryd2 run`` and ``celery -A ckanext.archiver.worker``."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from celery import signals

from ckanext.archiver import archiving
from ckanext.archiver.worker.app import QUEUE_NAMES, app
from ckanext.archiver.worker.dispatcher import Dispatcher

log = logging.getLogger(__name__)

STOP_SECONDS = 15
"""What is in flight when a worker is told to stop has this long to finish; then it goes back to the table."""

DEFAULT_CONCURRENCY = {"threads": 16, "prefork": 2}

_dispatcher: Dispatcher | None = None


@signals.worker_ready.connect
def _start(sender: Any = None, **kwargs: Any) -> None:
    global _dispatcher
    queues = sorted(sender.app.amqp.queues.consume_from) if sender is not None else list(QUEUE_NAMES)
    _dispatcher = Dispatcher(queues)
    _dispatcher.start()
    log.info("Worker ready for %s", ", ".join(queues))


@signals.worker_shutting_down.connect
def _shut_down(**kwargs: Any) -> None:
    timer = threading.Timer(STOP_SECONDS, archiving.stop)
    timer.daemon = True
    timer.start()


@signals.worker_shutdown.connect
def _stop(**kwargs: Any) -> None:
    if _dispatcher is not None:
        _dispatcher.stop()


@signals.worker_process_init.connect
def _forked(**kwargs: Any) -> None:
    # A forked child must not share its parent's connections.
    from ckan import model

    model.Session.remove()
    model.meta.engine.dispose(close=False)


def run(queue: str, concurrency: int | None, pool: str) -> int:
    """Run a worker until it is told to stop.

    :param queue: "priority", "bulk" or "all"
    :param concurrency: how many archivals at a time; None for the pool's default
    :param pool: "threads" or "prefork"
    :returns: exit code
    """
    if queue == "all":
        return run_all(concurrency, pool)
    number = concurrency or DEFAULT_CONCURRENCY[pool]
    app.worker_main([
        "worker", f"--queues={queue}", f"--concurrency={number}", f"--pool={pool}", "--loglevel=INFO",
        "--without-gossip", "--without-mingle", "--without-heartbeat", f"--hostname={queue}-{os.getpid()}@%h",
    ])  # fmt: skip
    return 0


def run_all(concurrency: int | None, pool: str) -> int:
    """Run one worker process per queue, so that the round can never fill the places that edits need."""
    children = [subprocess.Popen(_command(queue, concurrency, pool)) for queue in QUEUE_NAMES]

    def pass_on(number: int, frame: Any) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, pass_on)
    # When one ends by itself, the other is stopped too: a supervisor then starts both again.
    pid, status = os.wait()
    for child in children:
        if child.pid == pid:
            child.returncode = os.waitstatus_to_exitcode(status)
    pass_on(signal.SIGTERM, None)
    codes = [child.wait() for child in children]
    return max(codes, key=abs)


def _command(queue: str, concurrency: int | None, pool: str) -> list[str]:
    import ckan.plugins.toolkit as tk

    command = [os.path.join(os.path.dirname(sys.executable), "ckan"), "-c", tk.config["__file__"],
               "archiver", "worker", "--queue", queue, "--pool", pool]  # fmt: skip
    return command + (["--concurrency", str(concurrency)] if concurrency else [])
