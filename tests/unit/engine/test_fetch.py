"""``fetch.fetch`` where a table of behaviours does not reach: our own faults, credentials, proxies, what it costs."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckanext.archiver.engine import addresses, dial, reasons, store, wire
from ckanext.archiver.engine.fetch import fetch as fetch_link
from ckanext.archiver.engine.outcome import Cause, FetchRequest, Limits, Outcome, Policy
from origin.behaviours import CSV, _endless, _hang, answer, moved, ok
from origin.certificates import HOST, Authority
from origin.server import Conversation, HostileOrigin

Fetch = Callable[..., Outcome]


async def _echo(talk: Conversation) -> None:
    await talk.send(ok(talk.raw))


CASES: dict[str, Any] = {
    "plain": ok(),
    "echo": _echo,
    "hang": lambda talk: _hang(talk, b""),
    "endless": lambda talk: _endless(talk, ok(b"", length=None), b"x" * 65_536),
    "away": {"*": moved("http://www.data.example:{http}/echo/x")},
    "home": {"*": moved("/echo/x")},
    "missing": answer("404 x"),
}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileOrigin]:
    with HostileOrigin(CASES, Authority(tmp_path_factory.mktemp("ca"))) as started:
        yield started


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(host: str, port: int) -> list[Any]:
        if not host.endswith("data.example"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(addresses, "getaddrinfo", getaddrinfo)


@pytest.fixture
def fetch(origin: HostileOrigin, tmp_path: Path) -> Fetch:
    def look(
        url: str, stop: threading.Event | None = None, limits: Any = (), policy: Any = (), **request: Any
    ) -> Outcome:
        for name, port in origin.ports.items():
            url = url.replace(f"{{{name}}}", str(port))
        known = {"allowed_addresses": ("127.0.0.0/8",), "ca_bundle": str(origin.authority.bundle)}
        return fetch_link(
            FetchRequest(url, **request),
            limits=Limits(**dict(limits)),
            policy=Policy(**{**known, **dict(policy)}),
            spool=tmp_path,
            stop=stop,
        )

    return look


def read(outcome: Outcome) -> str:
    assert outcome.temp_path is not None, outcome
    return outcome.temp_path.read_bytes().decode("latin-1")


# -- what we send ----------------------------------------------------------------------------------------------


def test_the_request_as_it_is_on_the_wire(fetch: Fetch, origin: HostileOrigin) -> None:
    sent = read(
        fetch(
            "http://data.example:{http}/echo/a%20b+c,(d);e%C3%A4?q=%41+b&x#part",
            policy={"user_agent": "Portal/1"},
        )
    )
    port = origin.ports["http"]
    assert sent == (
        "GET /echo/a%20b+c,(d);e%C3%A4?q=%41+b&x HTTP/1.1\r\n"
        f"Host: data.example:{port}\r\nUser-Agent: Portal/1\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
        "Connection: close\r\n\r\n"
    )


def test_the_environment_is_ignored(fetch: Fetch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine data.example login a password b\n")
    for name, value in {
        "http_proxy": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
        "NETRC": str(netrc),
    }.items():
        monkeypatch.setenv(name, value)
    assert "Authorization" not in read(fetch("http://data.example:{http}/echo/x"))


def test_credentials_go_to_their_own_server_and_are_never_shown(fetch: Fetch) -> None:
    login = "Authorization: Basic " + base64.b64encode("us er:pä:ss".encode()).decode()
    url = "http://us%20er:p%C3%A4:ss@data.example:{http}/"
    for path, there in (("echo/x", True), ("home/x", True), ("away/x", False)):
        outcome = fetch(url + path)
        assert (login in read(outcome)) is there
        assert "p%C3%A4" not in repr(outcome)
        assert "pä" not in repr(outcome)
    assert "p%C3%A4" not in repr(fetch(url + "missing"))


def test_a_header_of_ours_cannot_be_chosen_from_outside(fetch: Fetch) -> None:
    for value in ('"x"\r\nEvil: 1', '"x"\nEvil: 1', "\0", "x" * 5_000, "\u2028", "\u65e5"):
        sent = read(fetch("http://data.example:{http}/echo/x", etag=value, last_modified=value))
        assert "Evil" not in sent
        assert "If-" not in sent


# -- our own faults ---------------------------------------------------------------------------------------------


def test_a_full_disk_is_our_own_fault(fetch: Fetch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(self: store.Sink, spool: Path) -> int:
        self._path = tmp_path / "fetch-x"
        self._path.touch()
        return os.open("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(store.Sink, "_open", full)
    outcome = fetch("http://data.example:{http}/plain/x")
    assert (outcome.cause, outcome.detail) == (Cause.OWN_FAULT, "disk-full")
    assert list(tmp_path.iterdir()) == []


def test_a_low_disk_is_our_own_fault(fetch: Fetch, tmp_path: Path) -> None:
    outcome = fetch("http://data.example:{http}/plain/x", limits={"min_free_bytes": 1 << 60})
    assert (outcome.cause, outcome.detail) == (Cause.OWN_FAULT, "disk-full")
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_cannot_be_made(origin: HostileOrigin, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = fetch_link(
        FetchRequest(f"http://127.0.0.1:{origin.ports['http']}/plain/x"),
        limits=Limits(),
        policy=Policy(allowed_addresses=("127.0.0.1",)),
        spool=tmp_path / "file" / "spool",
    )
    assert (outcome.cause, outcome.detail) == (Cause.OWN_FAULT, "disk-broken")


def test_a_defect_of_ours_is_no_fault_of_the_link(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wire, "framing", lambda head, method: 1 / 0)
    outcome = fetch("http://a:secret@data.example:{http}/plain/x")
    assert (outcome.cause, outcome.detail) == (Cause.OWN_FAULT, "defect")
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("error", "cause", "detail"),
    [
        (OSError(101, "Network is unreachable"), Cause.OWN_FAULT, "network-down"),
        (OSError(24, "Too many open files"), Cause.OWN_FAULT, "out-of-sockets"),
        (OSError(99, "Cannot assign requested address"), Cause.OWN_FAULT, "out-of-sockets"),
        (PermissionError(1, "Operation not permitted"), Cause.OWN_FAULT, "network-down"),
        (OSError(113, "No route to host"), Cause.UNREACHABLE, "no-route"),
        (TimeoutError("timed out"), Cause.UNREACHABLE, "connect-timeout"),
        (ConnectionResetError(104, "reset"), Cause.UNREACHABLE, "reset"),
    ],
)
def test_whose_fault_a_failed_connection_is(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, error: OSError, cause: Cause, detail: str
) -> None:
    def connect(sock: socket.socket, sockaddr: Any, timeout: float) -> None:
        raise error

    monkeypatch.setattr(addresses, "connect", connect)
    monkeypatch.setattr(dial._network, "seen", float("-inf"))
    outcome = fetch("http://data.example:{http}/plain/x")
    assert (outcome.cause, outcome.detail) == (cause, detail)


def test_no_network_is_the_hosts_fault_when_others_are_reached(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(sock: socket.socket, sockaddr: Any, timeout: float) -> None:
        raise OSError(101, "Network is unreachable")

    assert fetch("http://data.example:{http}/plain/x").cause is Cause.OK
    monkeypatch.setattr(addresses, "connect", connect)
    assert fetch("http://data.example:{http}/plain/x").detail == "no-route"


@pytest.mark.parametrize("number", [97, 99, 101])  # family not supported, cannot assign, network unreachable
def test_an_ipv6_host_is_not_accused_of_our_missing_ipv6(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def connect(sock: socket.socket, sockaddr: Any, timeout: float) -> None:
        raise OSError(number, "no IPv6 here")

    monkeypatch.setattr(addresses, "connect", connect)
    sockaddr = ("2606:2800:21f::1", 80, 0, 0)
    monkeypatch.setattr(
        addresses, "getaddrinfo", lambda host, port: [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", sockaddr)]
    )
    outcome = fetch("http://data.example:{http}/plain/x")
    assert (outcome.cause, outcome.detail) == (Cause.REFUSED_BY_POLICY, "no-ipv6")


def test_stop(fetch: Fetch, origin: HostileOrigin) -> None:
    stop = threading.Event()
    begun = time.monotonic()
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    outcome = fetch("http://data.example:{http}/hang/x", stop=stop)
    timer.join()
    assert (outcome.cause, outcome.detail) == (Cause.OWN_FAULT, "stopped")
    assert time.monotonic() - begun < 1.5


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80))
def test_any_string_gives_an_outcome_with_a_sentence(url: str) -> None:
    """Most are no URL; a few are, and those may go nowhere."""
    outcome = fetch_link(
        FetchRequest(url),
        limits=Limits(total_timeout=2),
        policy=Policy(proxy="http://127.0.0.1:9"),
        spool=None,
    )
    assert reasons.reason(outcome.detail, outcome.facts)
    assert outcome.cause in (Cause.BAD_URL, Cause.REFUSED_BY_POLICY, Cause.OWN_FAULT)


HOPELESS = [
    "",
    "x" * 10_000_000,
    "http://" + "a." * 5_000_000,
    "http://\ud800/",
    "http://a/\0",
    "http://[::1",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "data:,x",
    "http://h:99999/",
]


@pytest.mark.parametrize("url", HOPELESS, ids=lambda url: url[:20].encode("ascii", "backslashreplace").decode())
def test_hopeless_urls(url: str) -> None:
    outcome = fetch_link(FetchRequest(url), limits=Limits(), policy=Policy(), spool=None)
    assert outcome.requests == 0
    assert reasons.reason(outcome.detail, outcome.facts)


# -- the address that was judged is the one that is used ----------------------------------------------------------


def test_a_name_that_changes_its_address_is_judged_at_each_connection(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, origin: HostileOrigin
) -> None:
    answers_of_dns = iter(["127.0.0.1", "10.0.0.1"])
    monkeypatch.setattr(
        addresses,
        "getaddrinfo",
        lambda host, port: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers_of_dns), port))],
    )
    outcome = fetch("http://data.example:{http}/home/x")
    assert (outcome.cause, outcome.detail) == (Cause.REFUSED_BY_POLICY, "address-refused")
    assert outcome.requests == 1


def test_the_second_look_at_a_certificate_is_guarded_too(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    answers_of_dns = iter(["127.0.0.1", "10.0.0.1"])
    monkeypatch.setattr(
        addresses,
        "getaddrinfo",
        lambda host, port: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers_of_dns), port))],
    )
    outcome = fetch(f"https://{HOST}:{{expired}}/plain/x")
    assert (outcome.cause, outcome.detail) == (Cause.TLS, "tls-other")
    assert outcome.facts["problem"] == "certificate has expired"


# -- the operator's proxy -------------------------------------------------------------------------------------------


class Proxy:
    """An HTTP proxy of one connection at a time, as simple as can be."""

    def __init__(self, refuse: str = "") -> None:
        self.heads: list[bytes] = []
        self._refuse = refuse
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://joe:s%40e@127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            with client:
                self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65_536)
        self.heads.append(head)
        if self._refuse:
            client.sendall(f"HTTP/1.1 {self._refuse}\r\n\r\n".encode())
            return
        found = re.match(rb"(\w+) (?:http://)?[^:/ ]+:(\d+)", head)
        assert found
        with socket.create_connection(("127.0.0.1", int(found[2]))) as server:
            if found[1] == b"CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                server.sendall(head)
            back = threading.Thread(target=_pump, args=(server, client))
            back.start()
            _pump(client, server)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            back.join(5)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


def test_proxy_for_http(fetch: Fetch, proxy: Proxy, origin: HostileOrigin, caplog: pytest.LogCaptureFixture) -> None:
    dial._log_proxy_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        outcome = fetch("http://inside.example:{http}/plain/x", policy={"proxy": proxy.url, "allowed_addresses": ()})
    assert outcome.cause is Cause.OK, outcome
    place = f"http://inside.example:{origin.ports['http']}/plain/x"
    assert proxy.heads[0].startswith(f"GET {place} HTTP/1.1\r\nHost: inside.example:".encode())
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"joe:s@e") in proxy.heads[0]
    assert "now decides which addresses" in caplog.text
    assert "s%40e" not in caplog.text


def test_proxy_for_https(fetch: Fetch, proxy: Proxy, origin: HostileOrigin) -> None:
    outcome = fetch(f"https://{HOST}:{{good}}/echo/x", policy={"proxy": proxy.url, "allowed_addresses": ()})
    assert outcome.cause is Cause.OK, outcome
    assert proxy.heads[0].startswith(f"CONNECT {HOST}:{origin.ports['good']} HTTP/1.1\r\n".encode())
    assert "Proxy-Authorization" not in read(outcome)
    assert outcome.certificate is not None


def test_a_bad_certificate_behind_a_proxy(fetch: Fetch, proxy: Proxy) -> None:
    outcome = fetch(f"https://{HOST}:{{expired}}/echo/x", policy={"proxy": proxy.url, "allowed_addresses": ()})
    assert outcome.detail == "tls-expired"
    assert len(proxy.heads) == 2


@pytest.mark.parametrize(
    ("says", "cause", "detail"),
    [
        ("407 Proxy Authentication Required", Cause.OWN_FAULT, "proxy-down"),
        ("403 Forbidden", Cause.REFUSED_BY_POLICY, "proxy-refused"),
        ("502 Bad Gateway", Cause.UNREACHABLE, "proxy-no-connection"),
    ],
)
def test_what_a_proxy_refuses(fetch: Fetch, says: str, cause: Cause, detail: str) -> None:
    proxy = Proxy(refuse=says)
    outcome = fetch(f"https://{HOST}:{{good}}/echo/x", policy={"proxy": proxy.url})
    proxy.close()
    assert (outcome.cause, outcome.detail) == (cause, detail)


@pytest.mark.parametrize(
    ("says", "cause", "detail"),
    [
        ("503 x\r\nX-Squid-Error: ERR_DNS_FAIL 0", Cause.UNREACHABLE, "proxy-no-connection"),
        ("504 x\r\nProxy-Status: p; error=connection_timeout", Cause.UNREACHABLE, "proxy-no-connection"),
        ("403 x\r\nX-Squid-Error: ERR_ACCESS_DENIED 0", Cause.REFUSED_BY_POLICY, "proxy-refused"),
        ("503 x\r\nProxy-Status: p; received-status=503", Cause.SERVER_ERROR, "http-status"),
        ("404 x", Cause.GONE, "http-gone"),
    ],
)
def test_a_proxys_own_words_are_not_the_servers(fetch: Fetch, says: str, cause: Cause, detail: str) -> None:
    proxy = Proxy(refuse=says)
    outcome = fetch("http://data.example:{http}/plain/x", policy={"proxy": proxy.url})
    proxy.close()
    assert (outcome.cause, outcome.detail) == (cause, detail)


def test_a_proxy_that_wants_another_password(fetch: Fetch) -> None:
    proxy = Proxy(refuse="407 Proxy Authentication Required")
    outcome = fetch("http://data.example:{http}/plain/x", policy={"proxy": proxy.url})
    proxy.close()
    assert (outcome.cause, outcome.detail) == (Cause.OWN_FAULT, "proxy-down")


@pytest.mark.parametrize("url", ["http://127.0.0.1:{refused}", "https://127.0.0.1:{good}", "http://"])
def test_a_proxy_that_does_not_work_is_our_own_fault(fetch: Fetch, origin: HostileOrigin, url: str) -> None:
    for name, port in origin.ports.items():
        url = url.replace(f"{{{name}}}", str(port))
    outcome = fetch("http://data.example:{http}/plain/x", policy={"proxy": url})
    assert (outcome.cause, outcome.detail) == (Cause.OWN_FAULT, "proxy-down")


# -- what it costs ----------------------------------------------------------------------------------------------

_MEASURE = """
import pathlib, sys
from ckanext.archiver.engine import fetch
from ckanext.archiver.engine.outcome import FetchRequest, Limits, Policy

def peak():
    # Not ru_maxrss, which a new program inherits from the one that started it.
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024

port, spool = sys.argv[1], pathlib.Path(sys.argv[2])
limits = Limits(max_content_length=int(sys.argv[4]), max_ratio=2_000, total_timeout=100)
policy = Policy(allowed_addresses=("127.0.0.1",))

def look(path):
    return fetch.fetch(FetchRequest(f"http://127.0.0.1:{port}/{path}"), limits=limits, policy=policy,
                      spool=spool if sys.argv[5] == "keep" else None)

idle = peak()
outcome = look(sys.argv[3])
print(outcome.cause, outcome.detail, outcome.size or 0, outcome.bytes_read, peak() - idle)
"""
MEGA = 1_000_000


@pytest.mark.parametrize(
    ("path", "limit", "keep", "said"),
    [
        ("five-gigabytes/x", 10_000 * MEGA, "", "ok ok 5000000000 5000000000"),
        ("zip-bomb/x", 10_000 * MEGA, "keep", "ok ok 300000000 "),
        ("endless/x", 100 * MEGA, "keep", "too-large too-large 0 "),
        ("tiny-chunks/x", 2 * MEGA, "keep", "too-large too-large 0 "),
        ("head-flood/x", 100 * MEGA, "keep", "server-error headers-too-large 0 0"),
    ],
)
def test_memory_is_flat(path: str, limit: int, keep: str, said: str, tmp_path: Path) -> None:
    """At most 8 MB over what the idle process has, whatever the body; measured in a process of its own."""
    with HostileOrigin(BIG, Authority(tmp_path)) as origin:
        spool = tmp_path / "spool"
        spool.mkdir()
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                _MEASURE,
                str(origin.ports["http"]),
                str(spool),
                path,
                str(limit),
                keep or "drop",
            ],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[3],
            timeout=110,
        )
    *outcome, memory = done.stdout.rsplit(" ", 1)
    assert outcome[0].startswith(said)
    assert int(memory) <= 8 * 1024 * 1024


async def _five_gigabytes(talk: Conversation) -> None:
    piece = bytes(1_000_000)
    await talk.send(ok(b"", length=5_000_000_000))
    for _ in range(5_000):
        await talk.send(piece)


async def _zip_bomb(talk: Conversation) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(300)) + packer.flush()
    assert len(packed) < 320_000
    await talk.send(ok(packed, "Content-Encoding: gzip"))


async def _tiny_chunks(talk: Conversation) -> None:
    await talk.send(ok(b"", "Transfer-Encoding: chunked", length=None))
    await talk.endless(b"4\r\nxxxx\r\n" * 10_000)


async def _head_flood(talk: Conversation) -> None:
    await talk.send(b"HTTP/1.1 200 OK\r\n")
    await talk.endless(b"X" * 60_000)


BIG: dict[str, Any] = {
    "plain": ok(),
    "five-gigabytes": _five_gigabytes,
    "zip-bomb": _zip_bomb,
    "endless": CASES["endless"],
    "tiny-chunks": _tiny_chunks,
    "head-flood": _head_flood,
}


def test_a_fetch_is_cheap(fetch: Fetch) -> None:
    """At most 1.5 ms of processor time for a small file, the origin's own share in this process included."""
    url = "http://127.0.0.1:{http}/plain/x"
    fetch(url)
    begun = time.thread_time()
    for _ in range(200):
        outcome = fetch(url)
        assert outcome.temp_path
        outcome.temp_path.unlink()
    assert (time.thread_time() - begun) / 200 < 0.001_5


def test_every_connection_is_closed(fetch: Fetch) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("plain/x", "missing/x", "home/x", "endless/x"):
        fetch("http://data.example:{http}/" + path, limits={"max_content_length": 100_000})
        fetch("http://data.example:{http}/" + path, check_only=True)
    fetch(f"https://{HOST}:{{expired}}/plain/x")
    fetch(f"https://{HOST}:{{good}}/plain/x")
    # The origin's own ends close a moment later.
    deadline = time.monotonic() + 5
    while len(list(Path("/proc/self/fd").iterdir())) > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_the_body_is_the_one_file(fetch: Fetch, tmp_path: Path) -> None:
    outcome = fetch("http://data.example:{http}/plain/x")
    assert outcome.temp_path
    assert outcome.temp_path.read_bytes() == CSV
    assert [outcome.temp_path] == list(tmp_path.iterdir())
