"""An edit does not wait for the round."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from origin_server import Answer, Request
from world import World

EDITS = 100
BACKLOG = 100_000

_BACKLOG = """
    INSERT INTO resource (id, package_id, url, format, name, position, state, extras, url_type)
    SELECT 'backlog-' || n, :package_id, :url || n, 'CSV', '', n, 'active', '{}', ''
    FROM generate_series(1, :count) AS n
"""


@pytest.mark.timed
@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    "queues", [("all",), pytest.param(("priority", "bulk", "bulk"), marks=pytest.mark.slow)], ids="+".join
)
def test_an_edit_starts_within_a_second(
    world: World, start: Callable[..., Any], wait_until: Callable[..., None], queues: tuple[str, ...]
) -> None:
    def slowly(request: Request) -> Answer:
        time.sleep(2)
        return Answer(b"a,b\n")

    # A dataset of its own: CKAN 2.11 takes minutes to index one with so many resources.
    world.add_urls([world.file("/backlog.csv")])
    package_id = next(iter(world.datasets))
    edited = world.add_urls([world.file(f"/first-{number}.csv") for number in range(EDITS)], per_dataset=1)
    world.origin.answer("/round", slowly)
    world.run(_BACKLOG, package_id=package_id, url=world.origin.url("/round?"), count=BACKLOG)
    world.request("bulk", None)
    world.run("DELETE FROM archiver_request WHERE resource_id = ANY(:ids)", ids=edited)
    world.run("ANALYZE archiver_request")
    for queue in queues:
        start(queue)
    busy = 16 * sum(queue != "priority" for queue in queues)
    wait_until(lambda: _leased(world) >= busy, timeout=30)

    waits = [world.seconds_to_start(resource_id) for resource_id in edited]

    waits.sort()
    p50, p99 = waits[EDITS // 2], waits[EDITS * 99 // 100 - 1]
    print(  # noqa: T201 - a measurement, shown with -s
        f"start after an edit: median {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, worst {waits[-1] * 1000:.0f} ms"
    )
    # At any moment some of them are between two fetches.
    wait_until(lambda: _leased(world) >= busy - 4, timeout=10)
    assert world.scalar("SELECT count(*) FROM archiver_request") > BACKLOG * 0.9
    # The figure is printed; on a busy machine only this much is certain: edits do not wait for the round.
    assert p50 < 1
    assert p99 < 5


def _leased(world: World) -> int:
    return int(world.scalar("SELECT count(*) FROM archiver_request WHERE lease_token IS NOT NULL AND queue = 'bulk'"))
