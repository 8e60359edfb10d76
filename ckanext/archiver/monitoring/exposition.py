"""The state for Prometheus."""

from __future__ import annotations

from typing import Any

from ckanext.archiver.monitoring import pauses
from ckanext.archiver.monitoring.state import RATE_MINUTES, Status

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
    "archiver_subscriber_failures": "How often another plugin failed on a notice.",
    "archiver_dead_rows": "Dead rows of the queue's tables that are not vacuumed yet.",
    "archiver_oldest_transaction_seconds": "Age of the oldest transaction in the database.",
    "archiver_datasets_to_index": "Datasets whose facet value is newer than the search index.",
}


def prometheus(status: Status) -> str:
    """The status in Prometheus' text format. All values are gauges."""
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
        "archiver_round_eta_seconds": [({}, "NaN" if eta is None else eta)],
        "archiver_hosts_paused": [({}, status["hosts_paused"]["count"])],
        "archiver_held": [({}, status["held"]["count"])],
        "archiver_outage_suspected": [({}, int(status["held"]["outage_suspected"]))],
        "archiver_guard": [({}, int(status["held"]["outage_suspected"]))],
        "archiver_set_aside": [({}, status["set_aside"])],
        "archiver_links": [({"verdict": verdict}, number) for verdict, number in sorted(status["links"].items())],
        "archiver_copies_bytes": [({}, status["disk"]["used_bytes"])],
        "archiver_disk_free_bytes": [({}, _or_nan(status["disk"]["free_bytes"]))],
        "archiver_subscriber_failures": [({}, status["subscriber_failures"])],
        "archiver_notices_waiting": [({}, status["notices_waiting"])],
        "archiver_dead_rows": [({}, status["database"]["dead_rows"])],
        "archiver_oldest_transaction_seconds": [({}, status["database"]["oldest_transaction_seconds"])],
        "archiver_datasets_to_index": [({}, status["datasets_to_index"])],
    }
    text = []
    for name, values in samples.items():
        text += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} gauge"]
        for labels, value in values:
            label = ",".join(f'{key}="{text_}"' for key, text_ in labels.items())
            text.append(f"{name}{{{label}}} {value}" if label else f"{name} {value}")
    return "\n".join(text) + "\n"


def _or_nan(value: int | None) -> int | str:
    return "NaN" if value is None else value
