"""What an operator has paused, in the state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ckanext.archiver.queue import pauses, sql
from ckanext.archiver.queue.types import Queue

Status = dict[str, Any]

MAX_PAUSES = 100
"""Most pauses that the state lists."""


def current() -> list[Status]:
    """The pauses as plain data, the widest first: ``queue`` and ``host`` (empty for all), ``by``, ``reason``, ``since``
    (ISO 8601), ``sentence`` and ``resume``, the command that ends it."""
    return [
        {**pause.as_dict(), "sentence": f"{pause.sentence()}.", "resume": f"ckan archiver resume{pause.options}"}
        for pause in pauses.current(MAX_PAUSES)
    ]


_OLDEST = f"""
    SELECT queue, extract(epoch FROM now() - min(requested_at)) AS seconds FROM archiver_request q
    WHERE lease_token IS NULL AND NOT {sql.is_paused("q.queue", "q.host")} GROUP BY queue
"""  # noqa: S608 - constants only


def leave_out_of_waits(paused: list[Status], queues: dict[str, Status]) -> None:
    """Correct the oldest waits of the queues: what is paused does not count as late."""
    if paused:
        oldest = dict(map(tuple, sql.run(_OLDEST)))
        for queue, numbers in queues.items():
            numbers["oldest_wait_seconds"] = round(float(oldest.get(queue) or 0), 1)


def is_paused(status: Status, queue: str) -> bool:
    """Whether a whole queue is paused."""
    return any(not pause["host"] and pause["queue"] in ("", queue) for pause in status["pauses"])


def samples(status: Status) -> dict[str, list[tuple[dict[str, str], int]]]:
    """The state for Prometheus: the labels and values of each metric."""
    return {
        "archiver_paused": [({"queue": queue.value}, int(is_paused(status, queue))) for queue in Queue],
        "archiver_paused_by_host": [({}, sum(bool(pause["host"]) for pause in status["pauses"]))],
    }


def lines(status: Status) -> Iterator[str]:
    """The state for people, before everything else."""
    for pause in status["pauses"]:
        yield f"PAUSED: {pause['sentence']} To go on: {pause['resume']}"
