"""A web server for tests, kept because the tests of ckanext-qa and of forks import it. Our own have another one.

The query string says what is answered: ``status``, ``content`` (or ``content_long``, a million bytes), ``length`` (a
Content-Length that may be wrong); every other parameter becomes a header.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask, Response, make_response, request

_LONG = "*" * 1_000_001

# Path → (service, version that is asked for, document).
_SERVICES = {
    "WMS_1_3": (
        "WMS",
        "1.3",
        b'<?xml version="1.0"?>\n<WMS_Capabilities version="1.3.0" xmlns="http://www.opengis.net/wms"/>\n',
    ),
    "WMS_1_1_1": ("WMS", "1.1.1", b'<?xml version="1.0"?>\n<WMT_MS_Capabilities version="1.1.1"/>\n'),
    "WFS": (
        "WFS",
        None,
        b'<?xml version="1.0"?>\n<wfs:WFS_Capabilities version="2.0.0" xmlns:wfs="http://www.opengis.net/wfs/2.0"/>\n',
    ),
}


def create_app() -> Flask:
    """The application; ``create_app().run(port=9091)`` serves it."""
    app = Flask(__name__)
    _route(app, "/", _echo)
    for name, (service, version, document) in _SERVICES.items():
        _route(app, f"/{name}/", _capabilities(service, version, document), name)
    return app


def _route(app: Flask, prefix: str, answer: Callable[..., Response], name: str = "echo") -> None:
    app.add_url_rule(prefix, name, answer, defaults={"path": ""})
    app.add_url_rule(f"{prefix}<path:path>", name, answer)


def _echo(path: str) -> Response:
    return _respond(_LONG if "content_long" in request.args else request.args.get("content", ""))


def _capabilities(service: str, version: str | None, document: bytes) -> Callable[..., Response]:
    def answer(path: str) -> Response:
        asked = request.args
        wanted = asked.get("service") == service and asked.get("request") == "GetCapabilities"
        if wanted and version in (None, asked.get("version")):
            return _respond(document)
        return _respond(asked.get("content", ""))

    return answer


def _respond(content: str | bytes) -> Response:
    response = make_response(content, int(request.args.get("status", 200)))
    for name, value in request.args.items():
        if name not in ("content", "status"):
            response.headers[name] = value
    if length := request.args.get("length"):
        response.headers["Content-Length"] = length
    return response
