"""A web server on many loopback addresses, in a process of its own: small files, maybe after a while."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import sys
from collections.abc import Iterator

PORT = 18_471


def addresses(hosts: int) -> list[str]:
    """So many addresses of the loopback network."""
    return [f"127.{64 + n // 65_000}.{n // 250 % 250}.{n % 250 + 1}" for n in range(hosts)]


async def _serve(hosts: int, size: int, delay: float, ready: object) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if delay:
                await asyncio.sleep(delay)
            path = head.split(b" ", 2)[1]
            body = (path * (size // len(path) + 1))[:size]
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
                % len(body)
                + body
            )
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(answer, addresses(hosts), PORT, backlog=1024)
    ready.set()  # type: ignore[attr-defined]
    await server.serve_forever()


def _run(hosts: int, size: int, delay: float, ready: object) -> None:
    asyncio.run(_serve(hosts, size, delay, ready))


@contextlib.contextmanager
def origin(hosts: int, size: int, delay: float = 0) -> Iterator[None]:
    """The server, running."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_run, args=(hosts, size, delay, ready), daemon=True)
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
