"""Refuses every name look-up and connection of a test unless it is for loopback.

Refused attempts are recorded, because the code under test may handle them: ``tests/conftest.py`` fails the test.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

refused: list[str] = []

_getaddrinfo = socket.getaddrinfo
_connect = socket.socket.connect
_connect_ex = socket.socket.connect_ex
_sendto = socket.socket.sendto


def is_local(host: Any) -> bool:
    """Whether ``host`` is this machine. "localhost" is the only name allowed: others would have to be looked up."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in (None, "", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(str(host).split("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    # 0.0.0.0 and :: are what a server binds to; as a target they mean loopback.
    return bool((mapped or address).is_loopback or address.is_unspecified)


def _refuse(what: str) -> None:
    refused.append(what)


def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
    if not is_local(host) and not _is_address(host):
        _refuse(f"look-up of {host!r}")
        raise socket.gaierror(socket.EAI_NONAME, f"a test may not look up {host!r}")
    return _getaddrinfo(host, *arguments, **options)


def _is_address(host: Any) -> bool:
    """A literal address needs no look-up; it is judged when a connection is made."""
    try:
        ipaddress.ip_address(str(host).split("%")[0])
    except ValueError:
        return False
    return True


def _allowed(sock: socket.socket, address: Any) -> bool:
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or is_local(address[0]):
        return True
    _refuse(f"connection to {address[0]}:{address[1]}")
    return False


def connect(self: socket.socket, address: Any) -> None:
    if not _allowed(self, address):
        raise ConnectionRefusedError(f"a test may not connect to {address}")
    _connect(self, address)


def connect_ex(self: socket.socket, address: Any) -> int:
    if not _allowed(self, address):
        raise ConnectionRefusedError(f"a test may not connect to {address}")
    return _connect_ex(self, address)


def sendto(self: socket.socket, data: Any, *arguments: Any) -> int:
    if not _allowed(self, arguments[-1]):
        raise ConnectionRefusedError(f"a test may not send to {arguments[-1]}")
    return _sendto(self, data, *arguments)


def install() -> None:
    for owner, name, guard in (
        (socket, "getaddrinfo", getaddrinfo),
        (socket.socket, "connect", connect),
        (socket.socket, "connect_ex", connect_ex),
        (socket.socket, "sendto", sendto),
    ):
        setattr(owner, name, guard)
