"""What we add to a request is never held against the link: the one place where requests are repeated without it.

HEAD, a range, conditions, Accept-Encoding and the parameters of a service are our own additions. A bad response to them
may be about the addition and not about the file, so the link is requested once more without it, and only that response
counts. What was learnt of the host is remembered as a hint.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import http_status, ogc, urls
from .dial import NoConnection
from .failure import Failure
from .outcome import Cause, Outcome
from .session import Session

log = logging.getLogger(__name__)

# Statuses that mean the same with an addition as without.
FINAL = http_status.GOOD | http_status.EMPTY | {401, 402, 404, 407, 410, 429, 451, 503, 999}
_ABOUT_ENCODING = frozenset({406, 415})
_EMPTY = frozenset({"soft-empty", "soft-no-content"})
_CUT_OFF = frozenset({"reset", "no-answer"})


@dataclass(frozen=True)
class Attempt:
    """One way of requesting a link.

    :ivar addition: what is added to the request, as a key of ``FetchRequest.hints``
    :ivar run: makes the request; returns None where the response does not settle the matter
    :ivar excuses: whether a failure may be due to the addition, so that the next attempt decides
    :ivar taken_for_refusal: a response that does not settle the matter shows that the host does not accept the addition
    """

    addition: str
    run: Callable[[], Outcome | None]
    excuses: Callable[[Session, Failure], bool]
    taken_for_refusal: bool = False


def first_settled(
    session: Session, target: urls.Target, attempts: Sequence[Attempt], plain: Callable[[], Outcome]
) -> Outcome:
    """Make the attempts in turn until one settles the matter; the plain request is the last.

    What was learnt of the host is kept only if the link works: only then was the addition at fault, not the link.

    :raises Failure: the link does not work
    """
    learnt: dict[str, bool] = {}
    for attempt in attempts:
        if session.request.hints.get(attempt.addition) is False:
            continue
        refused = attempt.taken_for_refusal
        try:
            outcome = attempt.run()
        except Failure as failure:
            if not attempt.excuses(session, failure):
                raise
            log.debug("%s, requested with %s: %s", session.asked_url, attempt.addition, failure.detail)
            outcome, refused = None, True
        if outcome is not None:
            session.hints.update(learnt)
            return outcome
        if refused:
            learnt[attempt.addition] = False
        session.new_trail(target)
    outcome = plain()
    session.hints.update(learnt)
    return outcome


def never(session: Session, failure: Failure) -> bool:
    """For an attempt that handles the failures of its addition itself."""
    return False


def by_method(session: Session, failure: Failure) -> bool:
    """Whether a failure may be due to HEAD: every failure but that of the connection."""
    return not isinstance(failure, NoConnection) or bool(session.trail.hops)


def by_condition(session: Session, failure: Failure) -> bool:
    """Whether a failure may be due to If-None-Match or If-Modified-Since.

    Servers respond to them with 412, 400, 403 or 500, with nothing at all, or by closing the connection.
    """
    if failure.detail in _EMPTY or failure.detail in _CUT_OFF:
        return not isinstance(failure, NoConnection)
    if failure.cause not in (Cause.SERVER_ERROR, Cause.BLOCKED) or failure.detail == "challenge":
        return False
    return session.trail.head is None or session.trail.head.status not in FINAL


def by_encoding(session: Session, failure: Failure) -> bool:
    """Whether a failure may be due to Accept-Encoding (RFC 9110 §12.5.3, §15.5.7)."""
    return session.trail.head is not None and session.trail.head.status in _ABOUT_ENCODING


def with_service_parameters(
    session: Session, target: urls.Target, request: Callable[[urls.Target], Outcome]
) -> Outcome:
    """Request the link; if it is an OGC service that only lacks its parameters, request it once more with them.

    The second question is ours: if it fails, the failure of the link itself counts.
    """
    try:
        return request(target)
    except Failure as failure:
        quirk = _quirk(session, target, failure)
        url = ogc.complete(target.url, quirk) if quirk else None
        complete = urls.normalise(url) if url else None
        if quirk is None or not isinstance(complete, urls.Target):
            raise
        bare = session.new_trail(complete)
        try:
            outcome = request(complete)
        except Failure as second:
            if second.cause is Cause.OWN_FAULT:
                raise
            session.trail.close()
            session.trail = bare
            raise failure from second
        if ogc.is_capabilities(session.first):
            session.request_type = ogc.label(quirk, session.first)
            return session.with_request_type(outcome)
        if outcome.temp_path is not None:
            outcome.temp_path.unlink(missing_ok=True)
        session.trail.close()
        session.trail = bare
        raise


def _quirk(session: Session, target: urls.Target, failure: Failure) -> ogc.Quirk | None:
    """The service that may only lack its parameters: known by URL or format, or by its own words."""
    status = session.trail.head.status if session.trail.head else 0
    if status not in ogc.STATUSES and failure.detail not in ogc.DETAILS:
        return None
    quirk = ogc.quirk_of(target.url, session.request.format)
    if quirk is None and failure.service in ("ogc", "mapserver") and failure.detail == "soft-service-failure":
        quirk = ogc.quirk_of_message(str(failure.facts.get("message", "")))
    return quirk
