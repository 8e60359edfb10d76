"""Check a link over HTTP without downloading its file: HEAD, then GET of a range, then GET."""

from __future__ import annotations

from . import content, ogc, urls
from .failure import Failure
from .http_attempts import (
    FINAL,
    Attempt,
    by_encoding,
    by_method,
    first_settled,
    never,
    with_service_parameters,
)
from .http_exchange import PLAIN, Headers, announced_size, codings_to_decode, follow, is_from_start, size_of_range
from .outcome import Cause, Outcome
from .session import Response, Session


def check(session: Session, target: urls.Target) -> Outcome:
    """No bad response to HEAD counts: many servers answer only GET correctly.

    :raises Failure: the link does not work
    """

    def get(target: urls.Target, headers: Headers) -> Outcome:
        return _sniff(session, follow(session, target, "GET", headers))

    def by_get(target: urls.Target) -> Outcome:
        with_encoding = Attempt("encoding", lambda: get(target, {}), by_encoding)
        return first_settled(session, target, (with_encoding,), lambda: get(target, PLAIN))

    if ogc.is_service(target.url, session.request.format):
        # Services report errors in the body, and do not know ranges.
        return with_service_parameters(session, target, by_get)
    attempts = (
        Attempt("head", lambda: _head(session, target), by_method),
        Attempt("ranges", lambda: _range(session, target), never, taken_for_refusal=True),
    )
    return with_service_parameters(
        session, target, lambda t: first_settled(session, t, attempts, lambda: by_get(t)) if t is target else by_get(t)
    )


def _head(session: Session, target: urls.Target) -> Outcome | None:
    response = follow(session, target, "HEAD", {})
    session.raise_for_status(response)
    promise = session.promise(response)
    content_type = response.head.get("content-type")
    if not content.is_conclusive(promise, content_type) or announced_size(response.head) == 0:
        return None
    session.hints["head"] = True
    return session.succeeded("ok-checked", response, size=announced_size(response.head))


def _range(session: Session, target: urls.Target) -> Outcome | None:
    """The beginning of the file; None where the response may be about the range, not about the link."""
    try:
        response = follow(session, target, "GET", {"Range": "bytes=0-"})
    except Failure as failure:
        if failure.cause is not Cause.SERVER_ERROR:
            raise
        return None
    if is_from_start(response.head):
        outcome = _sniff(session, response, ranged=True)
        session.hints["ranges"] = True
        return outcome
    return _sniff(session, response) if response.head.status in FINAL else None


def _sniff(session: Session, response: Response, *, ranged: bool = False) -> Outcome:
    """Judge the response by its first kilobyte.

    :param ranged: the response is the requested range
    """
    if not ranged:
        session.raise_for_status(response)
    size = size_of_range(response.head) if ranged else announced_size(response.head)
    codings = codings_to_decode(response)
    if codings is None:
        return session.succeeded("ok-checked", response, size=size)
    first = session.sniff(response, codings)
    return session.succeeded("ok-checked", response, first, size=size)
