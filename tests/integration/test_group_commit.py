"""Threads that share transactions. (No database here; it stands with the modules that use it.)"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ckanext.archiver.queue.group_commit import CONTENDED, MAX_ITEMS, Contended, Group


class Gathering:
    """Work that waits, the first time, until all have come."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.alone: list[int] = []
        self.all_there = threading.Event()

    def together(self, items: list[int]) -> list[int | Contended]:
        self.groups.append(items)
        assert self.all_there.wait(20)
        return [10 * item for item in items]

    def by_itself(self, item: int) -> int:
        self.alone.append(item)
        return 10 * item


def do_all(group: Group[int, int], gathering: Gathering, count: int) -> list[int]:
    """The results of so many threads that come while the first one works."""
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(group.do, number) for number in range(count)]
        while not gathering.groups or len(gathering.groups[0]) + len(group._waiting) < count:
            threading.Event().wait(0.001)
        gathering.all_there.set()
        return [future.result(20) for future in futures]


def test_threads_that_arrive_during_a_commit_share_the_next_one() -> None:
    gathering = Gathering()
    group = Group(gathering.together, gathering.by_itself)
    assert do_all(group, gathering, 20) == [10 * number for number in range(20)]
    assert [len(items) for items in gathering.groups] == [1, 19]
    assert gathering.alone == []


def test_a_group_has_a_limit() -> None:
    gathering = Gathering()
    group = Group(gathering.together, gathering.by_itself)
    do_all(group, gathering, MAX_ITEMS + 10)
    assert [len(items) for items in gathering.groups] == [1, MAX_ITEMS, 9]


def test_what_cannot_be_done_together_is_done_alone() -> None:
    gathering = Gathering()

    def together(items: list[int]) -> list[int | Contended]:
        return [CONTENDED if item % 2 else done for item, done in zip(items, gathering.together(items), strict=True)]

    group = Group(together, gathering.by_itself)
    assert do_all(group, gathering, 9) == [10 * number for number in range(9)]
    assert sorted(gathering.alone) == [1, 3, 5, 7]


def test_a_failed_part_does_not_harm_the_others() -> None:
    gathering = Gathering()

    def together(items: list[int]) -> list[int | Contended]:
        gathering.together(items)
        raise ValueError("the 3 spoils it for all")

    def alone(item: int) -> int:
        if item == 3:
            raise ValueError("it was me")
        return gathering.by_itself(item)

    group = Group(together, alone)
    with pytest.raises(ValueError, match="it was me"):
        do_all(group, gathering, 6)
    assert sorted(gathering.alone) == [0, 1, 2, 4, 5]
    assert group.do(7) == 70, "and the next one is led again"


def test_a_leader_that_ends_leaves_no_thread_waiting() -> None:
    gathering = Gathering()

    def together(items: list[int]) -> list[int | Contended]:
        done = gathering.together(items)
        if 0 in items:
            raise SystemExit
        return done

    group = Group(together, gathering.by_itself)
    with pytest.raises(SystemExit):
        do_all(group, gathering, 10)
    assert [len(items) for items in gathering.groups] == [1, 9]
    assert gathering.alone == [], "the others were led by one of them"
    assert group.do(7) == 70


def test_many_threads_that_come_and_go_all_get_their_own() -> None:
    groups: list[list[int]] = []

    def together(items: list[int]) -> list[int | Contended]:
        groups.append(items)
        return [CONTENDED if item % 7 == 0 else -item for item in items]

    group = Group(together, lambda item: -item)
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(group.do, range(5000))) == [-item for item in range(5000)]
    assert sorted(item for items in groups for item in items) == list(range(5000)), "each once"
