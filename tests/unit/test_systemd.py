"""What a worker sends to systemd, received on a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckanext.archiver.worker import systemd


@pytest.fixture(params=["path", "abstract"])
def received(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify")
    address = name if request.param == "path" else "@" + name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address.replace("@", "\0"))
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield sock


def test_a_worker_reports_that_it_is_ready_and_that_it_stops(received: socket.socket) -> None:
    systemd.ready()
    systemd.stopping()

    assert [received.recv(100), received.recv(100)] == [b"READY=1", b"STOPPING=1"]


def test_the_watchdog_is_fed_several_times_within_its_time(
    received: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "300000")

    systemd.ready()

    assert [received.recv(100) for _ in range(4)] == [b"READY=1", *3 * [b"WATCHDOG=1"]]


def test_the_watchdog_of_another_process_is_not_fed(received: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    monkeypatch.setenv("WATCHDOG_PID", "1")

    systemd.ready()

    received.settimeout(0.3)
    assert received.recv(100) == b"READY=1"
    with pytest.raises(TimeoutError):
        received.recv(100)


@pytest.mark.parametrize("address", ["", "/no/such/socket"])
def test_without_systemd_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    systemd.ready()
