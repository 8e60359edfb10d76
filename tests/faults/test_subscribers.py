"""Subscribers that do not behave, and a clock that cannot be relied on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from world import World, check_invariants


def test_a_subscriber_that_fails_keeps_nobody_from_hearing(world: World, start: Callable[..., Any]) -> None:
    world.add(12)
    world.request("bulk", list(world.verdicts)[:6])
    world.request("priority", list(world.verdicts)[6:])
    worker = start("all", plugins="archiver archiver_raises archiver_breaks_the_session archiver_hears")

    world.settle()

    assert "Plugin archiver_raises failed on archived" in worker.log
    failures = "SELECT CAST(value AS int) FROM archiver_state WHERE key = 'subscriber_failures'"
    assert world.scalar(failures) >= 12
    check_invariants(world)


def test_a_clock_that_jumps_changes_nothing(world: World, start: Callable[..., Any]) -> None:
    world.add(7)
    (ill,) = world.add_urls([world.origin.serve("/ill.csv", b"", status=500)])
    world.verdicts[ill] = "failing"
    start("bulk", plugins="archiver archiver_hears archiver_has_no_clock", retry_delays="")

    # By that clock three failures in a row are spread over more than the hours that make a link broken.
    for _ in range(3):
        world.request("bulk")
        world.settle(30)

    row = world.rows("SELECT failure_count, verdict FROM archival WHERE resource_id = :id", id=ill)
    assert row == [{"failure_count": 3, "verdict": "failing"}]
    off = """SELECT count(*) FROM archival WHERE updated < timezone('utc', now()) - interval '5 minutes'
             OR updated > timezone('utc', now())"""
    assert world.scalar(off) == 0
    check_invariants(world, runs=3)
