"""Streams: every wait ends in time, whatever the remote does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from ckanext.archiver.engine.failure import Failure
from ckanext.archiver.engine.outcome import Cause, Limits
from ckanext.archiver.engine.stream import Deadline, Stream

QUICK = Limits(first_byte_timeout=2, read_timeout=2, total_timeout=4, floor_rate=0)


def ends() -> tuple[socket.socket, socket.socket]:
    """Our end of a connection, which does not block, and the remote's."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours, theirs


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
