"""Responses on the wire: read as ``http.client`` reads good ones, and a Failure for all others."""

from __future__ import annotations

import http.client
import io
import socket
import threading
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ckanext.archiver.engine import codings, wire
from ckanext.archiver.engine.failure import Failure
from ckanext.archiver.engine.outcome import Cause, Limits
from ckanext.archiver.engine.stream import Deadline, Stream
from ckanext.archiver.engine.wire import Body, Head

QUICK = Limits(first_byte_timeout=2, read_timeout=2, total_timeout=4, floor_rate=0)


def ends() -> tuple[socket.socket, socket.socket]:
    """Our end of a connection, which does not block, and the remote's."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours, theirs


def said(data: bytes, limits: Limits = QUICK, pieces: int = 0) -> tuple[Head, bytes]:
    """What is read when a server says ``data`` and closes, in pieces if so wished."""
    ours, theirs = ends()

    def talk() -> None:
        size = pieces or len(data) or 1
        try:
            for start in range(0, len(data), size):
                theirs.sendall(data[start : start + size])
        except OSError:
            return
        finally:
            theirs.close()

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        stream = Stream(ours, Deadline(limits))
        head, ahead = wire.read_head(stream)
        frame = wire.framing(head, "GET")
        return head, b"".join(codings.decoded(iter(Body(stream, ahead, frame)), frame.codings))
    finally:
        ours.close()
        thread.join(10)


def cause_of(data: bytes) -> Cause | None:
    """None for an answer that can be read."""
    try:
        said(data)
    except Failure as failure:
        return failure.cause
    return None


class _Said(io.BytesIO):
    """A socket for ``http.client``."""

    def makefile(self, *args: Any, **kwargs: Any) -> _Said:
        return self


tokens = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(lambda name: "x-" + name)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40).map(str.strip)
headers = st.dictionaries(tokens, values, max_size=8)


@settings(max_examples=150, deadline=None)
@given(st.integers(200, 599), headers, st.binary(max_size=3_000), st.integers(0, 2), st.integers(0, 700))
@example(status=204, fields={}, body=b"\0", framing=1, pieces=0)
@example(status=205, fields={}, body=b"\0", framing=1, pieces=0)
@example(status=304, fields={}, body=b"\0", framing=1, pieces=0)
@example(status=304, fields={}, body=b"\0", framing=0, pieces=0)
def test_good_answers_are_read_as_http_client_does(
    status: int, fields: dict[str, str], body: bytes, framing: int, pieces: int
) -> None:
    lines = [f"HTTP/1.1 {status} Phrase", *(f"{name}: {value}" for name, value in fields.items())]
    if framing == 0:
        lines.append(f"Content-Length: {len(body)}")
        sent = body
    elif framing == 1:
        lines.append("Transfer-Encoding: chunked")
        sent = b"".join(b"%x\r\n%s\r\n" % (len(body[n : n + 97]), body[n : n + 97]) for n in range(0, len(body), 97))
        sent += b"0\r\n\r\n"
    else:
        sent = body
    data = ("\r\n".join(lines) + "\r\n\r\n").encode() + sent
    theirs = http.client.HTTPResponse(_Said(data), method="GET")  # type: ignore[arg-type]
    theirs.begin()
    head, ours = said(data, pieces=pieces)
    assert head.status == theirs.status
    assert {name: head.get(name) for name in fields} == {name: theirs.getheader(name) for name in fields}
    # A 204, a 205 and a 304 have no content, also where their head announces some (RFC 9112 §6.3, RFC 9110 §15.3.6);
    # http.client reads that of a 205, and chunks after any of them.
    assert ours == (b"" if status in (204, 205, 304) else theirs.read())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_end_in_an_answer_or_a_failure(data: bytes) -> None:
    assert cause_of(data) in (None, Cause.SERVER_ERROR, Cause.UNREACHABLE)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200),
    st.sampled_from(
        ["", "Transfer-Encoding: chunked", "Content-Encoding: gzip", "Content-Encoding: deflate", "Content-Length: 99"]
    ),
)
def test_any_head_and_body_end_in_an_answer_or_a_failure(data: bytes, header: str) -> None:
    for start in (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n" + header.encode() + b"\r\n\r\n"):
        assert cause_of(start + data) in (None, Cause.SERVER_ERROR)


def test_header_values_are_one_line() -> None:
    head, _ = said(b"HTTP/1.1 200 OK\r\nA: x\x00\x0b\ty\r\n \t z \r\nB: \xc3\xa4\r\nA: 2\r\n\r\n")
    assert head.headers == {"a": "x  \ty z, 2", "b": "Ã¤"}


def test_interim_answers_count_against_the_limit() -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    with pytest.raises(Failure, match="headers-too-large"):
        said(hint * 100 + b"HTTP/1.1 200 OK\r\n\r\n", Limits(max_header_bytes=1_000))


def test_an_early_refusal_is_heard_although_the_request_is_not_taken() -> None:
    """A server that answers and closes while we still send: its answer counts, not our broken pipe."""
    ours, theirs = ends()
    theirs.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    theirs.close()
    with ours:
        stream = Stream(ours, Deadline(QUICK))
        stream.send(b"GET / HTTP/1.1\r\n\r\n")
        assert wire.read_head(stream)[0].status == 403
