"""Waits until every link was checked, and lists what is not as expected."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from _stack.layout import StackError

from .api import Json, Portal
from .portal import DATASETS, Dataset, Link
from .progress import Progress

POLL = 0.25  # seconds between two looks
PATIENCE = 120  # seconds until an unchecked link is a failure


@dataclass(frozen=True)
class Result:
    """What the portal knows of one link."""

    dataset: str
    link: Link
    resource_id: str
    url: str
    known: Json

    @property
    def verdict(self) -> str:
        return self.known.get("verdict") or "not checked"

    @property
    def cause(self) -> str:
        return self.known.get("cause") or ""

    @property
    def reason(self) -> str:
        return self.known.get("reason") or ""

    @property
    def size(self) -> int | None:
        return self.known.get("size")

    @property
    def cached(self) -> bool:
        """Whether there is a copy, on the disk."""
        path = self.known.get("cache_filepath") or ""
        return path != "" and Path(path).is_file()

    def is_done(self, since: datetime) -> bool:
        """Whether the link as it is now was checked since then, with no retry to come."""
        known = self.known
        if not known or (not self.link.upload and known["source_url"] != self.url):
            return False
        # The first failure is shown at once, before the retries decide what it counts.
        tentative = known["verdict"] == "failing" and not known["failure_count"]
        checked = datetime.fromisoformat(known["checked_at"]).replace(tzinfo=timezone.utc)
        return not tentative and checked >= since

    def differences(self) -> Iterator[str]:
        """What is not as expected."""
        expected = self.link.expected
        for what, found, wanted in (
            ("verdict", self.verdict, expected.verdict),
            ("cause", self.cause, expected.cause),
            ("cached copy", self.cached, expected.cached),
        ):
            if found != wanted:
                yield f"{self.dataset}, {self.link.name}: {what} is {found!r}, expected {wanted!r} ({self.reason})"


def look(portal: Portal, known: Mapping[str, Json]) -> list[Result]:
    """What the portal knows of each link now.

    :param known: by resource id, what is known already and need not be asked again
    """
    return [
        Result(
            dataset.name,
            link,
            resource["id"],
            resource["url"],
            known.get(resource["id"]) or portal.known(resource["id"]),
        )
        for dataset in DATASETS
        for link, resource in _resources(dataset, portal.dataset(dataset.name))
    ]


def _resources(dataset: Dataset, shown: Json) -> Iterator[tuple[Link, Json]]:
    resources = {resource["name"]: resource for resource in shown["resources"]}
    missing = [link.name for link in dataset.links if link.name not in resources]
    if missing:
        raise StackError(f"{dataset.name} has lost {', '.join(missing)}")
    for link in dataset.links:
        yield link, resources[link.name]


def wait(portal: Portal, since: datetime, progress: Progress, check: Callable[[], None]) -> list[Result]:
    """Ask until every link was checked since a moment, or patience ends; the last state of each.

    :param check: called each time; raises when there is no use in waiting
    """
    deadline = time.monotonic() + PATIENCE
    known: dict[str, Json] = {}
    while True:
        check()
        results = look(portal, known)
        known = {result.resource_id: result.known for result in results if result.is_done(since)}
        progress.show(len(known))
        if len(known) == len(results) or time.monotonic() > deadline:
            progress.end()
            return results
        time.sleep(POLL)


def unexpected(results: Sequence[Result], since: datetime) -> list[str]:
    """A line for each thing that is not as it should be."""
    lines: list[str] = []
    for result in results:
        if result.is_done(since):
            lines += result.differences()
        else:
            lines.append(f"{result.dataset}, {result.link.name}: was not checked within {PATIENCE} s")
    return lines
