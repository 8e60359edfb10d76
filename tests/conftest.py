"""Fixtures of every test, also of those that need no CKAN.

The fixtures for tests with a CKAN and its servers are in ``site_fixtures.py``. They exist whenever pytest runs with
CKAN's own plugin: always, except in ``bin/test tests/unit``.
"""

from __future__ import annotations

import fcntl
import random
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

import loopback_only

loopback_only.install()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run the tests in another order, the same for a seed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    seed = config.getoption("shuffle")
    if seed is not None:
        random.Random(seed).shuffle(items)  # noqa: S311 - not a secret


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.has_plugin("ckan_fixtures"):
        config.pluginmanager.import_plugin("site_fixtures")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test that measures time while no other run (``.ci/run`` has three in parallel) is inside a test.

    Such a test closes the gate while it waits: no other test begins, else one of the others would always be running.
    """
    is_timed = item.get_closest_marker("timed") is not None
    with Path(loopback_only.__file__).open() as gate, Path(__file__).open() as tests:
        fcntl.flock(gate, fcntl.LOCK_EX if is_timed else fcntl.LOCK_SH)
        if not is_timed:
            fcntl.flock(gate, fcntl.LOCK_UN)
        fcntl.flock(tests, fcntl.LOCK_EX if is_timed else fcntl.LOCK_SH)
        return (yield)


@pytest.fixture(autouse=True)
def stays_on_this_machine() -> Iterator[None]:
    """Fail a test that looked up a name or connected beyond loopback, even if it handled the refusal."""
    loopback_only.refused.clear()
    yield
    assert not loopback_only.refused, f"left the machine: {loopback_only.refused}"


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """``wait_until(lambda: …, timeout=10)``: poll until it is true; fails the test when it does not become true."""

    def wait(condition: Callable[[], object], timeout: float = 10, what: str = "") -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"not after {timeout} s: {what or 'what was waited for'}"
            time.sleep(0.02)

    return wait
