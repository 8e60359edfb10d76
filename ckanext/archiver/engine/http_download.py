"""Download a file over HTTP."""

from __future__ import annotations

import email.utils
from dataclasses import replace

from . import http_status, urls
from .failure import Failure
from .http_attempts import with_service_parameters
from .http_exchange import Headers, codings_to_decode, follow
from .outcome import Cause, FetchRequest, Outcome
from .session import Response, Session
from .store import Sink


def download(session: Session, target: urls.Target) -> Outcome:
    """:raises Failure: for every end but a success"""
    conditions = _conditions(session.request)
    return with_service_parameters(session, target, lambda t: _save(session, follow(session, t, "GET", conditions)))


def _save(session: Session, response: Response) -> Outcome:
    head = response.head
    if head.status == 304 and _conditions(session.request):
        return session.succeeded("ok-not-modified", response, not_modified=True)
    failure = http_status.failure_of_status(head)
    if failure:
        raise failure
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
        outcome = session.succeeded("ok", response, first, size=sink.size, sha256=sink.sha256, sha1=sink.sha1)
        return replace(outcome, temp_path=sink.finish())
    finally:
        sink.discard()


def _conditions(request: FetchRequest) -> Headers:
    """The headers of a conditional request; stored values that are not valid as headers are left out."""
    headers = {}
    etag, modified = request.etag, request.last_modified
    if etag and len(etag) < 1_000 and etag.isprintable() and all(ord(char) < 256 for char in etag):
        headers["If-None-Match"] = etag
    if modified and modified.isascii() and modified.isprintable() and email.utils.parsedate(modified):
        headers["If-Modified-Since"] = modified
    return headers
