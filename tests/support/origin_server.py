"""A small web server on loopback whose answers a test programs: somebody else's site, with our links to it.

For servers that break the protocol itself (slow bytes, lies about lengths, TLS faults) see the engine's own tests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Request:
    """What somebody asked of the origin."""

    method: str
    path: str
    headers: Mapping[str, str]
    at: float  # time.monotonic()


@dataclass
class Answer:
    """What the origin says. With ``gate`` it says nothing until the test sets that event."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    gate: threading.Event | None = None


class Origin:
    """``url = origin.serve("/data.csv", b"a,b\\n1,2\\n")``, then look at ``origin.requests``.

    A path that is not served is a 404. ``serve`` again replaces the answer; ``answer`` takes a function.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._answers: dict[str, Callable[[Request], Answer]] = {}
        self._gates: list[threading.Event] = []
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_GET(self) -> None:
                origin._handle(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, *arguments: object) -> None:
                """Tests read ``origin.requests`` instead."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def serve(
        self,
        path: str,
        body: bytes = b"",
        *,
        status: int = 200,
        content_type: str = "text/csv",
        headers: Mapping[str, str] | None = None,
        gate: threading.Event | None = None,
    ) -> str:
        """Answer ``path`` like this from now on; returns its URL. ``gate``: answer only once it is set."""
        answer = Answer(body, status, {"Content-Type": content_type, **(headers or {})}, gate)
        return self.answer(path, lambda _: answer)

    def redirect(self, path: str, to: str, status: int = 301) -> str:
        return self.serve(path, status=status, headers={"Location": to})

    def answer(self, path: str, how: Callable[[Request], Answer]) -> str:
        """Answer ``path`` with what ``how(request)`` returns, anew for each request; returns its URL."""
        self._answers[path] = how
        return self.url(path)

    def asked(self, path: str, method: str | None = None) -> int:
        """How often ``path`` was asked for."""
        return sum(one.path == path and method in (None, one.method) for one in self.requests)

    def close(self) -> None:
        for gate in self._gates:
            gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        request = Request(handler.command, handler.path, dict(handler.headers.items()), time.monotonic())
        self.requests.append(request)
        handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        path = request.path.partition("?")[0]
        how = self._answers.get(request.path) or self._answers.get(path)
        answer = how(request) if how else Answer(b"not here", 404, {"Content-Type": "text/plain"})
        if answer.gate:
            self._gates.append(answer.gate)
            answer.gate.wait(60)
        try:
            handler.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            if request.method != "HEAD":
                handler.wfile.write(answer.body)
        except OSError:
            handler.close_connection = True  # the other side has gone: that is its own affair
