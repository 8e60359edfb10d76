"""Plugins for the workers of the fault tests: one that records what it hears, others that misbehave."""

from __future__ import annotations

import itertools
import json
import os
from datetime import timedelta
from typing import Any

import ckan.plugins as p
import sqlalchemy as sa
from celery import signals
from ckan import model

from ckanext.archiver import clock
from ckanext.archiver.engine import addresses
from ckanext.archiver.interfaces import IPipe
from ckanext.archiver.queue import due_bulk

FILE = "ARCHIVER_TEST_HEARD"


class Hears(p.SingletonPlugin):
    """Appends a line of JSON to a file for each event."""

    p.implements(IPipe, inherit=True)

    def receive_data(self, operation: str, queue: str, **params: Any) -> None:
        line = json.dumps({"operation": operation, "queue": queue, **params})
        # One write of a short line to a file opened for appending: lines of several processes do not mix.
        with open(os.environ[FILE], "ab", buffering=0) as file:
            file.write(line.encode() + b"\n")


class Raises(p.SingletonPlugin):
    """Fails on everything."""

    p.implements(IPipe, inherit=True)

    def receive_data(self, operation: str, queue: str, **params: Any) -> None:
        raise RuntimeError("a subscriber with a defect")


class BreaksTheSession(p.SingletonPlugin):
    """Leaves the database session in a failed transaction without raising."""

    p.implements(IPipe, inherit=True)

    def receive_data(self, operation: str, queue: str, **params: Any) -> None:
        try:
            model.Session.execute(sa.text("SELECT * FROM there_is_no_such_table"))
        except sa.exc.ProgrammingError:
            return


class HasNoClock(p.SingletonPlugin):
    """The worker's clock jumps two days ahead and back, again and again."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        real, jumps = clock.utc, itertools.cycle((timedelta(days=2), timedelta(days=-2), timedelta()))
        clock.utc = lambda: real() + next(jumps)


class Hurries(p.SingletonPlugin):
    """Shortens the pauses that no setting shortens: the turns of suspects, the retry of a busy host, the wait of a
    stopping worker for its running tasks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        signals.worker_init.connect(self._hurry, weak=False)

    def _hurry(self, **kwargs: Any) -> None:
        from ckanext.archiver.archiving import admission
        from ckanext.archiver.worker import run

        admission.SUSPECT_SECONDS = 0.2
        due_bulk.BUSY_SECONDS = 1
        run.STOP_SECONDS = 3


class GivesWay(p.SingletonPlugin):
    """The transfer of an edit keeps a place of the pool for two seconds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # At the start of CKAN: the processes of a prefork pool are made after it.
        from ckanext.archiver.worker import consumer

        consumer.EDIT_SECONDS = 2


class NamesOneServer(p.SingletonPlugin):
    """All names below ``test.`` are names of the loopback address."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        real = addresses.getaddrinfo

        def getaddrinfo(host: str, port: int) -> list[addresses.Answer]:
            return real("127.0.0.1" if host.endswith(".test") else host, port)

        addresses.getaddrinfo = getaddrinfo
