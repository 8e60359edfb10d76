"""Check a link over HTTP without downloading its file: HEAD, then GET of a range, then GET."""

from __future__ import annotations

import logging

from . import http_status, ogc, soft_failures, urls
from .dial import NoConnection
from .failure import Failure
from .http_attempts import Attempt, first_settled, with_service_parameters
from .http_exchange import announced_size, codings_to_decode, follow, is_from_start, size_of_range
from .outcome import Cause, Outcome
from .session import Response, Session

log = logging.getLogger(__name__)

# Statuses that mean the same with a range as without.
FINAL_WHEN_RANGED = http_status.GOOD | http_status.EMPTY | {401, 402, 404, 407, 410, 429, 451, 503, 999}


def check(session: Session, target: urls.Target) -> Outcome:
    """No bad response to HEAD counts: many servers answer only GET correctly.

    :raises Failure: the link does not work
    """
    if ogc.is_service(target.url, session.request.format):
        # Services report errors in the body, and do not know ranges.
        return with_service_parameters(session, target, lambda t: _sniff(session, follow(session, t, "GET", {})))
    attempts = (
        Attempt(lambda: _head(session, target), "head", lambda failure: _is_about_head(session, failure)),
        Attempt(lambda: _range(session, target), "ranges", lambda failure: False, taken_for_refusal=True),
    )
    return first_settled(session, target, attempts, lambda: _sniff(session, follow(session, target, "GET", {})))


def _head(session: Session, target: urls.Target) -> Outcome | None:
    response = follow(session, target, "HEAD", {})
    if not _is_conclusive(session, response):
        return None
    session.hints["head"] = True
    return session.succeeded("ok-checked", response, size=announced_size(response.head))


def _is_conclusive(session: Session, response: Response) -> bool:
    """Whether the body could not change the verdict.

    :raises Failure: the status is bad
    """
    failure = http_status.failure_of_status(response.head)
    if failure:
        raise failure
    is_html = "html" in response.head.get("content-type").lower()
    may_be_page = is_html and (soft_failures.is_data(session.request.format) or bool(session.trail.hops))
    return not may_be_page and announced_size(response.head) != 0


def _is_about_head(session: Session, failure: Failure) -> bool:
    log.debug("HEAD of %s: %s", session.asked_url, failure.detail)
    return not isinstance(failure, NoConnection) or bool(session.trail.hops)


def _range(session: Session, target: urls.Target) -> Outcome | None:
    """The beginning of the file; None where the response may be about the range, not about the link."""
    try:
        response = follow(session, target, "GET", {"Range": "bytes=0-"})
    except Failure as failure:
        if failure.cause is not Cause.SERVER_ERROR:
            raise
        return None
    if response.head.status in FINAL_WHEN_RANGED or is_from_start(response.head):
        return _sniff(session, response)
    return None


def _sniff(session: Session, response: Response) -> Outcome:
    """Judge the response by its first kilobyte."""
    ranged = is_from_start(response.head)
    size = size_of_range(response.head) if ranged else announced_size(response.head)
    failure = None if ranged else http_status.failure_of_status(response.head)
    if failure:
        raise failure
    codings = codings_to_decode(response)
    if codings is None:
        return session.succeeded("ok-checked", response, size=size)
    first = session.sniff(response, codings)
    if ranged:
        session.hints["ranges"] = True
    return session.succeeded("ok-checked", response, first, size=size)
