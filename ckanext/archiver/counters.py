"""What this process counts for Prometheus, since it began.

A worker adds what is new to the table ``archiver_counter`` every few seconds
(:mod:`ckanext.archiver.worker.saved_counters`), so that ``/archiver/metrics`` has the sums over all workers, and they
survive restarts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram

registry = CollectorRegistry()

checks = Counter(
    "archiver_checks", "Checks of links that came to a verdict, by verdict and cause.", ["verdict", "cause"],
    registry=registry,
)  # fmt: skip
downloaded = Counter("archiver_downloaded_bytes", "Bytes of bodies that were read from servers.", registry=registry)
retries = Counter("archiver_retries", "Failed checks that are repeated before their verdict.", registry=registry)
holds = Counter(
    "archiver_holds", "Checks without a verdict, because the fault may be our own, by reason.", ["reason"],
    registry=registry,
)  # fmt: skip
duration = Histogram(
    "archiver_check_duration_seconds",
    "Duration of a check, from the name look-up to the last byte.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900),
    registry=registry,
)
queue_wait = Histogram(
    "archiver_queue_wait_seconds",
    "Time between the moment when a request was due and the one when a worker claimed it, by queue.",
    ["queue"],
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 43_200, 86_400, 259_200, 604_800),
    registry=registry,
)

Sample = tuple[str, str]
"""A sample's name (``archiver_checks_total``) and its labels as JSON with sorted keys: the key of the table."""


def samples() -> dict[Sample, float]:
    """All samples of this process, those that are 0 included."""
    return {
        (sample.name, label_text(sample.labels)): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def label_text(labels: Mapping[str, str]) -> str:
    """Labels as the table has them."""
    return json.dumps(labels, sort_keys=True)
