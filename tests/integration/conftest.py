"""Fixtures that several modules here share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ckanext.archiver.archiving import run as one_run
from ckanext.archiver.engine.outcome import Outcome
from ckanext.archiver.queue import leases
from steps import OK


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Outcome]:
    """What a look at each link gives, where it is not OK."""
    outcomes: dict[str, Outcome] = {}
    monkeypatch.setattr(one_run, "fetch", lambda request, link: outcomes.get(link.resource_id, OK))
    return outcomes


@pytest.fixture
def nothing_in_hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(leases.current(), "_in_flight", set())  # other tests claim and leave it at that
    yield
    assert not leases.busy(), "a token was never discarded"
