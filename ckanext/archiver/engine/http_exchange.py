"""Requests over HTTP: one request and its response, and redirects followed to the final response."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from . import codings, http_status, urls, wire
from .dial import basic, dial, is_of_proxy, proxy_failure
from .failure import Failure, server_error
from .outcome import Cause, Hop
from .session import CHECK_RECEIVE_BYTES, Response, Session
from .wire import Body, Head

GZIP_TYPES = frozenset({"application/gzip", "application/x-gzip", "application/x-tgz", "application/x-gtar"})

Headers = Mapping[str, str | None]
"""Headers of a request, in addition to those of every request; None leaves a header out."""

PLAIN: Headers = {"Accept-Encoding": None}
"""Nothing that the link itself does not need."""


def follow(session: Session, target: urls.Target, method: str, headers: Headers) -> Response:
    """Send a request, and follow redirects to the final response.

    :raises Failure: no response, or redirects that lead nowhere
    """
    origin = _origin(target)
    login = (target.username, target.password) if target.has_credentials else None
    requested: Counter[tuple[str, str]] = Counter()
    while True:
        cookie = session.cookies.header(target.url)
        # Some servers redirect a first request to the same URL, with nothing changed that shows, and answer the second.
        if requested[target.url, cookie] == 2:
            raise Failure(Cause.REDIRECT, "redirect-loop", url=target.url[:200])
        requested[target.url, cookie] += 1
        extra = dict(headers)
        if cookie:
            extra["Cookie"] = cookie
        # Credentials of the link go to its own server only, as in browsers and curl.
        if login and _origin(target) == origin:
            extra["Authorization"] = basic(*login)
        response = _exchange(session, target, method, extra)
        location = http_status.redirect_from(response.head)
        if location is None:
            return response
        target = _redirected(session, response, location)


def _redirected(session: Session, response: Response, location: str) -> urls.Target:
    """:raises Failure: the target of a redirect cannot or may not be requested"""
    session.cookies.take(response.target.url, response.head.every.get("set-cookie", []))
    hops = session.trail.hops
    hops.append(Hop(response.target.url, response.head.status))
    if len(hops) > session.limits.max_redirects:
        raise Failure(Cause.REDIRECT, "redirect-too-many", limit=session.limits.max_redirects)
    target = urls.normalise(urls.join(response.target.url, location))
    if isinstance(target, urls.Target) and target.scheme in ("http", "https"):
        return target
    if isinstance(target, urls.Target):
        raise Failure(Cause.REDIRECT, "redirect-scheme", scheme=target.scheme)
    if target.detail == "scheme-refused":
        raise Failure(Cause.REDIRECT, "redirect-scheme", **target.facts)
    if target.cause is Cause.REFUSED_BY_POLICY:
        raise Failure(target.cause, target.detail, **target.facts)
    raise Failure(Cause.REDIRECT, "redirect-bad-url")


def _exchange(session: Session, target: urls.Target, method: str, extra: Headers) -> Response:
    """One request, one response.

    :raises NoConnection: the request could not be sent
    :raises Failure: the response is not HTTP
    """
    trail = session.trail
    trail.close()
    trail.final_url, trail.head, trail.certificate = target.url, None, None
    connection = dial(target, session.policy, session.deadline)
    stream = trail.stream = connection.stream
    trail.certificate = connection.certificate
    if session.request.check_only:
        stream.at_once = CHECK_RECEIVE_BYTES
    fields = {
        "Host": target.host_header,
        "User-Agent": session.policy.user_agent,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
        **extra,
        **dict(connection.headers),
    }
    place = target.url if connection.absolute else target.request_target
    text = f"{method} {place} HTTP/1.1\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in fields.items() if value is not None
    )
    session.requests += 1
    stream.send(f"{text}\r\n".encode("latin-1"))
    head, ahead = wire.read_head(stream)
    if connection.absolute and is_of_proxy(head):
        raise proxy_failure(head.status, target.host)
    trail.head = head
    framing = wire.framing(head, method)
    body = Body(stream, ahead, framing)
    session.bodies.append(body)
    return Response(target, head, framing, body)


def _origin(target: urls.Target) -> tuple[str, str, int]:
    return target.scheme, target.host, target.port


# -- what a head says about the file -----------------------------------------------------------------------


def announced_size(head: Head) -> int | None:
    """The size of the file by Content-Length, None if the head does not have it."""
    text = head.get("content-length")
    return int(text[:18]) if text.isascii() and text.isdigit() and not head.get("transfer-encoding") else None


def is_from_start(head: Head) -> bool:
    """Whether this is the requested 206: one that starts at byte 0."""
    return head.status == 206 and head.get("content-range").lower().replace(" ", "").startswith("bytes0-")


def size_of_range(head: Head) -> int | None:
    """The size of the whole file by Content-Range, None if the head does not have it."""
    text = head.get("content-range").rpartition("/")[2].strip()
    return int(text[:18]) if text.isascii() and text.isdigit() else None


def codings_to_decode(response: Response) -> tuple[str, ...] | None:
    """The codings to decode, outermost first; None if there is one that cannot be decoded.

    :raises Failure: more codings than any server has a reason for
    """
    # Older names of the same codings (RFC 9110 §8.4.1.3).
    names = tuple(name.removeprefix("x-") if name == "x-gzip" else name for name in response.framing.codings)
    if len(names) > codings.MAX_CODINGS:
        raise server_error("bad-encoding")
    if codings.UNDECODABLE & set(names):
        return None
    media_type = response.head.get("content-type").partition(";")[0].strip().lower()
    path = response.target.request_target.partition("?")[0].lower()
    # "file.csv.gz" with Content-Encoding: gzip means the .gz file itself (old Apache); browsers do not decode it.
    if names == ("gzip",) and (media_type in GZIP_TYPES or path.endswith((".gz", ".tgz"))):
        return ()
    return tuple(name for name in names if name in codings.DECODABLE)
