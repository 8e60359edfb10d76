"""HTTP/1.1 on a socket, as far as one answer needs it, with every wait and every size bounded.

Why not ``http.client`` (or what stands on it): its timeouts are per ``recv``, so a byte a second holds a
thread for hours; its limits on headers are globals of the module; it takes an early hint (103) for the answer
and the first of two different Content-Lengths for the truth; it waits without a limit for the end of chunk
extensions and trailers. This reads as leniently as browsers do wherever a person would get the file, and
never further than it must.

Every trouble is a :class:`Failure`; nothing else leaves this module for anything a remote does.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from . import addresses
from .outcome import Cause, Certificate, Limits

RECEIVE_BYTES = 65_536
CHUNK_LINE_BYTES = 1_024
STOP_POLL_SECONDS = 0.5
"""How long a stop may go unseen while the remote is silent."""


class Failure(Exception):
    """The end of a fetch, raised where it is seen; ``http.fetch`` makes an Outcome of it."""

    def __init__(self, cause: Cause, detail: str, transient: bool = False, /, **facts: str | int) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.transient = transient
        self.facts = facts
        self.certificate: Certificate | None = None


def unreachable(detail: str, /, **facts: str | int) -> Failure:
    """A failure of the connection; another try may help."""
    return Failure(Cause.UNREACHABLE, detail, True, **facts)


def server_error(detail: str, /, **facts: str | int) -> Failure:
    """A failure of the server; another try may help."""
    return Failure(Cause.SERVER_ERROR, detail, True, **facts)


class Deadline:
    """How long a fetch still waits: the total time, and whether we were told to stop.

    The clock is monotonic and nothing a remote sends moves ``ends``.
    """

    def __init__(self, limits: Limits, stop: threading.Event | None = None) -> None:
        self.limits = limits
        self.stop = stop
        self.started = time.monotonic()
        self.ends = self.started + limits.total_timeout

    @property
    def spent(self) -> float:
        """Seconds since the fetch began."""
        return time.monotonic() - self.started

    def remaining(self, at_most: float) -> float:
        """Seconds that may be waited now, more than 0.

        :raises Failure: the total time is over, or we are to stop
        """
        if self.stop is not None and self.stop.is_set():
            raise Failure(Cause.OWN_FAULT, "stopped")
        remaining = self.ends - time.monotonic()
        if remaining <= 0:
            raise unreachable("total-timeout", seconds=round(self.limits.total_timeout))
        return min(remaining, at_most)


class Stream:
    """Bytes from a connected socket that does not block, under ``Deadline``, the limits on gaps and the floor on the
    rate."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.sock = sock
        self.deadline = deadline
        self.received = 0
        self.at_once = RECEIVE_BYTES
        self._window_ends = 0.0
        self._window_bytes = 0
        self._returned_at = 0.0

    def send(self, data: bytes) -> None:
        """:raises Failure: the remote took too long or is gone"""
        try:
            self._send_all(memoryview(data))
        except TimeoutError:
            self.deadline.remaining(1)
            raise unreachable("first-byte-timeout", seconds=_seconds(self.deadline.limits.first_byte_timeout)) from None
        except ConnectionError:
            # The answer may already be here: servers refuse a request early and close (RFC 9112 §9.5).
            return
        except OSError as e:
            raise _broken(e) from e

    def receive(self) -> bytes:
        """The next bytes; ``b""`` at the end of the stream.

        :raises Failure: they did not come in time, or the connection broke
        """
        # What we do between two calls, as writing to the disk, is none of the remote's fault.
        self._window_ends += time.monotonic() - self._returned_at
        limits = self.deadline.limits
        gap, detail = limits.read_timeout, "read-timeout"
        if not self.received:
            gap, detail = limits.first_byte_timeout, "first-byte-timeout"
        gap_ends = time.monotonic() + gap
        while True:
            now = time.monotonic()
            if now >= gap_ends:
                self.deadline.remaining(1)
                raise unreachable(detail, seconds=_seconds(gap))
            data = self._receive_until(min(gap_ends, self._floor_ends(now)), now)
            if data is not None:
                if not self.received:
                    self._open_window(time.monotonic())
                self.received += len(data)
                self._returned_at = time.monotonic()
                return data

    def progress(self, amount: int) -> None:
        """Count ``amount`` bytes that matter (of a head or a body) for the floor on the rate."""
        self._window_bytes += amount

    def close(self) -> None:
        # No orderly goodbye: what the remote still sends is not wanted.
        self.sock.close()

    def _send_all(self, data: memoryview) -> None:
        ends = time.monotonic() + self.deadline.limits.first_byte_timeout
        while data:
            wait = self.deadline.remaining(ends - time.monotonic())
            if wait <= 0:
                raise TimeoutError
            try:
                data = data[self.sock.send(data) :]
            except _NOT_NOW as e:
                self._wait(_events(e, select.POLLOUT), wait)

    def _receive_until(self, until: float, now: float) -> bytes | None:
        wait = self.deadline.remaining(until - now)
        try:
            # Most times nothing is there yet; but what is already decrypted is not seen by waiting.
            if isinstance(self.sock, ssl.SSLSocket) or self._wait(select.POLLIN, wait):
                return self.sock.recv(self.at_once)
        except _NOT_NOW as e:
            self._wait(_events(e, select.POLLIN), wait)
        except OSError as e:
            raise _broken(e) from e
        return None

    def _wait(self, events: int, seconds: float) -> bool:
        """Until the socket is ready, so long at most, or until it is time to look whether to stop."""
        if self.deadline.stop is not None:
            seconds = min(seconds, STOP_POLL_SECONDS)
        return addresses.wait_for(self.sock, events, seconds)

    def _open_window(self, now: float) -> None:
        self._window_ends = now + self.deadline.limits.floor_seconds
        self._window_bytes = 0

    def _floor_ends(self, now: float) -> float:
        """When the present window of the floor ends; an old window is judged and the next one opened."""
        limits = self.deadline.limits
        if not self.received or not limits.floor_rate:
            return float("inf")
        if now >= self._window_ends:
            if self._window_bytes < limits.floor_rate * limits.floor_seconds:
                raise unreachable("too-slow", rate=limits.floor_rate)
            self._open_window(now)
        return self._window_ends


def _seconds(value: float) -> str:
    return f"{value:g}"


_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket that does not block raises where it would have to wait."""


def _events(error: OSError, usual: int) -> int:
    """What to wait for: TLS may have to read in order to write, and the other way round."""
    if isinstance(error, ssl.SSLWantReadError):
        return select.POLLIN
    return select.POLLOUT if isinstance(error, ssl.SSLWantWriteError) else usual


def _broken(error: OSError) -> Failure:
    """What a socket error in the middle of a conversation means."""
    if isinstance(error, ssl.SSLError):
        return unreachable("tls-broken")
    return unreachable("reset")


# -- the head ----------------------------------------------------------------------------------------------

_STATUS_LINE = re.compile(rb"HTTP/1\.\d[ \t]+([1-9]\d\d)(?:[ \t].*)?", re.DOTALL)
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@dataclass
class Head:
    """Status and headers of an answer. Names are lower-case, values are bytes read as ISO-8859-1.

    ``headers`` has values of one name joined by ", "; ``every`` keeps them apart.
    """

    status: int
    every: dict[str, list[str]] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        return {name: ", ".join(values) for name, values in self.every.items()}

    def get(self, name: str) -> str:
        """The first value, or ``""``."""
        values = self.every.get(name)
        return values[0] if values else ""


def read_head(stream: Stream) -> tuple[Head, bytes]:
    """The final head (interim answers 1xx are passed over, RFC 9110 §15.2) and the bytes after it.

    :raises Failure: no HTTP, more than the limits allow, or the connection ended
    """
    budget = stream.deadline.limits.max_header_bytes
    data = b""
    while True:
        raw, data = _read_until_blank_line(stream, data, budget)
        budget -= len(raw)
        head = _parse_head(raw, stream.deadline.limits)
        # 101 is final and nobody asked for it; the status rules deal with it.
        if not 100 <= head.status < 200 or head.status == 101:
            return head, data


def _read_until_blank_line(stream: Stream, data: bytes, budget: int) -> tuple[bytes, bytes]:
    buffer = bytearray(data)
    searched = 0
    while True:
        end = _END_OF_HEAD.search(buffer, max(0, searched - 3))
        if end and end.end() <= budget:
            return bytes(buffer[: end.start()]), bytes(buffer[end.end() :])
        if end or len(buffer) > budget:
            raise server_error("headers-too-large", limit=stream.deadline.limits.max_header_bytes)
        if buffer and not b"HTTP/1.".startswith(buffer[:7]):
            raise server_error("not-http")
        searched = len(buffer)
        more = stream.receive()
        if not more:
            raise server_error("head-cut") if buffer else unreachable("no-answer")
        stream.progress(len(more))
        buffer += more


def _parse_head(raw: bytes, limits: Limits) -> Head:
    lines = raw.replace(b"\r\n", b"\n").split(b"\n")
    status = _STATUS_LINE.fullmatch(lines[0])
    if not status:
        raise server_error("not-http")
    if len(lines) - 1 > limits.max_headers:
        raise server_error("headers-too-many", limit=limits.max_headers)
    head = Head(int(status[1]))
    last: list[str] | None = None
    for line in lines[1:]:
        text = line.decode("latin-1")
        if text[:1] in (" ", "\t"):
            # Folded lines are obsolete but sent; RFC 9112 §5.2 has a client put a space in their place.
            if last is not None:
                last[-1] = f"{last[-1]} {_clean(text)}".strip()
            continue
        name, colon, value = text.partition(":")
        name = name.rstrip(" \t").lower()
        # Browsers pass over a line that is no header; refusing the answer would be a false alarm.
        if not colon or not _TOKEN.fullmatch(name):
            last = None
            continue
        last = head.every.setdefault(name, [])
        last.append(_clean(value))
    return head


def _clean(value: str) -> str:
    """Surrounding blanks go; other controls become spaces (RFC 9110 §5.5), so a value is always one line."""
    value = value.strip(" \t")
    if value.isprintable():
        return value
    return re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", " ", value).strip(" \t")


# -- the body ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Framing:
    """How the end of a body is known (RFC 9112 §6.3): length, chunks, or (neither) the end of the stream."""

    length: int | None = None
    chunked: bool = False
    codings: tuple[str, ...] = ()
    """Transfer codings below ``chunked``, then content codings, in the order to undo them."""


def framing(head: Head, method: str) -> Framing:
    """Where browsers know what is meant, so do we.

    :raises Failure: the head contradicts itself
    """
    if method == "HEAD" or head.status in (204, 205, 304):
        return Framing(0)
    content = _listed(head, "content-encoding")
    transfer = _listed(head, "transfer-encoding")
    if transfer:
        if "chunked" not in transfer:
            raise server_error("bad-framing")
        # Transfer-Encoding wins over Content-Length (RFC 9112 §6.3, 3), as in browsers. Said twice, mostly by a
        # server and a proxy before it, it is still done once.
        below = [coding for coding in transfer if coding != "chunked"]
        return Framing(None, True, tuple(reversed(content + below)))
    return Framing(_length(head), False, tuple(reversed(content)))


def _listed(head: Head, name: str) -> list[str]:
    words = ",".join(head.every.get(name, [])).lower().split(",")
    return [word for word in (w.strip() for w in words) if word and word != "identity"]


def _length(head: Head) -> int | None:
    given = {part.strip() for value in head.every.get("content-length", []) for part in value.split(",")}
    if not given:
        return None
    if len(given) > 1:
        raise server_error("conflicting-length")
    text = given.pop()
    if not (text.isascii() and text.isdigit()):
        return None  # as in browsers: what is no number says nothing
    # More digits than any file has; int() of thousands of them would raise.
    return int(text) if len(text) <= 18 else 10**18


class Body:
    """The bytes of a body as they come off the wire, framing removed, codings still on.

    :ivar read: bytes given out so far
    """

    def __init__(self, stream: Stream, ahead: bytes, frame: Framing) -> None:
        self.read = 0
        self._stream = stream
        self._ahead = ahead
        self._frame = frame

    def __iter__(self) -> Iterator[bytes]:
        if self._frame.chunked:
            parts = self._chunks()
        elif self._frame.length is not None:
            parts = self._counted(self._frame.length)
        else:
            parts = self._all()
        for part in parts:
            self.read += len(part)
            self._stream.progress(len(part))
            yield part

    def _counted(self, length: int) -> Iterator[bytes]:
        left = length
        if self._ahead and left:
            yield self._ahead[:left]
            left -= min(left, len(self._ahead))
        while left:
            data = self._stream.receive()
            if not data:
                raise server_error("truncated", received=length - left, expected=length)
            yield data[:left]
            left -= min(left, len(data))

    def _all(self) -> Iterator[bytes]:
        if self._ahead:
            yield self._ahead
        while data := self._stream.receive():
            yield data

    def _chunks(self) -> Iterator[bytes]:
        chunks = Dechunker(self._stream.deadline.limits.max_header_bytes)
        data = self._ahead
        while True:
            content = chunks.feed(data)
            if content:
                yield content
            if chunks.broken:
                raise server_error("bad-framing")
            if chunks.ended:
                self._trailers(chunks.rest)
                return
            data = self._stream.receive()
            if not data:
                raise server_error("truncated-chunked", received=self.read)

    def _trailers(self, rest: bytes) -> None:
        """Read over them. The content is complete without, so a stream that ends in them is forgiven."""
        buffer = bytearray(rest)
        seen = 0
        limits = self._stream.deadline.limits
        while True:
            at = buffer.find(b"\n")
            if at >= 0:
                if not buffer[:at].strip(b"\r"):
                    return
                seen += at + 1
                del buffer[: at + 1]
                continue
            if seen + len(buffer) > limits.max_header_bytes:
                raise server_error("headers-too-large", limit=limits.max_header_bytes)
            data = self._stream.receive()
            if not data:
                return
            buffer += data


class Dechunker:
    """Takes the framing off chunked content (RFC 9112 §7.1), as much at once as has come.

    :ivar ended: the last chunk was read; ``rest`` is what follows it
    :ivar broken: what came is not chunked; ``feed`` has given out what was good before
    """

    def __init__(self, overhead_allowed: int) -> None:
        self.ended = False
        self.broken = False
        self.rest = b""
        self._left = 0
        self._at_end_of_chunk = False
        # Whoever keeps sending more framing than content is not sending a file.
        self._credit = overhead_allowed

    def feed(self, data: bytes) -> bytes:
        """The content in ``data`` and what was left of earlier data."""
        data = self.rest + data
        at = 0
        parts = []
        while not self.ended and not self.broken:
            if self._left:
                part = data[at : at + self._left]
                if not part:
                    break
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                self._credit += 2 * len(part)
                self._at_end_of_chunk = not self._left
                continue
            end = data.find(b"\n", at, at + CHUNK_LINE_BYTES)
            if end < 0:
                self.broken = len(data) - at >= CHUNK_LINE_BYTES
                break
            self._line(data[at:end].rstrip(b"\r"))
            at = end + 1
        self.rest = data[at:]
        return b"".join(parts)

    def _line(self, line: bytes) -> None:
        if self._at_end_of_chunk:
            self._at_end_of_chunk = False
            self.broken = bool(line)
            return
        self._credit -= len(line) + 2
        size = _chunk_size(line)
        self.broken = size is None or self._credit < 0
        self.ended = size == 0
        self._left = size or 0


_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;|$)")


def _chunk_size(line: bytes) -> int | None:
    found = _CHUNK_SIZE.match(line)
    return int(found[1], 16) if found else None


# -- codings -----------------------------------------------------------------------------------------------

_DECODED_AT_ONCE = 65_536


class Decoder:
    """Undoes one coding piece by piece, never holding more than a piece.

    gzip may have several members one after another (RFC 1952 §2.2); "deflate" is zlib by RFC 9110 §8.4.1.2,
    raw deflate by some servers.
    """

    def __init__(self, coding: str) -> None:
        self._gzip = coding in ("gzip", "x-gzip")
        self._zlib = zlib.decompressobj(31 if self._gzip else 15)
        self._fresh = True
        self._ended = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        """:raises Failure: not of that coding"""
        try:
            yield from self._decode(data)
        except zlib.error as e:
            raise server_error("bad-encoding") from e

    def finish(self) -> None:
        """:raises Failure: the coded bytes have no end"""
        if not self._zlib.eof and not self._fresh:
            raise server_error("bad-encoding")

    def _decode(self, data: bytes) -> Iterator[bytes]:
        while data and not self._ended:
            if self._zlib.eof:
                if not self._gzip or data[:1] != b"\x1f":
                    self._ended = True  # padding after the last member, which gzip(1) also passes over
                    return
                self._zlib = zlib.decompressobj(31)
            piece = self._first(data) if self._fresh and not self._gzip else self._inflate(data)
            self._fresh = False
            data = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
            if piece:
                yield piece

    def _inflate(self, data: bytes) -> bytes:
        return self._zlib.decompress(data, _DECODED_AT_ONCE)

    def _first(self, data: bytes) -> bytes:
        try:
            return self._inflate(data)
        except zlib.error:
            self._zlib = zlib.decompressobj(-15)
            return self._inflate(data)


DECODABLE = frozenset({"gzip", "x-gzip", "deflate"})


def _any_amount(made: int) -> None:
    """Lets a coding give as much as it likes."""


def decoded(
    parts: Iterator[bytes], codings: tuple[str, ...], watch: Callable[[int], None] = _any_amount
) -> Iterator[bytes]:
    """``parts`` with ``codings`` undone; all of them are in ``DECODABLE``.

    Nothing (``b""``) is given out where a piece brought nothing, so that whoever reads keeps control: a gzip header may
    name a file in gigabytes of characters, and a coding below the last may expand without end.

    :param watch: told how much each coding has given so far; raises when that is too much
    :raises Failure: the bytes are not what the codings say
    """
    for coding in codings:
        parts = _undone(parts, Decoder(coding), watch)
    return parts


def _undone(parts: Iterator[bytes], decoder: Decoder, watch: Callable[[int], None]) -> Iterator[bytes]:
    made = 0
    for part in parts:
        for piece in decoder.decode(part):
            made += len(piece)
            watch(made)
            yield piece
        yield b""
    decoder.finish()
