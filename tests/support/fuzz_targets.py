# ruff: noqa: PT017 - an invariant of a failure, not a test of an exception
"""What must hold for any bytes that a server sends: used by the tests and by bench/fuzz/engine.py.

Each target takes bytes and returns nothing; it raises AssertionError, or anything else, where something does not hold.
"""

from __future__ import annotations

from collections.abc import Callable

from ckanext.archiver.engine import codings, filenames, http_status, media_types, reasons, soft_failures, urls, wire
from ckanext.archiver.engine.content import Promise
from ckanext.archiver.engine.cookies import Cookies
from ckanext.archiver.engine.failure import Failure
from ckanext.archiver.engine.outcome import Limits
from ckanext.archiver.engine.stream import Deadline
from ckanext.archiver.engine.wire import Body, Head
from url_invariants import check as check_url

LIMITS = Limits(max_header_bytes=4_096, max_headers=50)
MAX_DECODED = 1_000_000


class MemoryStream:
    """Bytes in pieces, in the place of a socket; the first byte says how long the pieces are."""

    def __init__(self, data: bytes) -> None:
        self.deadline = Deadline(LIMITS)
        self._size = 1 + (data[0] if data else 0)
        self._data = data[1:]

    def receive(self) -> bytes:
        piece, self._data = self._data[: self._size], self._data[self._size :]
        return piece

    def progress(self, amount: int) -> None:
        assert amount >= 0


def response(data: bytes) -> None:
    """Head, framing, body, codings, and the judgement of what came."""
    stream = MemoryStream(data)
    try:
        head, ahead = wire.read_head(stream)  # type: ignore[arg-type]
        _check_head(head)
        framing = wire.framing(head, "GET")
        body = Body(stream, ahead, framing)  # type: ignore[arg-type]
        names = tuple(name for name in framing.codings if name in codings.DECODABLE)[: codings.MAX_CODINGS]
        content = b"".join(codings.decoded(iter(body), names, _limit))
    except Failure as failure:
        assert reasons.reason(failure.detail, failure.facts)
        return
    assert body.read <= len(data)
    received = soft_failures.Received(content[:16_384], True, "http://a.example/x.csv", "http://a.example/y", head)
    for promise in (Promise(), Promise("CSV"), Promise("ZIP"), Promise("JSON"), Promise("XML"), Promise("XLS")):
        failure = soft_failures.failure_of_body(received, promise)
        assert failure is None or reasons.reason(failure.detail, failure.facts)
    media_types.mimetype(head.get("content-type"), content, "x")


def _check_head(head: Head) -> None:
    assert 100 <= head.status <= 999
    for values in head.every.values():
        assert all("\n" not in value and "\r" not in value and "\0" not in value for value in values)
    failure = http_status.failure_of_status(head)
    assert failure is None or reasons.reason(failure.detail, failure.facts)
    wire.is_whole(head)


def _limit(decoded_bytes: int) -> None:
    if decoded_bytes > MAX_DECODED:
        raise Failure(wire.server_error("bad-encoding").cause, "bad-encoding")


def decoder(data: bytes) -> None:
    """Content codings, one on another; no piece is larger than it may be."""
    names = tuple(("gzip", "deflate", "x-gzip")[byte % 3] for byte in data[1 : 1 + (data[0] if data else 0) % 4])
    parts = (data[start : start + 97] for start in range(4, len(data), 97))
    try:
        for piece in codings.decoded(parts, names, _limit):
            assert len(piece) <= 65_536
    except Failure as failure:
        assert failure.detail == "bad-encoding"


def disposition(data: bytes) -> None:
    """Names: one plain file on any system, whatever the header says."""
    header = data.decode("latin-1")
    name = filenames.filename(header, "http://a.example/data.csv")
    assert name
    assert filenames.safe(name) == name
    assert len(name.encode()) <= filenames.MAX_NAME_BYTES
    assert not set(name) & set("/\\\0\r\n")
    assert name not in (".", "..")
    filenames.filename(None, header, "text/csv")


def url(data: bytes) -> None:
    """Links, also as the Location of a redirect."""
    check_url(
        data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace") if _is_text(data) else _latin(data)
    )
    urls.normalise(urls.join("https://b.example/a/b?c", data.decode("latin-1")))


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _latin(data: bytes) -> str:
    return data.decode("latin-1")


def cookie(data: bytes) -> None:
    """Set-Cookie: what is sent back is one line."""
    cookies = Cookies()
    values = [wire._clean(value) for value in data.decode("latin-1").split("\n")]
    cookies.take("http://a.example/x", values)
    for link in ("http://a.example/x", "https://a.example/y", "http://b.example/"):
        value = cookies.header(link)
        assert not set(value) & set("\r\n\0")
        value.encode("latin-1")
    assert cookies.header("http://b.example/") == ""


TARGETS: dict[str, Callable[[bytes], None]] = {
    "response": response,
    "decoder": decoder,
    "disposition": disposition,
    "url": url,
    "cookie": cookie,
}
