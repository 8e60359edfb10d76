# ruff: noqa: E501, S104, S311 - rows are one line each; addresses and random numbers are only test data
"""Addresses: no refused one is ever connected to. Nothing here opens a connection that is not loopback: the
resolver and ``connect`` are replaced where other addresses play a part.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckanext.archiver.engine import addresses, urls
from ckanext.archiver.engine.addresses import AddressRefused, Guard, HostNotFound, ResolverFailed
from special_addresses import IPV4, IPV6, STRICTER

PUBLIC = "93.184.215.14"
PUBLIC_2 = "8.8.4.4"
PUBLIC_V6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
STRANGER = Guard()


class Network:
    """Stands for resolver and network: what was looked up, and where a connection was tried."""

    def __init__(self) -> None:
        self.names: dict[str, list[str] | Exception | Callable[[], list[str]]] = {}
        self.looked_up: list[str] = []
        self.connected: list[str] = []
        self.failing: dict[str, OSError] = {}
        self.timeouts: list[float] = []

    def getaddrinfo(self, host: str, port: int) -> list[addresses.Answer]:
        self.looked_up.append(host)
        answers = self.names.get(host, socket.gaierror(socket.EAI_NONAME, "no such name"))
        if callable(answers):
            answers = answers()
        if isinstance(answers, Exception):
            raise answers
        return [answer(ip, port) for ip in answers]

    def connect(self, sock: socket.socket, sockaddr: Any, timeout: float) -> None:
        self.connected.append(sockaddr[0])
        self.timeouts.append(timeout)
        if sockaddr[0] in self.failing:
            raise self.failing[sockaddr[0]]


def answer(ip: str, port: int) -> addresses.Answer:
    if ":" in ip:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (ip, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    network = Network()
    monkeypatch.setattr(addresses, "getaddrinfo", network.getaddrinfo)
    monkeypatch.setattr(addresses, "connect", network.connect)
    addresses._resolver.forget()
    yield network
    addresses._resolver.forget()


def connect(host: str, guard: Guard = STRANGER, timeout: float = 5) -> None:
    addresses.create_connection(host, 80, guard, timeout).close()


# -- judging -----------------------------------------------------------------------------------------------

REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.9",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::2",
    "::127.0.0.1",
    "::8.8.8.8",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "ff0e::1",
    "100::1",
    "100:0:0:1::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "2001:2::1",
    "2001:10::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:0.0.0.0",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "::ffff:0:8.8.8.8",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::8.8.8.8",
    "64:ff9b:1:808:8:800::",
    "64:ff9b:2::8.8.8.8",
    "64:ff9b::1:8.8.8.8",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::",
    "2002:808:808::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001::1",
    "2001:0:7f00:1::",
    "fe80::5efe:8.8.8.8",
    "2606:2800:1::5efe:10.0.0.1",
    "2606:2800:1::200:5efe:127.0.0.1",
]
ALLOWED = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.31.196.1",
    "192.52.193.1",
    "192.167.255.255",
    "192.169.0.0",
    "192.175.48.1",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    PUBLIC,
    PUBLIC_V6,
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::1",
    "2620:4f:8000::1",
    "2a00::1",
    "2c00::1",
    "3ffe::1",
    "::ffff:8.8.8.8",
    "::ffff:808:808",
    "64:ff9b::8.8.8.8",
    "2606:2800:1::5efe:8.8.8.8",
]


@pytest.mark.parametrize("ip", REFUSED)
def test_refused(ip: str) -> None:
    assert not STRANGER.judge(ip)
    assert not STRANGER.allows("data.example", ip)


@pytest.mark.parametrize("ip", ALLOWED)
def test_allowed(ip: str) -> None:
    assert STRANGER.judge(ip)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "localhost",
        "data.example",
        "127.1",
        "0x7f.1",
        "2130706433",
        "010.0.0.1",
        "8.8.8.8%lo",
        "8.8.8.8 ",
        "[::1]",
    ]
    + ["8.8.8.8/32", "::1::", "%", "1.1.1.1\0", "８.8.8.8", "\ud800", "1" * 100_000],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    assert not STRANGER.judge(text)
    assert not Guard(["data.example"]).allows("data.example", text)


def registry_says(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """The most exact row decides; "N/A" does not speak against."""
    rows = [(ipaddress.ip_network(block), reachable) for block, _, _, reachable in (*IPV4, *IPV6)]
    here = [(net.prefixlen, reachable) for net, reachable in rows if net.version == ip.version and ip in net]
    return max(here)[1] is not False if here else True


def samples() -> Iterator[str]:
    """Edges, neighbours and insides of every block of the registries, and addresses from everywhere."""
    chance = random.Random(20260101)
    for block, *_ in (*IPV4, *IPV6):
        network = ipaddress.ip_network(block)
        first, last, top = int(network[0]), int(network[-1]), 2**network.max_prefixlen - 1
        numbers = {first, last, first - 1, last + 1, *(chance.randint(first, last) for _ in range(20))}
        make = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
        yield from (str(make(number)) for number in sorted(numbers) if 0 <= number <= top)
    for _ in range(2000):
        yield str(ipaddress.IPv4Address(chance.getrandbits(32)))
        yield str(ipaddress.IPv6Address(chance.getrandbits(128)))
        yield str(ipaddress.IPv6Address((0x2000 << 112) + chance.getrandbits(125)))
        yield str(ipaddress.IPv6Address((0xFFFF << 32) + chance.getrandbits(32)))
        yield str(ipaddress.IPv6Address((0x64FF9B << 96) + chance.getrandbits(32)))


def inside_out(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address that counts: the IPv4 address in an IPv4-mapped or NAT64 one."""
    address = ipaddress.ip_address(ip)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in ipaddress.ip_network("64:ff9b::/96"):
            return ipaddress.ip_address(int(address) & 0xFFFFFFFF)
    return address


@pytest.mark.parametrize("row", STRICTER, ids=[row[0] for row in STRICTER])
def test_where_the_guard_is_stricter(row: tuple[str, str]) -> None:
    network = ipaddress.ip_network(row[0])
    assert not any(STRANGER.judge(str(network[number])) for number in range(min(network.num_addresses, 5000)))


def test_the_guard_against_ipaddress_and_the_registries() -> None:
    """It allows nothing that either refuses, and refuses nothing both allow save where it is stricter on purpose."""
    stricter = [ipaddress.ip_network(block) for block, _ in STRICTER]
    seen = {True: 0, False: 0}
    for ip in samples():
        address = inside_out(ip)
        both = address.is_global and registry_says(address) and not address.is_multicast
        judged = STRANGER.judge(ip)
        seen[judged] += 1
        if judged:
            assert both, ip
        elif both:
            on_purpose = any(net.version == address.version and address in net for net in stricter)
            assert on_purpose or address not in ipaddress.ip_network("2000::/3"), ip
    assert min(seen.values()) > 1000


# -- the allow-list ------------------------------------------------------------------------------------------


def test_allowed_networks() -> None:
    guard = Guard(["10.0.0.0/8", "::1", "fd00::/8", "192.168.1.7", " 172.16.0.0/16 ", "[fe80::1]"])
    for ip in (
        "10.1.2.3",
        "::1",
        "fd12::1",
        "192.168.1.7",
        "172.16.9.9",
        "fe80::1",
        "::ffff:10.1.2.3",
        "64:ff9b::a01:203",
    ):
        assert guard.judge(ip), ip
        assert guard.allows("whatever.example", ip), ip
    for ip in ("127.0.0.1", "192.168.1.8", "172.17.0.1", "fe80::2", "2002:a01:203::", "::ffff:127.0.0.1"):
        assert not guard.judge(ip), ip
    assert guard.judge(PUBLIC)


def test_allowed_hosts() -> None:
    guard = Guard(["Intranet.example", "Bücher.example.", "build_1"])
    assert guard.allows("intranet.example", "10.0.0.1")
    assert guard.allows("intranet.example.", "127.0.0.1")
    assert guard.allows("INTRANET.example", "::1")
    assert guard.allows("xn--bcher-kva.example", "10.0.0.1")
    assert guard.allows("build_1", "10.0.0.1")
    assert not guard.allows("sub.intranet.example", "10.0.0.1")
    assert not guard.allows("example", "10.0.0.1")
    assert not guard.allows("10.0.0.1", "10.0.0.1")
    assert not guard.judge("10.0.0.1")


@pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.0/8", "::1", "10.0.0.0/8", "localhost"])
def test_a_list_never_closes_what_was_open(entry: str) -> None:
    assert Guard([entry]).judge(PUBLIC)


@pytest.mark.parametrize(
    "entry",
    ["", " ", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "300.1.1.1", "::1/129", "fe80::1%eth0", "intranet.example:8080"]
    + ["http://intranet.example", "intranet.example/", "*.example", "user@intranet.example", "a b", "10.0.0.0-10.0.0.9"]
    + ["intranet..example", "x?y", "x#y", "0x7f.1/8", "10.0.0.0 10.1.0.0", "\0", "\ud800"],
)
def test_a_bad_entry_is_told_at_once(entry: str) -> None:
    with pytest.raises(ValueError, match=r"in the list of allowed addresses is .*\."):
        Guard([entry])


# -- connecting ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ip", [ip for ip in REFUSED if "%" not in ip])
def test_a_refused_literal_is_not_connected_to(network: Network, ip: str) -> None:
    with pytest.raises(AddressRefused):
        connect(ip)
    assert (network.connected, network.looked_up) == ([], [])


@pytest.mark.parametrize("ip", REFUSED)
def test_a_name_of_a_refused_address_is_not_connected_to(network: Network, ip: str) -> None:
    network.names["data.example"] = [ip]
    with pytest.raises(AddressRefused):
        connect("data.example")
    assert network.connected == []


@pytest.mark.parametrize(
    "url",
    ["http://2130706433/", "http://0x7f.1/", "http://017700000001/", "http://127.1/", "http://0/", "http://[::1]/"]
    + ["http://１２７.０.０.１/", "http://①②⑦.①/", "http://127。0。0。1/", "http://127.0.0.1./", "http://%31%32%37.1/"]
    + [
        "http://good.example@127.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://0xa9fea9fe/",
    ]
    + ["http://[2002:7f00:1::]/", "http://[::127.0.0.1]/", "http://[0:0:0:0:0:ffff:7f00:1]/", "http:\\\\127.1\\"],
)
def test_every_spelling_of_an_inner_address_is_refused(network: Network, url: str) -> None:
    target = urls.normalise(url)
    assert isinstance(target, urls.Target)
    with pytest.raises(AddressRefused):
        connect(target.host)
    assert network.connected == []


def test_localhost_is_refused_unless_it_is_allowed(network: Network) -> None:
    network.names["localhost"] = ["127.0.0.1", "::1"]
    with pytest.raises(AddressRefused):
        connect("localhost")
    assert network.connected == []
    connect("localhost", Guard(["localhost"]))
    connect("localhost", Guard(["127.0.0.0/8"]))
    assert network.connected == ["127.0.0.1", "127.0.0.1"]


def test_of_several_answers_only_the_judged_are_tried(network: Network) -> None:
    network.names["data.example"] = ["10.0.0.1", PUBLIC, "::1", PUBLIC_2, "127.0.0.1"]
    network.failing = {PUBLIC: ConnectionRefusedError(errno.ECONNREFUSED, "refused")}
    connect("data.example")
    assert network.connected == [PUBLIC, PUBLIC_2]


def test_an_answer_that_changes_is_judged_and_used_as_it_came(network: Network) -> None:
    """DNS rebinding: the second look-up would say something else, but there is none."""
    turns = iter([[PUBLIC], ["127.0.0.1"]])
    network.names["rebind.example"] = lambda: next(turns)
    connect("rebind.example")
    assert (network.looked_up, network.connected) == (["rebind.example"], [PUBLIC])
    with pytest.raises(AddressRefused):
        connect("rebind.example")
    assert network.connected == [PUBLIC]


def test_families_take_turns(network: Network) -> None:
    network.names["data.example"] = [PUBLIC_V6, "2a00::1", "2a00::2", PUBLIC, PUBLIC_2, PUBLIC]
    network.failing = {ip: TimeoutError("timed out") for ip in (PUBLIC_V6, "2a00::1", "2a00::2", PUBLIC, PUBLIC_2)}
    with pytest.raises(TimeoutError):
        connect("data.example", timeout=10)
    assert network.connected == [PUBLIC_V6, PUBLIC, "2a00::1", PUBLIC_2, "2a00::2"]
    assert network.timeouts[0] == pytest.approx(2, abs=0.2)  # a fifth of ten seconds each
    assert network.timeouts[-1] == pytest.approx(10, abs=0.5)  # and all that is left for the last


def test_the_most_telling_failure_is_told(network: Network) -> None:
    network.names["data.example"] = [PUBLIC, PUBLIC_V6]
    network.failing = {
        PUBLIC: ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        PUBLIC_V6: OSError(errno.ENETUNREACH, "no IPv6 here"),
    }
    with pytest.raises(ConnectionRefusedError):
        connect("data.example")
    network.names["data.example"] = [PUBLIC_V6, PUBLIC]
    with pytest.raises(ConnectionRefusedError):
        connect("data.example")


def test_a_machine_without_ipv6(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def make(family: int, *args: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "not here")
        return real(family, *args)

    monkeypatch.setattr(socket, "socket", make)
    network.names["data.example"] = [PUBLIC_V6, PUBLIC]
    connect("data.example")
    assert network.connected == [PUBLIC]
    network.names["data.example"] = [PUBLIC_V6]
    with pytest.raises(OSError, match="not here"):
        connect("data.example")


def test_time_is_shared_between_look_up_and_connection(network: Network) -> None:
    gone = threading.Event()

    def slow() -> list[str]:
        gone.wait(0.5)
        return [PUBLIC]

    network.names["slow.example"] = slow
    connect("slow.example", timeout=5)
    assert network.timeouts[0] is not None
    assert network.timeouts[0] < 4.6


def test_a_resolver_that_hangs_does_not_hang_us(network: Network) -> None:
    release = threading.Event()

    def hang() -> list[str]:
        release.wait(30)
        return [PUBLIC]

    network.names["slow.example"] = hang
    start = time.monotonic()
    with pytest.raises(ResolverFailed):
        connect("slow.example", timeout=0.2)
    release.set()
    assert time.monotonic() - start < 5
    assert network.connected == []


def askers() -> int:
    return sum(thread.name == "look-up" for thread in threading.enumerate())


def test_names_are_looked_up_by_the_same_threads(network: Network) -> None:
    network.names["a.example"] = [PUBLIC]
    connect("a.example", timeout=5)
    before = askers()
    for _ in range(50):
        connect("a.example", timeout=5)
    assert askers() == before


def test_no_more_threads_are_kept_than_are_of_use(
    network: Network, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    monkeypatch.setattr(addresses, "MAX_IDLE_THREADS", 0)
    addresses._idle.clear()
    before = askers()
    network.names["a.example"] = [PUBLIC]
    connect("a.example", timeout=5)
    wait_until(lambda: askers() <= before)


def test_a_forked_process_looks_up_names_too(network: Network) -> None:
    """Celery's prefork pool forks; threads stay behind."""
    network.names["a.example"] = [PUBLIC]
    connect("a.example", timeout=5)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if addresses.resolve("a.example", 80, 5) else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_sockets_are_closed_when_all_fails(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    real = socket.socket

    def make(*args: Any) -> socket.socket:
        made.append(real(*args))
        return made[-1]

    monkeypatch.setattr(socket, "socket", make)
    network.names["data.example"] = [PUBLIC, PUBLIC_2]
    network.failing = {PUBLIC: TimeoutError(), PUBLIC_2: TimeoutError()}
    with pytest.raises(TimeoutError):
        connect("data.example")
    assert [sock.fileno() for sock in made] == [-1, -1]


@pytest.mark.parametrize(
    "error",
    [
        socket.EAI_NONAME,
        getattr(socket, "EAI_NODATA", socket.EAI_NONAME),
        getattr(socket, "EAI_ADDRFAMILY", -9),
    ],
)
def test_no_such_name(network: Network, error: int) -> None:
    network.names["gone.example"] = socket.gaierror(error, "gone")
    with pytest.raises(HostNotFound):
        connect("gone.example")


def test_a_name_without_usable_answers(network: Network) -> None:
    network.names["empty.example"] = []
    with pytest.raises(HostNotFound):
        connect("empty.example")


@pytest.mark.parametrize(
    "host", ["a..b", "a" * 64 + ".example", "." * 300, "a\0b", "ä.example", "", "%", "127.0.0.1%lo"]
)
def test_names_that_cannot_be(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """They get as far as the real resolver at most, which refuses them itself."""
    asked: list[bytes] = []

    def refuse(name: bytes, *args: Any, **kwargs: Any) -> list[addresses.Answer]:
        asked.append(name)
        if b"\0" in name:
            raise ValueError("embedded null character")
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(HostNotFound):
        connect(host)


@pytest.mark.parametrize("error", [socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_MEMORY])
def test_whose_fault_a_failed_look_up_is(network: Network, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    network.names = {
        "sick.example": socket.gaierror(error, "try again"),
        "well.example": [PUBLIC],
        "localhost": ["127.0.0.1"],
        "here.example": ["127.0.0.1"],
        "intranet": [PUBLIC],
    }
    for host in ("localhost", "here.example"):
        with pytest.raises(AddressRefused):
            connect(host)
    connect("intranet")
    connect(PUBLIC)
    with pytest.raises(ResolverFailed) as failed:
        connect("sick.example")
    assert failed.value.own_fault, "names of this machine show nothing about the resolver"
    connect("well.example")
    with pytest.raises(ResolverFailed) as failed:
        connect("sick.example")
    assert not failed.value.own_fault
    later = time.monotonic() + addresses.RESOLVER_MEMORY + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(ResolverFailed) as failed:
        connect("sick.example")
    assert failed.value.own_fault, "what was seen a quarter of an hour ago shows nothing"


def test_that_a_name_was_resolved_itself_shows_nothing(network: Network) -> None:
    network.names["flaky.example"] = [PUBLIC]
    connect("flaky.example")
    network.names["flaky.example"] = socket.gaierror(socket.EAI_AGAIN, "try again")
    with pytest.raises(ResolverFailed) as failed:
        connect("flaky.example")
    assert failed.value.own_fault
    network.names["other.example"] = [PUBLIC]
    connect("other.example")
    for _ in range(3):
        with pytest.raises(ResolverFailed) as failed:
            connect("flaky.example")
        assert not failed.value.own_fault


def test_a_real_connection_on_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        guard = Guard(["127.0.0.1"])
        options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        with addresses.create_connection("127.0.0.1", port, guard, 5, options) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)
            assert not sock.getblocking()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with addresses.create_connection("localhost", port, Guard(["localhost"]), 5) as sock:
            assert sock.getpeername()[1] == port


def test_a_closed_port_on_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        addresses.create_connection("127.0.0.1", port, Guard(["127.0.0.0/8"]), 5)


# -- whatever is asked -----------------------------------------------------------------------------------------

every_v4 = st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.IPv4Address(n)))
every_v6 = st.integers(0, 2**128 - 1).map(lambda n: str(ipaddress.IPv6Address(n)))
special = st.sampled_from([block for block, *_ in (*IPV4, *IPV6)]).flatmap(
    lambda block: st.integers(0, ipaddress.ip_network(block).num_addresses - 1).map(
        lambda n: str(ipaddress.ip_network(block)[n])
    )
)
wrapped = st.tuples(st.sampled_from(["::ffff:", "64:ff9b::", "::", "2002:"]), st.sampled_from(REFUSED[:23])).map(
    lambda pair: pair[0] + (pair[1] if pair[0] != "2002:" else f"{int(ipaddress.IPv4Address(pair[1])) >> 16:x}::")
)
any_ip = every_v4 | every_v6 | special | wrapped | st.sampled_from(REFUSED + ALLOWED)
lists = st.lists(
    st.sampled_from(["10.0.0.0/8", "127.0.0.1", "::1", "fd00::/8", "64:ff9b:1::/48", "intranet.example"]),
    max_size=3,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(any_ip, max_size=6), lists, st.sampled_from(["data.example", "intranet.example"]))
def test_no_refused_address_is_ever_connected_to(answers: list[str], allowed: list[str], host: str) -> None:
    guard = Guard(allowed)
    network = Network()
    network.names[host] = answers
    network.failing = {ip: ConnectionRefusedError(errno.ECONNREFUSED, "refused") for ip in answers}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "getaddrinfo", network.getaddrinfo)
        patch.setattr(addresses, "connect", network.connect)
        with pytest.raises((AddressRefused, HostNotFound, OSError)):
            connect(host, guard)
    by_name = host in allowed
    networks = [ipaddress.ip_network(entry) for entry in allowed if entry != "intranet.example"]
    for ip in network.connected:
        address = inside_out(ip)
        public = address.is_global and registry_says(address) and not address.is_multicast
        named = any(
            each.version == net.version and each in net
            for net in networks
            for each in (address, ipaddress.ip_address(ip.partition("%")[0]))
        )
        assert by_name or public or named, ip
    assert set(network.connected) == {ip for ip in answers if guard.allows(host, ip)}, "and every other one is"
