"""The web server that the demo's links lead to, on loopback: good files, and everything that goes wrong with links."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """What the server says at one path.

    :ivar announced: the Content-Length, where it is not that of ``body`` (a file too large to make)
    :ivar location: where a redirect leads, a path of this server
    :ivar silent: take the request and say nothing
    """

    content_type: str = "text/html; charset=utf-8"
    body: bytes = b""
    status: int = 200
    announced: int | None = None
    location: str = ""
    silent: bool = False


class Origin:
    """Serves ``answers`` (path → answer) until it is closed; any other path is a 404."""

    def __init__(self, port: int, answers: Mapping[str, Answer]) -> None:
        self.answers = answers
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Origin:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


def _handler(origin: Origin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            answer = origin.answers.get(self.path.partition("?")[0], Answer(status=404))
            if answer.silent:
                # Longer than anybody is willing to wait.
                origin.closing.wait(60)
                self.close_connection = True
                return
            etag = f'"{hashlib.sha256(answer.body).hexdigest()[:16]}"'
            if answer.status == 200 and self.headers.get("If-None-Match") == etag:
                self.send_response(304)
                self.send_header("ETag", etag)
                self.end_headers()
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(answer.announced or len(answer.body)))
            if answer.status == 200:
                self.send_header("ETag", etag)
            if answer.location:
                self.send_header("Location", answer.location)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(answer.body)
            if answer.announced:
                self.close_connection = True

        do_HEAD = do_GET

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                self.close_connection = True  # a reader who has seen enough

        def log_message(self, format: str, *arguments: object) -> None:
            """Whoever wants to know reads the log of the workers."""

    return Handler
