"""Slow hosts that send a little all the time: legal, and no reason to keep other edits waiting."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from _stack.process import wait_until
from world import World

SLOW_LINKS = 200
EDITS = 40


class _Drip(BaseHTTPRequestHandler):
    """A file of 600 KB, 3 KB a second."""

    parts: Counter[str]

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/csv")
        self.send_header("Content-Length", "600000")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(2000):
                self.wfile.write(b"1,2,3\n" * 50)
                self.parts[self.path] += 1
                time.sleep(0.1)

    def log_message(self, *arguments: object) -> None:
        """Nothing to say."""


@dataclass(frozen=True)
class Drips:
    """The slow server.

    :ivar parts: how many tenths of a second of a file were sent, by path, in all answers
    """

    url: str
    parts: Counter[str]


@pytest.fixture
def drips() -> Iterator[Drips]:
    parts: Counter[str] = Counter()
    # Answers of an earlier test may go on; they count for its server.
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Drip", (_Drip,), {"parts": parts}))
    server.daemon_threads = True
    server.request_queue_size = SLOW_LINKS
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Drips(f"http://127.0.0.1:{server.server_address[1]}", parts)
    server.shutdown()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("pool", "beside"), [("threads", 0), ("threads", 2), ("prefork", 0)])
def test_an_edit_that_takes_long_gives_its_place_to_the_next(
    world: World, start: Callable[..., Any], drips: Drips, pool: str, beside: int
) -> None:
    """Two places, and ``beside`` more for transfers that go on beside them."""
    slow = world.add_urls([f"{drips.url}/slow-{number}.csv" for number in range(6 + beside)], per_dataset=1)
    edited = world.add_urls([world.file(f"/first-{number}.csv") for number in range(2)], per_dataset=1)
    plugins = "archiver archiver_hears archiver_gives_way"
    start("priority", "--concurrency=2", f"--pool={pool}", plugins=plugins, slow_transfers=beside)
    world.request("priority", slow)

    waits = [world.seconds_to_start(resource_id) for resource_id in edited]

    assert max(waits) < 15, "a slow transfer would take 60"
    moved = "SELECT count(*) FROM archiver_request WHERE queue = 'bulk' AND attempts = 0 AND holds = 0 AND held IS NULL"
    assert wait_until(lambda: world.scalar(moved) == 6, 30)
    assert world.scalar("SELECT count(*) FROM archival WHERE verdict <> 'ok'") == 0, "nothing is said of them yet"
    assert world.scalar("SELECT count(*) FROM archiver_request WHERE lease_token IS NOT NULL") == beside, "they go on"

    start("bulk", "--concurrency=6", plugins=plugins)
    taken = "SELECT count(*) FROM archiver_request WHERE lease_token IS NOT NULL"
    assert wait_until(lambda: world.scalar(taken) == len(slow), 30)
    before = Counter(drips.parts)
    assert wait_until(lambda: all(drips.parts[path] - parts > 30 for path, parts in before.items()), 30)
    assert world.scalar(taken) == len(slow), "the round has time for them"


@pytest.mark.timed
@pytest.mark.timeout(150)
@pytest.mark.parametrize("per_dataset", [64, 4])
def test_slow_transfers_do_not_keep_edits_waiting(
    world: World, start: Callable[..., Any], drips: Drips, per_dataset: int
) -> None:
    urls = [f"{drips.url}/slow-{number}.csv" for number in range(SLOW_LINKS)]
    slow = world.add_urls(urls, per_dataset=per_dataset)
    edited = world.add_urls([world.file(f"/first-{number}.csv") for number in range(EDITS)], per_dataset=1)
    start("priority")
    world.request("priority", slow)

    waits = sorted(world.seconds_to_start(resource_id) for resource_id in edited)

    p95 = waits[EDITS * 95 // 100 - 1]
    print(f"start after an edit: median {waits[EDITS // 2]:.2f} s, p95 {p95:.2f} s, worst {waits[-1]:.2f} s")  # noqa: T201 - a measurement, shown with -s
    assert world.scalar("SELECT count(*) FROM archiver_request WHERE lease_token IS NOT NULL") >= 16, "all the while"
    assert p95 < 1
