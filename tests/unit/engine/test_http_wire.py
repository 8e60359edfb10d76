"""Answers on the wire: the same as ``http.client`` reads where an answer is good, and a Failure wherever it is not."""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckanext.archiver.engine import http_status, wire
from ckanext.archiver.engine.outcome import Cause, Limits
from ckanext.archiver.engine.wire import Body, Deadline, Failure, Head, Stream

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
        return head, b"".join(wire.decoded(iter(Body(stream, ahead, frame)), frame.codings))
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
    # RFC 9110 §15.3.6 forbids content in a 205; http.client reads it all the same.
    assert ours == (b"" if status == 205 else theirs.read())


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


def test_a_silent_stream_ends_in_time() -> None:
    ours, theirs = ends()
    begun = time.monotonic()
    with ours, theirs, pytest.raises(Failure, match="first-byte-timeout"):
        Stream(ours, Deadline(Limits(first_byte_timeout=0.2))).receive()
    assert 0.19 <= time.monotonic() - begun < 1


def test_the_total_time_is_over_however_much_comes() -> None:
    ours, theirs = ends()
    theirs.setblocking(False)
    stream = Stream(ours, Deadline(Limits(total_timeout=0.3)))
    begun = time.monotonic()

    def chatter() -> None:
        while time.monotonic() - begun < 5:
            theirs.send(b"x" * 100)
            stream.progress(len(stream.receive()))

    with ours, theirs, pytest.raises(Failure, match="total-timeout"):
        chatter()
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    "work",
    [lambda stream: stream.receive(), lambda stream: stream.send(b"x" * 10_000_000)],
    ids=["is_silent", "does_not_take_the_request"],
)
def test_a_stop_is_seen_while_the_remote(work: Callable[[Stream], Any]) -> None:
    ours, theirs = ends()
    stop = threading.Event()
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    begun = time.monotonic()
    with ours, theirs, pytest.raises(Failure, match="stopped") as raised:
        work(Stream(ours, Deadline(Limits(), stop)))
    assert raised.value.cause is Cause.OWN_FAULT
    assert time.monotonic() - begun < 1
    timer.join()


def test_a_request_that_does_not_fit_at_once_is_sent_whole() -> None:
    ours, theirs = ends()
    request = bytes(range(256)) * 8_192
    heard = bytearray()

    def listen() -> None:
        while data := theirs.recv(10_000):
            heard.extend(data)

    thread = threading.Thread(target=listen)
    thread.start()
    with ours:
        Stream(ours, Deadline(QUICK)).send(request)
    thread.join(10)
    theirs.close()
    assert heard == request


def test_who_does_not_take_the_request_is_not_waited_for_for_ever() -> None:
    ours, theirs = ends()
    begun = time.monotonic()
    with ours, theirs, pytest.raises(Failure, match="first-byte-timeout"):
        Stream(ours, Deadline(Limits(first_byte_timeout=0.2))).send(b"x" * 10_000_000)
    assert 0.19 <= time.monotonic() - begun < 1


def test_what_we_do_between_two_pieces_is_none_of_the_remotes_fault() -> None:
    """A disk that stalls does not make the link slow."""
    ours, theirs = ends()
    stream = Stream(ours, Deadline(Limits(floor_rate=5, floor_seconds=1)))
    with ours, theirs:
        for _ in range(2):
            theirs.sendall(b"x" * 10)
            assert stream.receive() == b"x" * 10
            time.sleep(1.1)


def test_an_early_refusal_is_heard_although_the_request_is_not_taken() -> None:
    """A server that answers and closes while we still send: its answer counts, not our broken pipe."""
    ours, theirs = ends()
    theirs.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    theirs.close()
    with ours:
        stream = Stream(ours, Deadline(QUICK))
        stream.send(b"GET / HTTP/1.1\r\n\r\n")
        assert wire.read_head(stream)[0].status == 403


def test_the_decoder_never_holds_more_than_a_piece() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    pieces = wire.decoded(iter([bomb]), ("deflate",))
    assert max(len(piece) for piece in pieces) <= 65_536


# -- headers that are rules ------------------------------------------------------------------------------------

NOW = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("86401", 86_400),
        ("9" * 400, 86_400),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), 300),
        (format_datetime(NOW - timedelta(minutes=5), usegmt=True), 0),
        (format_datetime(NOW + timedelta(days=50), usegmt=True), 86_400),
        ("Mon, 05 Jan 2026 12:10:00 -0000", 600),
        ("Monday, 05-Jan-26 12:00:30 GMT", 30),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("Mon, 99 Jan 2026 12:10:00 GMT", None),
        ("Mon, 05 Jan 99999 12:10:00 GMT", None),
        ("²", None),
    ],
)
def test_retry_after(value: str, seconds: int | None) -> None:
    assert http_status.retry_after(Head(503, {"retry-after": [value]}), NOW) == seconds


@settings(deadline=None)
@given(st.text(max_size=60))
def test_retry_after_of_any_text(value: str) -> None:
    found = http_status.retry_after(Head(503, {"retry-after": [value]}), NOW)
    assert found is None or 0 <= found <= 86_400


@pytest.mark.parametrize("status", range(100, 1000))
def test_every_status_has_one_meaning(status: int) -> None:
    """The table of statuses, as the specification has it."""
    blocked = {401, 402, 403, 406, 407, 418, 423, 429, 451, 999}
    failure = http_status.failure_of_status(Head(status))
    if status in (200, 201, 203):
        assert failure is None
        return
    assert failure is not None
    if status in (404, 410):
        cause = Cause.GONE
    elif status in blocked:
        cause = Cause.BLOCKED
    elif status in (204, 205):
        cause = Cause.SOFT_404
    else:
        cause = Cause.SERVER_ERROR
    assert failure.cause is cause
    assert failure.facts["phrase"]


def test_503_with_a_date_to_come_back_is_blocked() -> None:
    found = http_status.failure_of_status(Head(503, {"retry-after": ["9"]}))
    assert found is not None
    assert found.cause is Cause.BLOCKED
