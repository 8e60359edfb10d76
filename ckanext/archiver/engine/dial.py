"""Open a connection to where a target points: through the guard, or through the operator's own proxy."""

from __future__ import annotations

import errno
import functools
import logging
import socket
import ssl
import time
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from . import addresses, tls, urls, wire
from .outcome import Cause, Certificate, Policy
from .wire import Failure, Patience, Stream, unreachable

log = logging.getLogger(__name__)

NETWORK_MEMORY = 900.0
"""Seconds for which one connection that was made shows that our own network works."""

_OUT_OF_SOCKETS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
_OWN_FIREWALL = {errno.EACCES, errno.EPERM, errno.ENETDOWN}


class NoConnection(Failure):
    """A failure before the server was asked anything."""

    @classmethod
    def of(cls, failure: Failure) -> NoConnection:
        return cls(failure.cause, failure.detail, transient=failure.transient, **failure.facts)


@dataclass(frozen=True)
class Line:
    """A connection that is ready for a request.

    :ivar absolute: the request line names the whole URL, as a proxy wants it (RFC 9112 §3.2.2)
    :ivar headers: for the proxy
    """

    stream: Stream
    certificate: Certificate | None = None
    absolute: bool = False
    headers: tuple[tuple[str, str], ...] = ()


@functools.lru_cache(maxsize=64)
def guard_of(allowed: tuple[str, ...]) -> addresses.Guard:
    """The guard of an allow-list; made once, since a fetch is shorter than reading a long list."""
    return addresses.Guard(allowed)


def dial(target: urls.Target, policy: Policy, patience: Patience) -> Line:
    """Connect, and shake hands for https.

    :raises NoConnection: whatever went wrong
    """
    try:
        if policy.proxy:
            return _by_proxy(target, policy, policy.proxy, patience)
        return _straight(target, policy, patience)
    except NoConnection:
        raise
    except Failure as failure:
        raise NoConnection.of(failure) from failure


def _straight(target: urls.Target, policy: Policy, patience: Patience) -> Line:
    sock = connect(target.host, target.port, policy, patience)
    if target.scheme != "https":
        return Line(Stream(sock, patience))
    try:
        secured = tls.wrap(sock, tls.context_of(policy), target.host, patience)
    except ssl.SSLCertVerificationError as error:
        sock.close()
        raise _refused_certificate(error, target, policy, patience) from error
    except BaseException:
        sock.close()
        raise
    return Line(Stream(secured, patience), tls.certificate(secured))


def _refused_certificate(
    error: ssl.SSLCertVerificationError, target: urls.Target, policy: Policy, patience: Patience
) -> Failure:
    """Why, in the words of the chain, which is read over a second connection through the same guard."""
    try:
        second = connect(target.host, target.port, policy, patience)
    except Failure as failure:
        if failure.cause is Cause.OWN_FAULT:
            return failure
        return tls.explain(error, [], target.host, policy)
    with second:
        chain = tls.read_chain(second, target.host, patience)
    return tls.explain(error, chain, target.host, policy)


def connect(host: str, port: int, policy: Policy, patience: Patience) -> socket.socket:
    """A TCP connection to a judged address.

    :raises Failure: there is none
    """
    limits = patience.limits
    wait = patience.left(limits.connect_timeout)
    try:
        sock = addresses.create_connection(host, port, guard_of(policy.allowed_addresses), wait)
    except addresses.AddressRefused:
        raise Failure(Cause.REFUSED_BY_POLICY, "address-refused") from None
    except addresses.HostNotFound:
        raise Failure(Cause.GONE, "dns-not-found", host=host) from None
    except addresses.ResolverFailed as e:
        if e.own_fault:
            raise Failure(Cause.OWN_FAULT, "resolver-down") from e
        raise unreachable("dns-failed", host=host) from e
    except OSError as e:
        raise _not_connected(e, host, port, patience) from e
    _network.seen = time.monotonic()
    return sock


def _not_connected(error: OSError, host: str, port: int, patience: Patience) -> Failure:
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        patience.left(1)
        return unreachable("connect-timeout", host=host, seconds=f"{patience.limits.connect_timeout:g}")
    if isinstance(error, ConnectionRefusedError):
        return unreachable("refused", host=host)
    if isinstance(error, ConnectionError):
        return unreachable("reset")
    if error.errno in _OUT_OF_SOCKETS:
        return Failure(Cause.OWN_FAULT, "out-of-sockets")
    if error.errno in _OWN_FIREWALL:
        return Failure(Cause.OWN_FAULT, "network-down")
    if error.errno in (errno.ENETUNREACH, errno.EAFNOSUPPORT):
        if _only_ipv6(host, port, patience):
            # Visitors may well have IPv6: that we have not must not be told of the link.
            return Failure(Cause.REFUSED_BY_POLICY, "no-ipv6")
        if not _network.works():
            return Failure(Cause.OWN_FAULT, "network-down")
    return unreachable("no-route", host=host)


def _only_ipv6(host: str, port: int, patience: Patience) -> bool:
    try:
        answers: list[addresses.Answer] = addresses.resolve(host, port, patience.left(patience.limits.connect_timeout))
    except (addresses.HostNotFound, addresses.ResolverFailed):
        return False
    return all(answer[0] == socket.AF_INET6 for answer in answers)


class _Network:
    """When a connection was last made in this process: shows whose fault "network is unreachable" is."""

    seen = float("-inf")

    def works(self) -> bool:
        return time.monotonic() - self.seen < NETWORK_MEMORY


_network = _Network()


# -- the operator's proxy ----------------------------------------------------------------------------------


def _by_proxy(target: urls.Target, policy: Policy, proxy: str, patience: Patience) -> Line:
    """The proxy decides where one may go, so nothing is judged here; its own trouble is our own fault."""
    _say_once(urls.redact(proxy))
    parts = urlsplit(proxy)
    if parts.scheme != "http" or not parts.hostname:
        raise Failure(Cause.OWN_FAULT, "proxy-down")
    headers = _proxy_headers(parts.username, parts.password)
    try:
        sock = socket.create_connection(
            (parts.hostname, parts.port or 80), patience.left(patience.limits.connect_timeout)
        )
    except OSError as e:
        raise Failure(Cause.OWN_FAULT, "proxy-down") from e
    stream = Stream(sock, patience)
    if target.scheme != "https":
        return Line(stream, absolute=True, headers=headers)
    try:
        _tunnel(stream, target, headers)
        secured = tls.wrap(sock, tls.context_of(policy), target.host, patience)
    except ssl.SSLCertVerificationError as error:
        sock.close()
        raise tls.explain(error, [], target.host, policy) from error
    except BaseException:
        sock.close()
        raise
    return Line(Stream(secured, patience), tls.certificate(secured))


@functools.lru_cache(maxsize=8)
def _say_once(proxy: str) -> None:
    log.warning("Fetching through %s, which now decides which addresses may be visited", proxy)


def _proxy_headers(username: str | None, password: str | None) -> tuple[tuple[str, str], ...]:
    if not username:
        return ()
    return (("Proxy-Authorization", basic(unquote(username), unquote(password or ""))),)


def _tunnel(stream: Stream, target: urls.Target, headers: tuple[tuple[str, str], ...]) -> None:
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = [f"CONNECT {host}:{target.port} HTTP/1.1", f"Host: {host}:{target.port}"]
    lines += [f"{name}: {value}" for name, value in headers]
    stream.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    status = wire.read_head(stream)[0].status
    if 200 <= status < 300:
        return
    if status == 407:
        raise Failure(Cause.OWN_FAULT, "proxy-down")
    if 400 <= status < 500:
        raise Failure(Cause.REFUSED_BY_POLICY, "proxy-refused")
    raise unreachable("proxy-no-connection", host=target.host)


def basic(username: str, password: str) -> str:
    """The value of ``Authorization`` (RFC 7617)."""
    return f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"

