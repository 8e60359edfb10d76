"""Download a file over HTTP."""

from __future__ import annotations

import email.utils
from dataclasses import replace

from . import urls
from .failure import Failure
from .http_attempts import Attempt, by_condition, by_encoding, first_settled, with_service_parameters
from .http_exchange import PLAIN, Headers, codings_to_decode, follow
from .outcome import Cause, FetchRequest, Outcome
from .session import Response, Session
from .store import Sink


def download(session: Session, target: urls.Target) -> Outcome:
    """:raises Failure: for every end but a success"""
    return with_service_parameters(session, target, lambda t: _download(session, t))


def _download(session: Session, target: urls.Target) -> Outcome:
    conditions = _conditions(session.request)
    attempts = [Attempt("encoding", lambda: _save(session, follow(session, target, "GET", {})), by_encoding)]
    if conditions:
        conditional = Attempt("conditions", lambda: _conditional(session, target, conditions), by_condition)
        attempts.insert(0, conditional)
    return first_settled(session, target, attempts, lambda: _save(session, follow(session, target, "GET", PLAIN)))


def _conditional(session: Session, target: urls.Target, conditions: Headers) -> Outcome:
    response = follow(session, target, "GET", conditions)
    if response.head.status == 304:
        return session.succeeded("ok-not-modified", response, not_modified=True)
    return _save(session, response)


def _save(session: Session, response: Response) -> Outcome:
    session.raise_for_status(response)
    codings = codings_to_decode(response)
    if codings is None:
        return session.succeeded("ok-undecodable", response)
    limit = session.limits.max_content_length
    size = response.framing.length
    if size is not None and size > limit:
        raise Failure(Cause.TOO_LARGE, "too-large-announced", size=size, limit=limit)
    sink = Sink(session.spool, session.limits.min_free_bytes)
    try:
        first = session.save(response, codings, sink)
        outcome = session.doubted(response, first, size=sink.size, sha256=sink.sha256, sha1=sink.sha1)
        return replace(outcome, temp_path=sink.finish())
    finally:
        sink.discard()


def _conditions(request: FetchRequest) -> dict[str, str | None]:
    """The headers of a conditional request; stored values that are not valid as headers are left out."""
    headers: dict[str, str | None] = {}
    etag, modified = request.etag, request.last_modified
    if etag and len(etag) < 1_000 and etag.isprintable() and all(ord(char) < 256 for char in etag):
        headers["If-None-Match"] = etag
    if modified and modified.isascii() and modified.isprintable() and email.utils.parsedate(modified):
        headers["If-Modified-Since"] = modified
    return headers
