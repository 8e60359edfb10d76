"""A non-blocking socket on which every wait is bounded: the transport below HTTP and FTP.

Why not the timeouts of ``socket``: they apply to each ``recv``, so a server that sends one byte a second holds a
thread for hours. Here three limits apply to every read: the gap between two pieces, a floor on the rate, and the
total time of the fetch.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time

from . import addresses
from .failure import Failure, unreachable
from .outcome import Cause, Limits

RECEIVE_BYTES = 65_536
STOP_POLL_SECONDS = 0.5
"""How long a stop may go unnoticed while the remote is silent."""


class Deadline:
    """The total time of a fetch, and the caller's request to stop.

    The clock is monotonic, and nothing a remote sends moves ``ends``.
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

    def shortened(self, seconds: float) -> Deadline:
        """The same deadline, but no later than ``seconds`` from now."""
        shortened = Deadline(self.limits, self.stop)
        shortened.started = self.started
        shortened.ends = min(self.ends, time.monotonic() + seconds)
        return shortened

    def remaining(self, at_most: float) -> float:
        """Seconds that the next wait may take: more than 0, no more than ``at_most``.

        :raises Failure: the total time is over, or the caller asked to stop
        """
        if self.stop is not None and self.stop.is_set():
            raise Failure(Cause.OWN_FAULT, "stopped")
        remaining = self.ends - time.monotonic()
        if remaining <= 0:
            raise unreachable("total-timeout", seconds=round(self.limits.total_timeout))
        return min(remaining, at_most)


class Stream:
    """The bytes of a connected, non-blocking socket, under a ``Deadline`` and the limits on gaps and rate.

    :ivar received: bytes read from the socket so far
    :ivar at_once: bytes asked for in one read
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.sock = sock
        self.deadline = deadline
        self.received = 0
        self.at_once = RECEIVE_BYTES
        self._window_ends = 0.0
        self._window_bytes = 0
        self._returned_at = 0.0

    def send(self, data: bytes) -> None:
        """:raises Failure: the remote does not read, or the connection is broken"""
        try:
            self._send_all(memoryview(data))
        except TimeoutError:
            self.deadline.remaining(1)
            raise unreachable("first-byte-timeout", seconds=_seconds(self.deadline.limits.first_byte_timeout)) from None
        except ConnectionError:
            # The response may already be here: servers reject a request early and close (RFC 9112 §9.5).
            return
        except OSError as e:
            raise _broken(e) from e

    def receive(self) -> bytes:
        """The next bytes; ``b""`` at the end of the stream.

        :raises Failure: a limit was reached, or the connection broke
        """
        # The time between two calls is ours, for example for writing to disk. It does not count against the remote.
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
        """Count ``amount`` bytes of a head or a body towards the floor on the rate."""
        self._window_bytes += amount

    def close(self) -> None:
        """Close the socket without an orderly shutdown: the rest of the response is not wanted."""
        self.sock.close()

    def _send_all(self, data: memoryview) -> None:
        ends = time.monotonic() + self.deadline.limits.first_byte_timeout
        while data:
            wait = self.deadline.remaining(ends - time.monotonic())
            if wait <= 0:
                raise TimeoutError
            try:
                data = data[self.sock.send(data) :]
            except _WOULD_BLOCK as e:
                self._wait(_events(e, select.POLLOUT), wait)

    def _receive_until(self, until: float, now: float) -> bytes | None:
        wait = self.deadline.remaining(until - now)
        try:
            # Usually nothing has arrived yet, so wait first. With TLS, decrypted bytes may be buffered, and poll does
            # not see them, so read first.
            if isinstance(self.sock, ssl.SSLSocket) or self._wait(select.POLLIN, wait):
                return self.sock.recv(self.at_once)
        except _WOULD_BLOCK as e:
            self._wait(_events(e, select.POLLIN), wait)
        except OSError as e:
            raise _broken(e) from e
        return None

    def _wait(self, events: int, seconds: float) -> bool:
        """Wait until the socket is ready, until ``seconds`` are over, or until it is time to check for a stop."""
        if self.deadline.stop is not None:
            seconds = min(seconds, STOP_POLL_SECONDS)
        return addresses.wait_for(self.sock, events, seconds)

    def _open_window(self, now: float) -> None:
        self._window_ends = now + self.deadline.limits.floor_seconds
        self._window_bytes = 0

    def _floor_ends(self, now: float) -> float:
        """When the current window of the floor ends; a window that is over is judged and the next one opened."""
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


_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a non-blocking socket raises where a blocking one would wait."""


def _events(error: OSError, usual: int) -> int:
    """The events to wait for: TLS may have to read in order to write, and the reverse."""
    if isinstance(error, ssl.SSLWantReadError):
        return select.POLLIN
    return select.POLLOUT if isinstance(error, ssl.SSLWantWriteError) else usual


def _broken(error: OSError) -> Failure:
    """The failure for a socket error in the middle of an exchange."""
    if isinstance(error, ssl.SSLError):
        return unreachable("tls-broken")
    return unreachable("reset")
