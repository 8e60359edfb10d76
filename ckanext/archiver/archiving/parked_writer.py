"""Writes the runs that were parked while another transaction had their requests locked."""

from __future__ import annotations

from ckanext.archiver.archiving import parked, transaction
from ckanext.archiver.archiving import run as one_run
from ckanext.archiver.archiving.conclude import after_commit
from ckanext.archiver.archiving.types import Step
from ckanext.archiver.errors import DATABASE_AWAY
from ckanext.archiver.queue.group_commit import MAX_ITEMS, Contended


def write_parked() -> int:
    """Write the parked runs whose requests are not locked any more, in transactions of its own.

    :returns: how many
    :raises sqlalchemy.exc.DBAPIError: the database is away; the runs stay parked
    """
    written = 0
    for _ in range(parked.number() // MAX_ITEMS + 1):
        runs = parked.take(MAX_ITEMS)
        if not runs:
            break
        try:
            results = transaction.write_batch_or_each([Step(run, None) for run in runs])
        except DATABASE_AWAY:
            for run in runs:
                parked.park(run)
            raise
        except Exception:
            # A defect: the requests go back to the table, so that it is not repeated for ever.
            for run in runs:
                parked.let_go(run)
            raise
        for run, result in zip(runs, results, strict=True):
            if isinstance(result, Contended):
                parked.park(run)
            else:
                written += 1
                one_run.remove_temporary(run)
                after_commit(run, result.is_ours)
    return written
