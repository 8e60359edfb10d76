"""An origin that misbehaves as told: asyncio, real sockets, real TLS, all on loopback.

A path's first segment names the case that answers it; listeners other than plain HTTP have names of their own
(``ports``): one for each kind of certificate, and some that are broken before any HTTP could be spoken.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from origin_server import Handler, LoopbackServer

from .certificates import Authority

Serve = (
    bytes
    | Callable[["Conversation"], Awaitable[None]]
    | Mapping[str, "bytes | Callable[[Conversation], Awaitable[None]]"]
)


class Conversation:
    """One request and the means to answer it badly."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        head: bytes,
        ports: Mapping[str, int],
    ) -> None:
        self._ports = ports
        self.reader = reader
        self.writer = writer
        self.raw = head
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ", 2)
        pairs = (line.partition(":") for line in lines[1:] if line)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}

    async def send(self, data: bytes) -> None:
        """``{name}`` of a listener becomes its port."""
        head = data[:1000]
        if b":{" in head:
            for name, port in self._ports.items():
                head = head.replace(b":{%s}" % name.encode(), b":%d" % port)
        self.writer.write(head + data[1000:])
        await self.writer.drain()

    async def drip(self, data: bytes, seconds: float) -> None:
        """One byte after the other."""
        for byte in data:
            await self.send(bytes([byte]))
            await asyncio.sleep(seconds)

    async def endless(self, piece: bytes) -> None:
        while True:
            await self.send(piece)

    async def gone(self) -> None:
        """Wait until the client hangs up."""
        await self.reader.read()

    def reset(self) -> None:
        """A TCP reset instead of a proper end."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def cut(self) -> None:
        """Drop the connection without a goodbye (TLS: no close_notify)."""
        self.writer.transport.abort()


class HostileOrigin(LoopbackServer):
    """Serves ``cases`` (name → what to do) while it is used as a context manager.

    :ivar requests: requests seen by case name
    :ivar heads: the raw heads seen by case name
    :ivar connections: connections seen by listener name
    """

    def __init__(self, cases: Mapping[str, Serve], authority: Authority) -> None:
        super().__init__()
        self.cases = cases
        self.authority = authority
        self.ports: dict[str, int] = {}
        self.requests: Counter[str] = Counter()
        self.heads: dict[str, list[bytes]] = {}
        self.connections: Counter[str] = Counter()
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> HostileOrigin:
        self._listen_as("http", self._http)
        self._listen_as("http6", self._http, host="::1")
        for kind, context in self.authority.contexts.items():
            self._listen_as(kind, self._http, context)
        for name, handler in RAW.items():
            self._listen_as(name, handler)
        self.ports["refused"] = self._unheard()
        self.ports["full"] = self._full()
        return self

    def close(self) -> None:
        super().close()
        for sock in self._sockets:
            sock.close()

    def _listen_as(
        self, name: str, handler: Handler, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections[name] += 1
            await handler(reader, writer)

        self.ports[name] = self.listen(counted, [host], context=context)

    def _unheard(self) -> int:
        """A port that is taken, without a listener."""
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self._sockets.append(sock)
        return int(sock.getsockname()[1])

    def _full(self) -> int:
        """A port whose queue is full, so that new connections are not answered."""
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        self._sockets.append(sock)
        port = int(sock.getsockname()[1])
        for _ in range(3):
            waiting = socket.socket()
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(("127.0.0.1", port))
            self._sockets.append(waiting)
        return port

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        talk = Conversation(reader, writer, head, self.ports)
        place = talk.target if talk.target.startswith("/") else "/" + talk.target.split("/", 3)[3]
        name, _, rest = place[1:].partition("?")[0].partition("/")
        self.requests[name] += 1
        self.heads.setdefault(name, []).append(head)
        serve = self.cases[name]
        if isinstance(serve, Mapping):
            serve = serve["/" + rest] if "/" + rest in serve else serve["*"]
        if isinstance(serve, bytes):
            await talk.send(serve if talk.method != "HEAD" else serve.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        else:
            await serve(talk)


# -- listeners that never get to HTTP ------------------------------------------------------------------------


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _closing_after_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    await reader.read(65_536)
    writer.close()


async def _resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _saying(data: bytes) -> Handler:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(data)
        await writer.drain()
        writer.close()

    return say


async def _dripping_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The head of a TLS record of 16 KB, then a byte now and then."""
    await reader.read(65_536)
    writer.write(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
    while True:
        writer.write(b"\x03")
        await writer.drain()
        await asyncio.sleep(0.05)


RAW: dict[str, Handler] = {
    "silent": _silent,
    "closing-after-hello": _closing_after_hello,
    "resetting": _resetting,
    "tls-alert": _saying(b"\x15\x03\x03\x00\x02\x02\x28"),  # handshake_failure
    "tls-too-old": _saying(b"\x15\x03\x01\x00\x02\x02\x46"),  # protocol_version
    "tls-plain": _saying(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "tls-drip": _dripping_tls,
}
