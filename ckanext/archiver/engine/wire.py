"""HTTP/1.1 on a :class:`~ckanext.archiver.engine.stream.Stream`, as far as reading one response needs it.

Why not ``http.client`` (or what is built on it): its limits on headers are globals of the module; it takes an early
hint (103) for the response and the first of two different Content-Lengths for the truth; it waits without a limit for
the end of chunk extensions and trailers. This reader is as lenient as browsers are wherever a person would get the
file, and no more lenient than that.

Every problem is a :class:`Failure`; no other exception leaves this module for anything a remote does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .failure import Failure, server_error, unreachable
from .outcome import Limits
from .stream import Stream

CHUNK_LINE_BYTES = 1_024
MAX_FRAMING_BYTES = 65_536
"""Bytes that the framing of chunks may have beyond twice their content."""
MAX_BLANK_BYTES = 16
"""Line breaks before a status line that are skipped."""

# -- the head ----------------------------------------------------------------------------------------------

_STATUS_LINE = re.compile(rb"HTTP/1\.\d[ \t]+([1-9]\d\d)(?:[ \t].*)?", re.DOTALL)
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@dataclass
class Head:
    """Status and headers of a response. Names are lower-case, values are bytes read as ISO-8859-1.

    ``headers`` joins the values of one name by ", "; ``every`` keeps them apart.
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


_RANGE = re.compile(r"bytes[ \t=]*0-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)


def is_whole(head: Head) -> bool:
    """Whether a 206 that was not asked for has the whole file all the same (RFC 9110 §14.4)."""
    found = _RANGE.fullmatch(head.get("content-range").strip()) if head.status == 206 else None
    return found is not None and int(found[1]) + 1 == int(found[2])


def read_head(stream: Stream) -> tuple[Head, bytes]:
    """The final head (interim responses 1xx are skipped, RFC 9110 §15.2) and the bytes after it.

    :raises Failure: not HTTP, more than the limits allow, or the connection ended
    """
    budget = stream.deadline.limits.max_header_bytes
    data = b""
    while True:
        raw, data = _read_until_blank_line(stream, data, budget)
        budget -= len(raw)
        head = _parse_head(raw, stream.deadline.limits)
        # 101 is final and was not asked for; the rules for statuses handle it.
        if not 100 <= head.status < 200 or head.status == 101:
            return head, data


def _read_until_blank_line(stream: Stream, data: bytes, budget: int) -> tuple[bytes, bytes]:
    buffer = bytearray(data)
    searched = skipped = 0
    while True:
        # Line breaks that are left from an earlier response or written by a script (RFC 9112 §2.2 forgives requests
        # so).
        while buffer.startswith((b"\r", b"\n")) and skipped < MAX_BLANK_BYTES:
            del buffer[0]
            skipped += 1
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
            # Folded lines are obsolete but still sent; RFC 9112 §5.2 has a client replace the fold by a space.
            if last is not None:
                last[-1] = f"{last[-1]} {_clean(text)}".strip()
            continue
        name, colon, value = text.partition(":")
        name = name.rstrip(" \t").lower()
        # Browsers ignore a line that is not a header; refusing the response would be a false alarm.
        if not colon or not _TOKEN.fullmatch(name):
            last = None
            continue
        last = head.every.setdefault(name, [])
        last.append(_clean(value))
    return head


def _clean(value: str) -> str:
    """Without surrounding blanks; other control characters become spaces (RFC 9110 §5.5), so a value is one line."""
    value = value.strip(" \t")
    if value.isprintable():
        return value
    return re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", " ", value).strip(" \t")


# -- the body ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Framing:
    """How the end of a body is known (RFC 9112 §6.3): by length, by chunks, or (neither) by the end of the stream."""

    length: int | None = None
    chunked: bool = False
    codings: tuple[str, ...] = ()
    """Transfer codings below ``chunked``, then content codings, in the order in which they are decoded."""


def framing(head: Head, method: str) -> Framing:
    """The framing that a head announces, read as leniently as browsers read it.

    :raises Failure: the head contradicts itself
    """
    if method == "HEAD" or head.status in (204, 205, 304):
        return Framing(0)
    content = _listed(head, "content-encoding")
    transfer = _listed(head, "transfer-encoding")
    if transfer:
        if "chunked" not in transfer:
            raise server_error("bad-framing")
        # Transfer-Encoding overrides Content-Length (RFC 9112 §6.3, 3), as in browsers. "chunked" is often named twice,
        # by a server and by the proxy in front of it, and still applied once.
        below = [coding for coding in transfer if coding != "chunked"]
        return Framing(None, True, tuple(reversed(content + below)))
    return Framing(_length(head), False, tuple(reversed(content)))


def _listed(head: Head, name: str) -> list[str]:
    words = ",".join(head.every.get(name, [])).lower().split(",")
    return [word for word in (w.strip() for w in words) if word and word != "identity"]


def _length(head: Head) -> int | None:
    lengths = {part.strip() for value in head.every.get("content-length", []) for part in value.split(",")}
    if not lengths:
        return None
    if len(lengths) > 1:
        raise server_error("conflicting-length")
    text = lengths.pop()
    if not (text.isascii() and text.isdigit()):
        return None  # as in browsers: what is not a number is ignored
    # 18 digits are more than any file has; int() of thousands of digits would raise.
    return int(text) if len(text) <= 18 else 10**18


class Body:
    """The bytes of a body as they arrive: without the framing, not yet decoded.

    :ivar read: bytes yielded so far
    :ivar cut_off: the stream ended before the announced length. Where codings are left to decode this is not raised:
        some servers announce the length of the plain file, and the coding itself shows whether it is complete
    """

    def __init__(self, stream: Stream, ahead: bytes, frame: Framing) -> None:
        self.read = 0
        self.cut_off: Failure | None = None
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
                self.cut_off = server_error("truncated", received=length - left, expected=length)
                if self._frame.codings:
                    return
                raise self.cut_off
            yield data[:left]
            left -= min(left, len(data))

    def _all(self) -> Iterator[bytes]:
        if self._ahead:
            yield self._ahead
        while data := self._stream.receive():
            yield data

    def _chunks(self) -> Iterator[bytes]:
        chunks = Dechunker(MAX_FRAMING_BYTES)
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
        """Skip the trailers. The content is complete without them, so a stream may end inside them."""
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
    """Removes the framing of chunked content (RFC 9112 §7.1), all that has arrived in one call.

    :ivar ended: the last chunk was read; ``rest`` is what follows it
    :ivar broken: the data is not chunked; ``feed`` has returned the content before the error
    """

    def __init__(self, overhead_allowed: int) -> None:
        self.ended = False
        self.broken = False
        self.rest = b""
        self._left = 0
        self._at_end_of_chunk = False
        # A server that keeps sending more framing than content is not sending a file.
        self._credit = overhead_allowed

    def feed(self, data: bytes) -> bytes:
        """The content in ``data`` and in the rest of earlier data."""
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
