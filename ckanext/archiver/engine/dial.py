"""Connect to the server of a target: through the guard, or through the operator's own proxy."""

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
from .failure import Failure, unreachable
from .outcome import Cause, Certificate, Policy
from .stream import Deadline, Stream

log = logging.getLogger(__name__)

NETWORK_MEMORY = 900.0
"""Seconds for which one successful connection proves that our own network works."""

_ANYWHERE = addresses.Guard(("0.0.0.0/0", "::/0"))
"""For the connection to the proxy only: the operator configured it."""

_OUT_OF_SOCKETS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
# EADDRNOTAVAIL is the error on a machine with IPv6 switched off; for IPv4 it means that no port is free.
_NO_IPV6 = {errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
_OWN_FIREWALL = {errno.EACCES, errno.EPERM, errno.ENETDOWN}


class NoConnection(Failure):
    """A failure before a request was sent."""

    @classmethod
    def of(cls, failure: Failure) -> NoConnection:
        made = cls(failure.cause, failure.detail, failure.transient, **failure.facts)
        made.certificate = failure.certificate
        return made


@dataclass(frozen=True)
class Connection:
    """A connection that is ready for a request.

    :ivar absolute: the request line must have the whole URL, as a proxy requires (RFC 9112 §3.2.2)
    :ivar headers: for the proxy
    """

    stream: Stream
    certificate: Certificate | None = None
    absolute: bool = False
    headers: tuple[tuple[str, str], ...] = ()


@functools.lru_cache(maxsize=64)
def guard_of(allowed: tuple[str, ...]) -> addresses.Guard:
    """The guard of an allow-list; cached, since reading a long list takes longer than a fetch."""
    return addresses.Guard(allowed)


def dial(target: urls.Target, policy: Policy, deadline: Deadline) -> Connection:
    """Connect, with TLS for https.

    :raises NoConnection: for every failure
    """
    try:
        if target.scheme == "https":
            return _secured(target, policy, deadline)
        stream = Stream(_open(target, policy, deadline), deadline)
        return Connection(stream, absolute=bool(policy.proxy), headers=_proxy_headers(policy.proxy))
    except NoConnection:
        raise
    except Failure as failure:
        raise NoConnection.of(failure) from failure


def _secured(target: urls.Target, policy: Policy, deadline: Deadline) -> Connection:
    sock = _open(target, policy, deadline)
    try:
        secured = tls.wrap(sock, tls.context_of(policy), target.host, deadline)
    except ssl.SSLCertVerificationError as error:
        sock.close()
        raise _refused_certificate(error, target, policy, deadline) from error
    except BaseException:
        sock.close()
        raise
    return Connection(Stream(secured, deadline), tls.certificate(secured))


def _refused_certificate(
    error: ssl.SSLCertVerificationError, target: urls.Target, policy: Policy, deadline: Deadline
) -> Failure:
    """The reason, from the server's chain, which is read over a second connection, made like the first."""
    try:
        with _open(target, policy, deadline) as second:
            chain = tls.read_chain(second, target.host, deadline)
    except Failure as failure:
        if failure.cause is Cause.OWN_FAULT:
            return failure
        chain = []
    return tls.explain(error, chain, target.host)


def _open(target: urls.Target, policy: Policy, deadline: Deadline) -> socket.socket:
    """A socket connected to the target (for http through a proxy: to the proxy).

    :raises Failure: no connection was made
    """
    if policy.proxy:
        return _by_proxy(target, policy.proxy, deadline)
    return connect(target.host, target.port, policy, deadline)


def connect(host: str, port: int, policy: Policy, deadline: Deadline) -> socket.socket:
    """A TCP connection to a judged address.

    :raises Failure: no connection was made
    """
    limits = deadline.limits
    wait = deadline.remaining(limits.connect_timeout)
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
        raise _not_connected(e, host, port, deadline) from e
    _network.seen = time.monotonic()
    return sock


def _not_connected(error: OSError, host: str, port: int, deadline: Deadline) -> Failure:
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        deadline.remaining(1)
        return unreachable("connect-timeout", host=host, seconds=f"{deadline.limits.connect_timeout:g}")
    if isinstance(error, ConnectionRefusedError):
        return unreachable("refused", host=host)
    if isinstance(error, ConnectionError):
        return unreachable("reset")
    if error.errno in _NO_IPV6 and _only_ipv6(host, port, deadline):
        # Users may well have IPv6: that this machine has none must not be held against the link.
        return Failure(Cause.REFUSED_BY_POLICY, "no-ipv6")
    if error.errno in _OUT_OF_SOCKETS:
        return Failure(Cause.OWN_FAULT, "out-of-sockets")
    if error.errno in _OWN_FIREWALL:
        return Failure(Cause.OWN_FAULT, "network-down")
    if error.errno in (errno.ENETUNREACH, errno.EAFNOSUPPORT) and not _network.works():
        return Failure(Cause.OWN_FAULT, "network-down")
    return unreachable("no-route", host=host)


def _only_ipv6(host: str, port: int, deadline: Deadline) -> bool:
    try:
        answers: list[addresses.Answer] = addresses.resolve(
            host, port, deadline.remaining(deadline.limits.connect_timeout)
        )
    except (addresses.HostNotFound, addresses.ResolverFailed):
        return False
    return all(answer[0] == socket.AF_INET6 for answer in answers)


class _Network:
    """When a connection was last made in this process: shows which side causes "network is unreachable"."""

    seen = float("-inf")

    def works(self) -> bool:
        return time.monotonic() - self.seen < NETWORK_MEMORY


_network = _Network()


# -- the operator's proxy ----------------------------------------------------------------------------------


def _by_proxy(target: urls.Target, proxy: str, deadline: Deadline) -> socket.socket:
    """A socket through the proxy. The proxy decides which addresses are allowed, so no address is judged here; its own
    failures are our own fault.
    """
    _log_proxy_once(urls.redact(proxy))
    parts = urlsplit(proxy)
    if parts.scheme != "http" or not parts.hostname:
        raise Failure(Cause.OWN_FAULT, "proxy-down")
    wait = deadline.remaining(deadline.limits.connect_timeout)
    try:
        sock = addresses.create_connection(parts.hostname, parts.port or 80, _ANYWHERE, wait)
    except (OSError, addresses.HostNotFound, addresses.ResolverFailed) as e:
        raise Failure(Cause.OWN_FAULT, "proxy-down") from e
    if target.scheme == "https":
        try:
            _tunnel(Stream(sock, deadline), target, proxy)
        except BaseException:
            sock.close()
            raise
    return sock


@functools.lru_cache(maxsize=8)
def _log_proxy_once(proxy: str) -> None:
    log.warning("Fetching through %s, which now decides which addresses may be requested", proxy)


def _proxy_headers(proxy: str | None) -> tuple[tuple[str, str], ...]:
    parts = urlsplit(proxy or "")
    if not parts.username:
        return ()
    return (("Proxy-Authorization", basic(unquote(parts.username), unquote(parts.password or ""))),)


def _tunnel(stream: Stream, target: urls.Target, proxy: str) -> None:
    """Have the proxy connect (RFC 9110 §9.3.6). Its refusal is a decision of its operator, not a fault of the link.

    :raises Failure: the proxy did not connect
    """
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = [f"CONNECT {host}:{target.port} HTTP/1.1", f"Host: {host}:{target.port}"]
    lines += [f"{name}: {value}" for name, value in _proxy_headers(proxy)]
    stream.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    try:
        status = wire.read_head(stream)[0].status
    except Failure as failure:
        raise Failure(Cause.OWN_FAULT, "proxy-down") from failure
    if not 200 <= status < 300:
        raise proxy_failure(status, target.host)


def is_of_proxy(head: wire.Head) -> bool:
    """Whether a response through a proxy is the proxy's own: some mark theirs (Squid; RFC 9209 §2)."""
    if head.status not in (403, 502, 503, 504):
        return head.status == 407
    return "x-squid-error" in head.every or "error=" in head.get("proxy-status")


def proxy_failure(status: int, host: str) -> Failure:
    """The failure for a response of the proxy itself."""
    if status == 407:
        # The proxy does not accept the operator's credentials.
        return Failure(Cause.OWN_FAULT, "proxy-down")
    if 400 <= status < 500:
        return Failure(Cause.REFUSED_BY_POLICY, "proxy-refused")
    return unreachable("proxy-no-connection", host=host)


def basic(username: str, password: str) -> str:
    """The value of ``Authorization`` (RFC 7617)."""
    return f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"
