"""The origin server of tests, demo and benchmarks: HTTP on loopback, with programmed answers.

Standard library only, because the demo imports it before anything is installed. Answers that break the protocol itself
(slow bytes, wrong lengths, TLS faults) are in ``origin/``, served by the same :class:`LoopbackServer`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import http
import inspect
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

T = TypeVar("T")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LOOPBACK = ("127.0.0.1",)
GATE_SECONDS = 60
"""Seconds after which a closed gate lets an answer pass."""


class LoopbackServer:
    """Listening sockets on loopback, served by an event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="origin", daemon=True)
        self._thread.start()

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def listen(
        self, handler: Handler, hosts: Sequence[str] = LOOPBACK, port: int = 0, context: ssl.SSLContext | None = None
    ) -> int:
        """Serve connections with ``handler``; the connection is closed when it returns.

        :param port: 0 chooses a free one, for a single host
        :returns: the port
        :raises OSError: when a port is taken
        """
        return self._run(self._listen(handler, hosts, port, context))

    def close(self) -> None:
        """Drop all connections and stop listening."""
        if self._loop.is_closed():
            return
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _listen(self, handler: Handler, hosts: Sequence[str], port: int, context: ssl.SSLContext | None) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            self._connections.add(task)
            try:
                await handler(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # the client hung up, or the server was closed
            finally:
                self._connections.discard(task)
                if not writer.transport.is_closing():
                    writer.close()

        server = await asyncio.start_server(serve, hosts, port, ssl=context, limit=1 << 20, backlog=1024)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)


@dataclass(frozen=True)
class Request:
    """What a client asked.

    :ivar at: ``time.monotonic()`` when its head was read
    """

    method: str
    path: str
    head: bytes
    at: float

    @functools.cached_property
    def headers(self) -> dict[str, str]:
        """Names as the client wrote them."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


@dataclass(frozen=True)
class Answer:
    """What the origin answers.

    :ivar headers: in addition to, or in place of, the right Content-Length
    :ivar delay: seconds of silence before the answer
    :ivar gate: silence until the test sets this event, at most :data:`GATE_SECONDS`
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0
    gate: threading.Event | None = None


Program = Callable[[Request], Answer] | Callable[[Request], Awaitable[Answer]]

NOT_FOUND = Answer(b"not here", 404, {"Content-Type": "text/plain"})


def revalidating(answer: Answer) -> Callable[[Request], Answer]:
    """A program that gives ``answer``, if it is a 200, an ETag, and answers 304 to a client that sends it back."""
    if answer.status != 200:
        return lambda request: answer
    etag = f'"{hashlib.sha256(answer.body).hexdigest()[:16]}"'
    tagged = replace(answer, headers={**answer.headers, "ETag": etag})
    unchanged = Answer(b"", 304, {"ETag": etag})
    return lambda request: unchanged if request.headers.get("If-None-Match") == etag else tagged


class Origin(LoopbackServer):
    """``url = origin.serve("/data.csv", b"a,b\\n1,2\\n")``, then look at ``origin.requests``.

    A path that is not served is a 404. ``serve`` again replaces the answer; ``answer`` takes a function.
    """

    def __init__(
        self, hosts: Sequence[str] = LOOPBACK, port: int = 0, rest: Program = lambda request: NOT_FOUND
    ) -> None:
        """:param rest: answers every path that is not served"""
        super().__init__()
        self.requests: list[Request] = []
        self._rest = rest
        self._programs: dict[str, Program] = {}
        self._threads = ThreadPoolExecutor(256, thread_name_prefix="answer")
        self._host = hosts[0]
        self.port = self.listen(self._serve_connection, hosts, port)

    @property
    def host(self) -> str:
        return f"{self._host}:{self.port}"

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def serve(
        self,
        path: str,
        body: bytes = b"",
        *,
        status: int = 200,
        content_type: str = "text/csv",
        headers: Mapping[str, str] | None = None,
        gate: threading.Event | None = None,
    ) -> str:
        """Answer ``path`` like this from now on; returns its URL. ``gate``: answer only once it is set."""
        answer = Answer(body, status, {"Content-Type": content_type, **(headers or {})}, gate=gate)
        return self.answer(path, lambda _: answer)

    def redirect(self, path: str, to: str, status: int = 301) -> str:
        return self.serve(path, status=status, headers={"Location": to})

    def answer(self, path: str, program: Program) -> str:
        """Answer ``path`` with what ``program(request)`` returns, anew for each request; returns its URL.

        A plain function runs in a thread, so it may block; a coroutine function runs in the server's event loop.
        """
        self._programs[path] = program
        return self.url(path)

    def asked(self, path: str, method: str | None = None) -> int:
        """How often ``path`` was asked for."""
        return sum(one.path == path and method in (None, one.method) for one in self.requests)

    def close(self) -> None:
        super().close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- one connection ----------------------------------------------------------------------------------------------

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # the client has no further request
            while await self._serve_request(reader, writer):
                pass

    async def _serve_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """:returns: whether the connection can carry another request"""
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, version = head.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)
        request = Request(method, target, head[:-4], time.monotonic())
        self.requests.append(request)
        if method == "POST":
            await reader.readexactly(int(request.headers.get("Content-Length") or 0))
        answer = await self._answer_for(request)
        if answer.delay:
            await asyncio.sleep(answer.delay)
        if answer.gate:
            await _opened(answer.gate)
        length = str(len(answer.body))
        headers = {"Content-Length": length, **answer.headers}
        writer.write(_head(answer.status, headers) + (answer.body if method != "HEAD" else b""))
        await writer.drain()
        # Behind a length that is not the body's, no further answer can be told apart.
        closes = headers["Content-Length"] != length or headers.get("Connection") == "close"
        return version == "HTTP/1.1" and not closes and b"\r\nConnection: close" not in head

    async def _answer_for(self, request: Request) -> Answer:
        program = self._programs.get(request.path) or self._programs.get(request.path.partition("?")[0]) or self._rest
        if inspect.iscoroutinefunction(program):
            answer: Answer = await program(request)
            return answer
        return await self._loop.run_in_executor(self._threads, program, request)  # type: ignore[arg-type]


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {phrase}\r\n{lines}\r\n".encode("latin-1")


async def _opened(gate: threading.Event) -> None:
    end = time.monotonic() + GATE_SECONDS
    while not gate.is_set() and time.monotonic() < end:
        await asyncio.sleep(0.01)
