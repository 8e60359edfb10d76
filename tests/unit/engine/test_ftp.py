"""FTP, with a small server that can be told to misbehave."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckanext.archiver.engine import addresses
from ckanext.archiver.engine.fetch import fetch as fetch_link
from ckanext.archiver.engine.outcome import Cause, FetchRequest, Limits, Outcome, Policy

CSV = b"a,b\n1,2\n" * 500


class FtpServer:
    """Serves ``files`` on one port; ``replies`` replaces what it says to a command (None: it says nothing).

    :ivar commands: what was heard
    """

    def __init__(self, files: dict[str, bytes], host: str = "127.0.0.1") -> None:
        self.files = files
        self.replies: dict[str, str | None] = {}
        self.commands: list[str] = []
        self.cut_at: int | None = None
        self.drip = False
        self._server = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port = self._server.getsockname()[1]
        self._host = host
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
            threading.Thread(target=self._guarded, args=(client,), daemon=True).start()

    def _guarded(self, client: socket.socket) -> None:
        with client:
            try:
                self._talk(client)
            except OSError:
                return

    def _talk(self, client: socket.socket) -> None:
        def say(text: str | None) -> None:
            if text is not None:
                client.sendall(text.encode("latin-1") + b"\r\n")

        say(self.replies.get("welcome", "220-Hello\r\n220 there"))
        data: socket.socket | None = None
        for raw in client.makefile("rb"):
            line = raw.decode("latin-1").rstrip("\r\n")
            self.commands.append(line)
            verb, _, word = line.partition(" ")
            if verb in self.replies and verb != "RETR-END":
                say(self.replies[verb])
            elif verb == "PASV":
                data = socket.create_server((self._host, 0))
                high, low = divmod(data.getsockname()[1], 256)
                # An address that is not ours: clients must not go there.
                say(f"227 Entering Passive Mode (10,9,8,7,{high},{low})")
            elif verb == "EPSV":
                data = socket.create_server((self._host, 0), family=socket.AF_INET6)
                say(f"229 Extended (|||{data.getsockname()[1]}|)")
            elif verb == "SIZE":
                say(f"213 {len(self.files[word])}" if word in self.files else "550 no such file")
            elif verb == "RETR" and word in self.files and data:
                say("150 here it comes")
                self._send(data, self.files[word])
                say(self.replies.get("RETR-END", "226 done"))
            elif verb == "RETR":
                say("550 no such file")
            elif verb == "CWD":
                say("250 ok" if word.strip("/.") in ("", "folder") else "550 no such folder")
            else:
                say({"USER": "331 password", "PASS": "230 in", "TYPE": "200 ok"}.get(verb, "502 what?"))

    def _send(self, data: socket.socket, body: bytes) -> None:
        with data, data.accept()[0] as pipe:
            if self.drip:
                for byte in body:
                    pipe.sendall(bytes([byte]))
                    time.sleep(0.05)
            pipe.sendall(body[: self.cut_at])


@pytest.fixture
def server() -> Iterator[FtpServer]:
    made = FtpServer(
        {"folder/data.csv": CSV, "empty.csv": b"", "short.csv": b"a,b\n1,2\n3,4\n5,6\n", "a b\xe4.csv": CSV}
    )
    yield made
    made.close()


Fetch = Callable[..., Outcome]


@pytest.fixture
def fetch(server: FtpServer, tmp_path: Path) -> Fetch:
    def look(path: str = "folder/data.csv", limits: Any = (), policy: Any = (), **request: Any) -> Outcome:
        known: dict[str, Any] = {"allowed_addresses": ("127.0.0.0/8", "::1"), "allow_ftp": True}
        url = path if "://" in path else f"ftp://127.0.0.1:{server.port}/{path}"
        return fetch_link(
            FetchRequest(url, **request),
            limits=Limits(**dict(limits)),
            policy=Policy(**{**known, **dict(policy)}),
            spool=tmp_path,
        )

    return look


def said(outcome: Outcome) -> str:
    return f"{outcome.cause} {outcome.detail}"


def test_a_file(fetch: Fetch, server: FtpServer) -> None:
    outcome = fetch()
    assert said(outcome) == "ok ok"
    assert outcome.temp_path
    assert outcome.temp_path.read_bytes() == CSV
    assert (outcome.size, outcome.bytes_read, outcome.requests) == (len(CSV), len(CSV), 1)
    assert (outcome.mimetype, outcome.filename, outcome.http_status) == ("text/csv", "data.csv", None)
    assert server.commands[:3] == ["USER anonymous", "PASS anonymous@", "TYPE I"]


def test_over_ipv6(tmp_path: Path) -> None:
    server = FtpServer({"x.csv": CSV}, "::1")
    outcome = fetch_link(
        FetchRequest(f"ftp://[::1]:{server.port}/x.csv"),
        limits=Limits(),
        policy=Policy(allowed_addresses=("::1",), allow_ftp=True),
        spool=tmp_path,
    )
    server.close()
    assert said(outcome) == "ok ok"


def test_a_login_and_a_path_of_any_bytes(fetch: Fetch, server: FtpServer) -> None:
    outcome = fetch(f"ftp://joe:s%40e@127.0.0.1:{server.port}/a%20b%E4.csv;type=i")
    assert said(outcome) == "ok ok"
    assert server.commands[:2] == ["USER joe", "PASS s@e"]
    assert "RETR a b\xe4.csv" in server.commands


def test_off_by_default(fetch: Fetch, server: FtpServer) -> None:
    assert said(fetch(policy={"allow_ftp": False})) == "refused-by-policy ftp-off"
    assert said(fetch(policy={"proxy": "http://127.0.0.1:9"})) == "refused-by-policy ftp-off"
    assert server.commands == []


def test_addresses_are_judged(fetch: Fetch, server: FtpServer) -> None:
    assert said(fetch(policy={"allowed_addresses": ()})) == "refused-by-policy address-refused"
    assert server.commands == []


def test_the_passive_address_is_judged_again(fetch: Fetch, server: FtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allowed by its name, not by its address: the data connection must go by the same name."""
    monkeypatch.setattr(
        addresses,
        "getaddrinfo",
        lambda host, port: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))],
    )
    url = f"ftp://files.example:{server.port}/folder/data.csv"
    assert said(fetch(url, policy={"allowed_addresses": ("files.example",)})) == "ok ok"
    assert said(fetch(url, policy={"allowed_addresses": ("other.example",)})) == "refused-by-policy address-refused"


def test_check_only(fetch: Fetch, server: FtpServer, tmp_path: Path) -> None:
    outcome = fetch(check_only=True)
    assert (said(outcome), outcome.size, outcome.bytes_read) == ("ok ok-checked", len(CSV), 0)
    server.replies["SIZE"] = "502 what?"
    outcome = fetch(check_only=True)
    assert said(outcome) == "ok ok-checked"
    assert 0 < outcome.bytes_read <= 2_048
    assert list(tmp_path.iterdir()) == []


def test_a_folder_can_be_seen_but_not_kept(fetch: Fetch, tmp_path: Path) -> None:
    assert said(fetch("folder/")) == "ok ok-checked"
    assert said(fetch("")) == "ok ok-checked"
    assert said(fetch("other/")) == "gone ftp-gone"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("verb", "reply", "what"),
    [
        ("SIZE", "550 no such file", "gone ftp-gone"),
        ("RETR", "550 no such file", "gone ftp-gone"),
        ("PASS", "530 not you", "blocked ftp-login"),
        ("USER", "530 nobody", "blocked ftp-login"),
        ("USER", "421 too many users", "server-error ftp-status"),
        ("TYPE", "500 what?", "server-error ftp-status"),
        ("PASV", "227 no numbers here", "server-error ftp-garbage"),
        ("PASV", "227 (1,2,3,4,0,22)", "refused-by-policy port-refused"),
        ("PASV", "227 (1,2,3,4,999,999)", "server-error ftp-garbage"),
        ("RETR", "425 no data connection", "server-error ftp-status"),
        ("RETR", "999 what", "server-error ftp-garbage"),
        ("welcome", "garbage", "server-error ftp-garbage"),
        ("welcome", "220-" + "x" * 9_000, "server-error ftp-garbage"),
        ("welcome", "220-x\r\n" * 50_000, "server-error headers-too-large"),
        ("RETR-END", "426 broken off", "server-error truncated-chunked"),
    ],
)
def test_replies(fetch: Fetch, server: FtpServer, tmp_path: Path, verb: str, reply: str, what: str) -> None:
    server.replies[verb] = reply
    assert said(fetch()) == what
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file(fetch: Fetch) -> None:
    assert said(fetch("nothing.csv")) == "gone ftp-gone"


def test_an_empty_file(fetch: Fetch) -> None:
    assert said(fetch("empty.csv")) == "soft-404 soft-empty"


def test_cut_off(fetch: Fetch, server: FtpServer, tmp_path: Path) -> None:
    server.cut_at = 100
    outcome = fetch()
    assert said(outcome) == "server-error truncated"
    assert outcome.facts == {"received": 100, "expected": len(CSV)}
    assert list(tmp_path.iterdir()) == []


def test_too_large(fetch: Fetch, server: FtpServer) -> None:
    assert said(fetch(limits={"max_content_length": 100})) == "too-large too-large-announced"
    assert not any(command.startswith("RETR") for command in server.commands)
    server.replies["SIZE"] = "502 what?"
    assert said(fetch(limits={"max_content_length": 100})) == "too-large too-large"


@pytest.mark.parametrize("verb", ["welcome", "PASS", "PASV", "RETR", "RETR-END"])
def test_silence_ends_in_time(fetch: Fetch, server: FtpServer, verb: str) -> None:
    server.replies[verb] = None
    outcome = fetch(limits={"first_byte_timeout": 0.4, "read_timeout": 0.4})
    assert outcome.cause is Cause.UNREACHABLE
    assert outcome.seconds < 2


def test_the_control_connection_may_be_silent_while_the_file_comes(server: FtpServer, fetch: Fetch) -> None:
    """What it says at the end has waited, and is not slow."""
    server.drip = True
    outcome = fetch("short.csv", limits={"floor_rate": 5, "floor_seconds": 0.3})
    assert said(outcome) == "ok ok"
    assert outcome.seconds > 0.6, "or this shows nothing"


def test_a_byte_now_and_then_ends_in_time(fetch: Fetch, server: FtpServer) -> None:
    server.drip = True
    outcome = fetch(limits={"floor_rate": 2_000, "floor_seconds": 0.5})
    assert said(outcome) == "unreachable too-slow"
    assert outcome.seconds < 2


def test_a_line_break_in_a_path_is_no_command(fetch: Fetch, server: FtpServer) -> None:
    assert said(fetch("x%0d%0aDELE%20y")) == "bad-url ftp-bad-path"
    assert server.commands == []
