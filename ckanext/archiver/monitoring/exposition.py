"""The state for Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from ckanext.archiver import counters
from ckanext.archiver.monitoring import pauses
from ckanext.archiver.monitoring.state import RATE_MINUTES, Status, totals

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

HELP = {
    "archiver_paused": "1 while an operator has paused the whole queue, by queue.",
    "archiver_paused_by_host": "Pauses of single hosts by an operator.",
    "archiver_waiting": "Requests that wait, by queue.",
    "archiver_running": "Requests that a worker holds, by queue.",
    "archiver_oldest_wait_seconds": "Age of the oldest waiting request, by queue.",
    "archiver_broker_up": "1 when the broker answers.",
    "archiver_workers_polling": "Workers that take requests from the table, because their broker is away.",
    "archiver_workers": "Workers that are alive, by queue.",
    "archiver_rate_per_second": f"Links checked per second, over {RATE_MINUTES} minutes.",
    "archiver_round_eta_seconds": "Seconds until the round is done; NaN when that cannot be estimated.",
    "archiver_hosts_paused": "Hosts that get no requests for the time being.",
    "archiver_held": "Verdicts that are held for a fault of our own.",
    "archiver_outage_suspected": "1 while so many hosts fail at once that the fault must be ours.",
    "archiver_guard": "The old name of archiver_outage_suspected; removed in 3.1.",
    "archiver_set_aside": "Resources that killed their workers.",
    "archiver_links": "Links by verdict.",
    "archiver_copies_bytes": "Size of all cached copies.",
    "archiver_disk_free_bytes": "Free space on the archive's disk.",
    "archiver_notices_waiting": "Notices to other plugins that are not delivered yet.",
    "archiver_subscriber_failures_total": "How often another plugin failed on a notice.",
    "archiver_last_round_finished_timestamp_seconds": "When the last round was finished, in Unix time; absent before.",
    "archiver_dead_rows": "Dead rows of the queue's tables that are not vacuumed yet.",
    "archiver_oldest_transaction_seconds": "Age of the oldest transaction in the database.",
    "archiver_datasets_to_index": "Datasets whose facet value is newer than the search index.",
    **{
        family.name + ("_total" if family.type == "counter" else ""): family.documentation
        for family in counters.registry.collect()
    },
}
"""What each metric is, by its name."""


def prometheus(status: Status) -> str:
    """The status, and what all workers have counted, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Families([*_of_status(status), *_totals()]))
    return generate_latest(registry).decode()


class _Families:
    """A collector of families that are there already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families

    # Without it the registry collects once more, for the names.
    describe = collect


def _of_status(status: Status) -> Iterator[Metric]:
    queues = status["queues"]
    eta = status["round"]["eta_seconds"]
    samples: dict[str, list[tuple[dict[str, str], Any]]] = {
        **pauses.samples(status),
        "archiver_waiting": [({"queue": queue}, numbers["waiting"]) for queue, numbers in queues.items()],
        "archiver_running": [({"queue": queue}, numbers["running"]) for queue, numbers in queues.items()],
        "archiver_oldest_wait_seconds": [
            ({"queue": queue}, numbers["oldest_wait_seconds"]) for queue, numbers in queues.items()
        ],
        "archiver_broker_up": [({}, int(status["broker"]["answers"]))],
        "archiver_workers_polling": [({}, status["broker"]["workers_polling"])],
        "archiver_workers": [
            ({"queue": queue}, sum(queue in worker["queues"] for worker in status["workers"])) for queue in queues
        ],
        "archiver_rate_per_second": [({}, status["rate_per_second"])],
        "archiver_round_eta_seconds": [({}, _or_nan(eta))],
        "archiver_hosts_paused": [({}, status["hosts_paused"]["count"])],
        "archiver_held": [({}, status["held"]["count"])],
        "archiver_outage_suspected": [({}, int(status["held"]["outage_suspected"]))],
        "archiver_guard": [({}, int(status["held"]["outage_suspected"]))],
        "archiver_set_aside": [({}, status["set_aside"])],
        "archiver_links": [({"verdict": verdict}, number) for verdict, number in sorted(status["links"].items())],
        "archiver_copies_bytes": [({}, status["disk"]["used_bytes"])],
        "archiver_disk_free_bytes": [({}, _or_nan(status["disk"]["free_bytes"]))],
        "archiver_subscriber_failures_total": [({}, status["subscriber_failures"])],
        "archiver_notices_waiting": [({}, status["notices_waiting"])],
        "archiver_dead_rows": [({}, status["database"]["dead_rows"])],
        "archiver_oldest_transaction_seconds": [({}, status["database"]["oldest_transaction_seconds"])],
        "archiver_datasets_to_index": [({}, status["datasets_to_index"])],
    }
    last = status["round"].get("last")
    if last:
        finished = datetime.fromisoformat(last["finished_at"]).timestamp()
        samples["archiver_last_round_finished_timestamp_seconds"] = [({}, finished)]
    for name, values in samples.items():
        is_counter = name.endswith("_total")
        family = Metric(name.removesuffix("_total"), HELP[name], "counter" if is_counter else "gauge")
        for labels, value in values:
            family.add_sample(name, labels, value)
        yield family


def _totals() -> Iterator[Metric]:
    """The counters and histograms: as the table has them, and 0 for what no worker has counted yet."""
    found = {**dict.fromkeys(counters.samples(), 0.0), **totals()}
    samples = [(name, json.loads(labels), value) for (name, labels), value in found.items()]
    for family in counters.registry.collect():
        total = Metric(family.name, family.documentation, family.type)
        names = [family.name + suffix for suffix in _SUFFIXES[family.type]]
        for name, labels, value in sorted((s for s in samples if s[0] in names), key=_order):
            total.add_sample(name, labels, value)
        yield total


_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}


def _order(sample: tuple[str, dict[str, str], float]) -> tuple[Any, ...]:
    """The buckets of a histogram come in the order of their bounds."""
    name, labels, _ = sample
    return sorted((key, text) for key, text in labels.items() if key != "le"), name, float(labels.get("le", 0))


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
