"""The addresses to which the engine may connect: judged where the socket is made, and the judged address is used.

A name is resolved once; each address is judged; the socket is connected to a judged ``sockaddr``. So the answer of the
DNS cannot change between the check and the connection (DNS rebinding), and no spelling of an address (``0x7f.1``,
``::ffff:127.0.0.1``) evades the rule: the judged address is the one that the kernel gets.

Refused addresses are left out and the others are tried: a name with a private address for users inside and a public one
for all others is normal. If none is left, :class:`AddressRefused` is raised.

``getaddrinfo`` and ``connect`` are the only accesses to the network, so that tests can replace them.
"""

from __future__ import annotations

import errno
import ipaddress
import itertools
import os
import queue
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import urls

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Answer = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]

RESOLVER_MEMORY = 900
"""Seconds for which one resolved name proves that our own resolver works."""

MAX_IDLE_THREADS = 64
"""Look-up threads that are kept for the next name; others end when they are done."""

# All that the IANA IPv4 Special-Purpose Address Registry does not call globally reachable, and multicast. The table is
# our own because ``ipaddress.is_global`` changed between Python 3.10 and 3.13; tests compare it with both. Two lines
# are stricter than the registry: all of 192.0.0.0/24 (192.0.0.9 and .10 are anycast addresses of the *nearest* NAT),
# and 192.88.99.0/24 (the nearest 6to4 relay; deprecated by RFC 7526).
_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network, RFC 791
        "10.0.0.0/8",  # private use, RFC 1918
        "100.64.0.0/10",  # shared address space of carriers, RFC 6598
        "127.0.0.0/8",  # loopback, RFC 1122
        "169.254.0.0/16",  # link-local, RFC 3927; cloud metadata services
        "172.16.0.0/12",  # private use
        "192.0.0.0/24",  # IETF protocol assignments, RFC 6890
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "192.168.0.0/16",  # private use
        "198.18.0.0/15",  # benchmarking, RFC 2544
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved, RFC 1112, and limited broadcast
    )
)

# Only 2000::/3 is global unicast (RFC 4291 §2.4, IANA's registry of the IPv6 address space), except for these networks.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments, RFC 2928; Teredo, benchmarking, ORCHID are in it
        "2001:db8::/32",  # documentation, RFC 3849
        "2002::/16",  # 6to4, RFC 3056: leads to any IPv4 address, private ones too; out of use since RFC 7526
        "3fff::/20",  # documentation, RFC 9637
    )
)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # RFC 4291 §2.5.5.2
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052; the local-use 64:ff9b:1::/48 is outside 2000::/3
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214 §6.1: the upper half of the interface identifier


class AddressRefused(Exception):
    """The host has addresses, and none of them is allowed."""


class HostNotFound(Exception):
    """The DNS reports that the name does not exist, or has no address."""


class ResolverFailed(Exception):
    """The name could not be looked up at present.

    :ivar own_fault: nothing proves that our own resolver works: no other name was resolved in this process within
        ``RESOLVER_MEMORY`` seconds. If false, the name's own servers do not answer.
    """

    def __init__(self, message: str, own_fault: bool) -> None:
        super().__init__(message)
        self.own_fault = own_fault


class Guard:
    """Judges addresses: public ones are allowed, others only when the operator's allow-list names them.

    :param allowed: networks (``10.0.0.0/8``), addresses (``::1``) and host names (``intranet.example``)
    :raises ValueError: an entry is none of these; the message is a sentence for the operator
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        networks: list[Network] = []
        hosts: set[str] = set()
        for entry in allowed:
            network = _network(entry)
            if network is None:
                hosts.add(_host_name(entry))
            else:
                networks.append(network)
        self._networks = tuple(networks)
        self._hosts = frozenset(hosts)

    def judge(self, ip: str) -> bool:
        """Whether this address is allowed; its host name does not count. A string that is not an address is refused."""
        address = _address(ip)
        if address is None:
            return False
        inner = _unwrapped(address)
        return is_public(inner) or any(_within(x, network) for x in (address, inner) for network in self._networks)

    def allows(self, host: str, ip: str) -> bool:
        """Whether this address is allowed as an address of ``host`` (as in ``urls.Target.host``)."""
        return self.judge(ip) or (host.lower().rstrip(".") in self._hosts and _address(ip) is not None)


def is_public(address: Address) -> bool:
    """Global unicast: strict where the registries and Python's versions differ. The same on every Python."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    if address not in _GLOBAL_V6 or any(address in network for network in _REFUSED_V6):
        return False
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        return is_public(_low_bits(address))
    return True


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address contains, or the address itself.

    6to4 and Teredo (RFC 4380) are not unwrapped: they are refused without a look at what they contain.
    """
    if isinstance(address, ipaddress.IPv6Address) and (address in _MAPPED or address in _NAT64):
        return _low_bits(address)
    return address


def _low_bits(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _address(ip: str) -> Address | None:
    try:
        return ipaddress.ip_address(ip.partition("%")[0] if ":" in ip else ip)
    except ValueError:
        return None


def _within(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network


def _network(entry: str) -> Network | None:
    text = entry.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        if "%" in text:
            raise ValueError("it has a zone")  # noqa: TRY301 - reported like the other errors
        return ipaddress.ip_network(text)
    except ValueError as error:
        if "/" in text or ":" in text or text.replace(".", "").isdigit():
            raise ValueError(f"{entry!r} in the list of allowed addresses is not a network: {error}.") from None
        return None


def _host_name(entry: str) -> str:
    text = entry.strip()
    target = urls.normalise(f"http://{text}/")
    if isinstance(target, urls.BadUrl) or any(char in text for char in "/\\?#@%"):
        raise ValueError(f"{entry!r} in the list of allowed addresses is neither a network nor a host name.")
    return target.host


def getaddrinfo(host: str, port: int) -> list[Answer]:
    """The system's resolver. It gets bytes, because Python's own IDNA codec refuses some names that exist."""
    return list(socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM))


def connect(sock: socket.socket, sockaddr: Any, timeout: float) -> None:
    """The only place where the engine makes a connection.

    :param sock: a non-blocking socket
    :param timeout: seconds
    :raises OSError: no connection was made (TimeoutError: not in time)
    """
    error = sock.connect_ex(sockaddr)
    if error == errno.EINPROGRESS:
        if not wait_for(sock, select.POLLOUT, timeout):
            raise TimeoutError("timed out")
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


def wait_for(sock: socket.socket, events: int, seconds: float) -> bool:
    """Wait until a socket is ready (``select.POLLIN``, ``POLLOUT``) or broken; False when it is neither in time."""
    poll = select.poll()
    poll.register(sock, events)
    # A negative time would wait for ever.
    return bool(poll.poll(max(seconds, 0) * 1000))


def create_connection(
    host: str,
    port: int,
    guard: Guard,
    timeout: float,
    socket_options: Sequence[tuple[int, int, int]] = (),
) -> socket.socket:
    """A TCP connection to a judged address of ``host``; when one address fails, the next is tried.

    :param host: as in ``urls.Target.host``: a name or an address without brackets
    :param timeout: seconds for the look-up and all attempts together
    :returns: a non-blocking socket
    :raises AddressRefused: no address of the host is allowed; nothing was sent
    :raises HostNotFound: the name does not exist or has no address
    :raises ResolverFailed: the name could not be looked up
    :raises OSError: the most telling failure of the attempts (TimeoutError when time ran out)
    """
    deadline = time.monotonic() + timeout
    answers = [x for x in resolve(host, port, timeout) if guard.allows(host, str(x[4][0]))]
    if not answers:
        raise AddressRefused(host)
    failures: list[OSError] = []
    waiting = _interleaved(answers)
    for place, (family, kind, proto, _, sockaddr) in enumerate(waiting):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            sock = socket.socket(family, kind, proto)
        except OSError as error:  # a machine without IPv6
            failures.append(error)
            continue
        try:
            for option in socket_options:
                sock.setsockopt(*option)
            sock.setblocking(False)
            connect(sock, sockaddr, left / (len(waiting) - place))
        except OSError as error:
            failures.append(error)
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise _most_telling(failures)


def _interleaved(answers: list[Answer]) -> list[Answer]:
    """The families in turn, otherwise in the resolver's order (RFC 6724): RFC 8305 §4. Duplicates are removed."""
    unique = list({x[4]: x for x in answers}.values())
    first = [x for x in unique if x[0] == unique[0][0]]
    second = [x for x in unique if x[0] != unique[0][0]]
    return [x for pair in itertools.zip_longest(first, second) for x in pair if x is not None]


def _most_telling(failures: list[OSError]) -> OSError:
    """An error of the host's network comes before "no route", which may only mean that IPv6 is missing here."""
    no_route = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    failures = sorted(failures, key=lambda error: error.errno in no_route)
    return failures[0] if failures else TimeoutError("timed out")


def resolve(host: str, port: int, timeout: float) -> list[Answer]:
    """All addresses of a host, not judged, within ``timeout`` seconds.

    ``getaddrinfo`` has no deadline of its own and may ask hostile servers, so it runs in a thread that is abandoned
    when it takes too long (the timeouts of resolv.conf end it).

    :raises HostNotFound: see there
    :raises ResolverFailed: see there
    """
    literal = _address(host)
    if literal is not None and "%" not in host:
        family = socket.AF_INET if literal.version == 4 else socket.AF_INET6
        sockaddr = (host, port) if literal.version == 4 else (host, port, 0, 0)
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", sockaddr)]
    results: list[list[Answer] | Exception] = []

    def look_up() -> None:
        try:
            results.append(getaddrinfo(host, port))
        except Exception as error:  # noqa: BLE001 - raised again in the waiting thread
            results.append(error)

    done = threading.Event()
    try:
        _lookup_thread().submit(look_up, done)
    except RuntimeError as error:  # no more threads can be started
        raise ResolverFailed(f"{host}: {error}", own_fault=True) from error
    done.wait(timeout)
    if not results:
        raise ResolverFailed(f"{host}: no answer within {timeout:g} s", own_fault=not _resolver.works(host))
    if isinstance(results[0], Exception):
        raise _lookup_error(host, results[0])
    answers = [x for x in results[0] if x[0] in (socket.AF_INET, socket.AF_INET6)]
    if not answers:
        raise HostNotFound(host)
    _resolver.resolved(host, answers)
    return answers


class _LookupThread:
    """A thread that calls the resolver; kept for the next name, since starting a thread costs four times as much."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="look-up", daemon=True).start()

    def submit(self, task: Callable[[], None], done: threading.Event) -> None:
        self._tasks.put((task, done))

    def _run(self) -> None:
        while True:
            task, done = self._tasks.get()
            task()
            kept = len(_idle) < MAX_IDLE_THREADS
            if kept:
                _idle.append(self)
            done.set()
            if not kept:
                return


_idle: list[_LookupThread] = []
# Threads do not survive in a child process (Celery's prefork pool).
os.register_at_fork(after_in_child=_idle.clear)


def _lookup_thread() -> _LookupThread:
    """:raises RuntimeError: no thread can be started"""
    try:
        return _idle.pop()
    except IndexError:
        return _LookupThread()


def _lookup_error(host: str, error: Exception) -> Exception:
    if isinstance(error, ValueError):  # not ASCII, or with a NUL
        return HostNotFound(host)
    if isinstance(error, socket.gaierror):
        nodata = getattr(socket, "EAI_NODATA", socket.EAI_NONAME)
        if error.errno in (socket.EAI_NONAME, nodata, getattr(socket, "EAI_ADDRFAMILY", nodata)):
            return HostNotFound(host)
    if isinstance(error, OSError):
        return ResolverFailed(f"{host}: {error}", own_fault=not _resolver.works(host))
    return error


class _Resolver:
    """The evidence that our own resolver works: the last two different names that were resolved, and when."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}

    def resolved(self, host: str, answers: list[Answer]) -> None:
        # Names of this machine come from /etc/hosts and prove nothing.
        if "." not in host or all(str(x[4][0]).startswith(("127.", "::1")) for x in answers):
            return
        with self._lock:
            self._seen.pop(host, None)
            self._seen[host] = time.monotonic()
            while len(self._seen) > 2:
                self._seen.pop(next(iter(self._seen)))

    def works(self, host: str) -> bool:
        """Whether a name other than ``host`` was resolved within ``RESOLVER_MEMORY`` seconds."""
        oldest = time.monotonic() - RESOLVER_MEMORY
        with self._lock:
            return any(when >= oldest for name, when in self._seen.items() if name != host)

    def forget(self) -> None:
        with self._lock:
            self._seen.clear()


_resolver = _Resolver()
