"""The origin server on many loopback addresses, in a process of its own: small files, after a delay if one is set."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import threading
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from origin_server import Answer, Origin, Request  # noqa: E402 - the path is set above

PORT = 18_471
HEADERS = {"Content-Type": "text/csv", "Connection": "close"}


def addresses(hosts: int) -> list[str]:
    """So many addresses of the loopback network."""
    return [f"127.{64 + n // 65_000}.{n // 250 % 250}.{n % 250 + 1}" for n in range(hosts)]


def _serve(hosts: int, size: int, delay: float, ready: Event) -> None:
    async def answer(request: Request) -> Answer:
        path = request.path.encode()
        return Answer((path * (size // len(path) + 1))[:size], headers=HEADERS, delay=delay)

    with Origin(addresses(hosts), PORT, rest=answer):
        ready.set()
        threading.Event().wait()  # until the process is terminated


@contextlib.contextmanager
def origin(hosts: int, size: int, delay: float = 0) -> Iterator[None]:
    """The server, running."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_serve, args=(hosts, size, delay, ready), daemon=True)
    process.start()
    try:
        if not ready.wait(20):
            sys.exit("The test server did not start.")
        yield
    finally:
        process.terminate()
        process.join()


def url_sql(hosts: int) -> str:
    """The SQL expression of resource n's URL, spread over the hosts."""
    n = f"n % {hosts}"
    address = f"'http://127.' || 64 + {n} / 65000 || '.' || {n} / 250 % 250 || '.' || {n} % 250 + 1"
    return rf"{address} || '\:{PORT}/file-' || n || '.csv'"
