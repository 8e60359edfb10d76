"""What we add to a request is never held against the link.

HEAD, a range and the parameters of a service are our own additions: a bad response to them may be about the addition
and not about the file. So the link is requested once more without them, and only that response counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import ogc, urls
from .failure import Failure
from .outcome import Cause, Outcome
from .session import Session


@dataclass(frozen=True)
class Attempt:
    """One way of requesting a link.

    :ivar run: makes the request; returns None where the response does not settle the matter
    :ivar addition: what is added to the request, as a key of ``FetchRequest.hints``
    :ivar excuses: whether a failure may be due to the addition, so that the next attempt decides
    :ivar taken_for_refusal: a response that does not settle the matter shows that the host does not accept the addition
    """

    run: Callable[[], Outcome | None]
    addition: str
    excuses: Callable[[Failure], bool]
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
        try:
            outcome = attempt.run()
            refused = attempt.taken_for_refusal
        except Failure as failure:
            if not attempt.excuses(failure):
                raise
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


def with_service_parameters(
    session: Session, target: urls.Target, request: Callable[[urls.Target], Outcome]
) -> Outcome:
    """Request the link; if it is an OGC service that only lacks its parameters, request it once more with them."""
    try:
        return request(target)
    except Failure as failure:
        complete = _with_parameters(session, target, failure)
        if complete is None:
            raise
        bare = session.new_trail(complete)
        try:
            return request(complete)
        except Failure as second:
            if second.cause is not Cause.OWN_FAULT:
                session.trail.close()
                session.trail = bare
                raise failure from second
            raise


def _with_parameters(session: Session, target: urls.Target, failure: Failure) -> urls.Target | None:
    status = session.trail.head.status if session.trail.head else 0
    if status not in ogc.STATUSES and failure.detail != "soft-service-exception":
        return None
    url = ogc.complete(target.url, session.request.format)
    complete = urls.normalise(url) if url else None
    return complete if isinstance(complete, urls.Target) else None
