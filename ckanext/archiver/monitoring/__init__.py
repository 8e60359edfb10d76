"""The state of the queues, the round, the hosts, the workers and the disk, for people and for monitoring.

``ckan archiver status --json`` prints what :func:`collect` returns, and the action ``archiver_status_show`` returns it.
:func:`prometheus` is the same in Prometheus' text format. Two ways lead to it, and neither is public: ``ckan archiver
status --prometheus`` in a cron job that writes a file for the textfile collector of node_exporter, and
``/archiver/metrics``, for sysadmins only (Prometheus sends the API token of one in the header ``Authorization``).
"""

from __future__ import annotations

from ckanext.archiver.monitoring.exposition import CONTENT_TYPE, HELP, prometheus
from ckanext.archiver.monitoring.state import RATE_MINUTES, Status, broker_error, collect, eta, polling_workers
from ckanext.archiver.monitoring.text import alarms, counted, duration, known, lines, minute, take

__all__ = [
    "CONTENT_TYPE",
    "HELP",
    "RATE_MINUTES",
    "Status",
    "alarms",
    "broker_error",
    "collect",
    "counted",
    "duration",
    "eta",
    "known",
    "lines",
    "minute",
    "polling_workers",
    "prometheus",
    "take",
]
