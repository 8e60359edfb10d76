"""Adds what this process has counted to the table ``archiver_counter``, and serves it at a port of the worker."""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, start_http_server

from ckanext.archiver import config, counters
from ckanext.archiver.queue import sql

log = logging.getLogger(__name__)

PORTS = 10
"""Ports that are tried from ``metrics_port`` on: the workers of a machine have one each."""

# In one order: two workers that save at the same time do not wait for each other in a circle.
_ADD = """
    INSERT INTO archiver_counter AS c (name, labels, value)
    SELECT name, labels, value FROM unnest(
        CAST(:names AS text[]), CAST(:labels AS text[]), CAST(:values AS float8[])) AS new (name, labels, value)
    ORDER BY name, labels
    ON CONFLICT (name, labels) DO UPDATE SET value = c.value + EXCLUDED.value
"""


_saved: dict[counters.Sample, float] = {}
"""What the table has of this process's counters."""


def begin() -> None:
    """Count anew, in a process that was forked: its counters are its parent's so far, which saves these itself."""
    global _saved
    _saved = counters.samples()


def save() -> None:
    """Add what is new, in a transaction of its own. What cannot be saved now is saved with the next call.

    :raises sqlalchemy.exc.SQLAlchemyError: the database is away
    """
    global _saved
    now = counters.samples()
    new = {key: value - _saved.get(key, 0) for key, value in now.items() if value != _saved.get(key, 0)}
    if new:
        names, labels = zip(*new, strict=True)
        with sql.transaction():
            sql.run(_ADD, names=list(names), labels=list(labels), values=list(new.values()))
    _saved = now


def serve() -> int | None:
    """Serve this process's counters, and its memory and processor time, where ``metrics_port`` says so.

    :returns: the port; None where none is wanted, or all are taken
    """
    address, first = config.metrics_server()
    if not first:
        return None
    # A registry collects, so it is a collector too.
    served = CollectorRegistry()
    served.register(counters.registry)
    ProcessCollector(registry=served)
    PlatformCollector(registry=served)
    for port in range(first, first + PORTS):
        try:
            start_http_server(port, address, served)
        except OSError as e:
            log.debug("The metrics of this worker cannot be served on port %s: %s", port, e)
            continue
        log.info("The metrics of this worker are at http://%s:%s/metrics", address, port)
        return port
    log.error("The metrics of this worker are not served: ports %s to %s are taken", first, first + PORTS - 1)
    return None
