"""What follows the commit that wrote a run: the log, the counters, older copies, notices and the index."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ckanext.archiver import counters, indexing
from ckanext.archiver.archiving import run as one_run
from ckanext.archiver.archiving.types import Result, Run
from ckanext.archiver.log_lines import LogLine
from ckanext.archiver.queue import leases, notices
from ckanext.archiver.queue.types import Queue

log = logging.getLogger(__name__)


def note_results(runs: Sequence[Run]) -> None:
    """Count the runs that were written or held, with one line in the log for each of these."""
    for run in runs:
        decision, claim = run.decision, run.claim
        counters.downloaded.inc(run.outcome.bytes_read)
        if decision.is_final and decision.values is not None:
            verdict, cause = decision.values["verdict"], run.outcome.cause.value
            counters.checks.labels(verdict, cause).inc()
            counters.duration.observe(run.outcome.seconds)
            counters.queue_wait.labels(claim.queue).observe(claim.waited)
            log.info("%s", LogLine("checked", verdict=verdict, cause=cause, **_facts(run)))
        elif decision.held and decision.deferral is not None:
            counters.holds.labels(decision.deferral.held).inc()
            wait = decision.deferral.delay
            log.warning("%s", LogLine("held", reason=decision.held, next_in_seconds=wait, **_facts(run)))
        elif run.outcome.detail == "gave-way":
            log.info("%s", LogLine("moved-to-bulk", **_facts(run)))
        elif decision.deferral is not None and decision.deferral.attempts:
            counters.retries.inc()


def _facts(run: Run) -> dict[str, Any]:
    return {
        "resource": run.claim.resource_id,
        "dataset": run.claim.package_id,
        "detail": run.outcome.detail,
        "status": run.outcome.http_status,
        "seconds": round(run.outcome.seconds, 3),
        "bytes": run.outcome.bytes_read,
        "waited_seconds": round(run.claim.waited, 1),
        "queue": run.claim.queue,
        "url": run.link.url,
    }


def after_commit(run: Run, is_ours: bool) -> Result | None:
    """Remove older copies, deliver the notices and refresh the index. None when nothing was judged."""
    claim, values = run.claim, run.decision.values
    try:
        if not is_ours:
            log.info(
                "Nothing is written about resource %s: its request was withdrawn, or is another worker's",
                claim.resource_id,
            )
            return None
        if not run.decision.is_final or values is None:
            return None
        if run.has_older_copies:
            one_run.remove_older_copies(run, values["cache_filepath"])
        if notices.wanted():
            notices.deliver(claim.token)
    finally:
        leases.discard(claim.token)
    if Queue.BULK not in (claim.queue, run.request.notice_queue or claim.queue):
        # The round leaves the index to the housekeeper thread, which refreshes it in batches.
        indexing.refresh_dataset(claim.package_id)
    return Result(run.outcome, values)
