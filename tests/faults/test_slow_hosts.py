"""Slow hosts that send a little all the time: legal, and no reason to keep other edits waiting."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from world import World

SLOW_LINKS = 200
EDITS = 40


class _Drip(BaseHTTPRequestHandler):
    """A file of 600 KB, 3 KB a second."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/csv")
        self.send_header("Content-Length", "600000")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(2000):
                self.wfile.write(b"1,2,3\n" * 50)
                time.sleep(0.1)

    def log_message(self, *arguments: object) -> None:
        """Nothing to say."""


@pytest.fixture
def drips() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Drip)
    server.daemon_threads = True
    server.request_queue_size = SLOW_LINKS
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.mark.timed
@pytest.mark.timeout(150)
@pytest.mark.parametrize("per_dataset", [64, 4])
def test_slow_transfers_do_not_keep_edits_waiting(
    world: World, start: Callable[..., Any], drips: str, per_dataset: int
) -> None:
    urls = [f"{drips}/slow-{number}.csv" for number in range(SLOW_LINKS)]
    slow = world.add_urls(urls, per_dataset=per_dataset)
    edited = world.add_urls([world.file(f"/first-{number}.csv") for number in range(EDITS)], per_dataset=1)
    start("priority")
    world.request("priority", slow)

    waits = sorted(world.seconds_to_start(resource_id) for resource_id in edited)

    p95 = waits[EDITS * 95 // 100 - 1]
    print(f"start after an edit: median {waits[EDITS // 2]:.2f} s, p95 {p95:.2f} s, worst {waits[-1]:.2f} s")  # noqa: T201 - a measurement, shown with -s
    assert world.scalar("SELECT count(*) FROM archiver_request WHERE lease_token IS NOT NULL") >= 16, "all the while"
    assert p95 < 1
