"""What follows the commit that wrote a run: the log, older copies, notices and the index."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ckanext.archiver import indexing
from ckanext.archiver.archiving import run as one_run
from ckanext.archiver.archiving.types import Result, Run
from ckanext.archiver.queue import leases, notices
from ckanext.archiver.queue.types import Queue

log = logging.getLogger(__name__)


def log_results(runs: Sequence[Run]) -> None:
    """One line for each run that was written, or held."""
    for run in runs:
        decision, resource_id = run.decision, run.claim.resource_id
        if decision.is_final and decision.values is not None:
            log.info("%s: resource %s (%s)", decision.values["verdict"], resource_id, run.outcome.detail)
        elif decision.held and decision.deferral is not None:
            seconds = decision.deferral.delay
            log.warning("No verdict about resource %s: %s Trying again in %s s", resource_id, decision.held, seconds)


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
            one_run.remove_older_copies(run.link, values["cache_filepath"])
        if notices.wanted():
            notices.deliver(claim.token)
    finally:
        leases.discard(claim.token)
    if Queue.BULK not in (claim.queue, run.request.notice_queue or claim.queue):
        # The round leaves the index to the housekeeper thread, which refreshes it in batches.
        indexing.refresh_dataset(claim.package_id)
    return Result(run.outcome, values)
