"""The meaning of a status and its headers for a link: the table of causes, as pure functions."""

from __future__ import annotations

import email.utils
import http
from datetime import datetime, timezone

from . import walls
from .failure import Failure
from .outcome import Cause
from .wire import Head

REDIRECTS = frozenset({301, 302, 303, 307, 308})  # the Fetch standard's "redirect status"
PERMANENT = frozenset({301, 308})
# 201 and 203 bring the file as 200 does. 202 means that it is not ready: its body is not the file.
GOOD = frozenset({200, 201, 203})
EMPTY = frozenset({204, 205})
GONE = frozenset({404, 410})
# Not in a standard: 418 and 999 of firewalls (999: LinkedIn's, and copies of it), 420 of Twitter and 509 of Apache for
# too many requests, 440 and 449 of IIS for a log-in that is over, 498 and 499 of ArcGIS (as statuses 499 is nginx's
# own).
BLOCKED = frozenset({401, 402, 403, 406, 407, 418, 420, 423, 428, 429, 440, 449, 451, 498, 509, 511, 999})
# Worth another attempt within the run. For all other statuses, a second attempt gets the same response.
TRANSIENT = frozenset({408, 421, 425, 500, 502, 503, 504, 507, *range(520, 531)})

MAX_RETRY_AFTER = 86_400
"""Seconds."""

# Not in http.HTTPStatus: Cloudflare's (https://developers.cloudflare.com/support/troubleshooting/http-status-codes/)
# and a few well-known ones.
_PHRASES = {
    418: "I'm a teapot",
    420: "Enhance Your Calm",
    440: "Login Time-out",
    449: "Retry With",
    498: "Invalid Token",
    509: "Bandwidth Limit Exceeded",
    520: "Web Server Returned an Unknown Error",
    521: "Web Server Is Down",
    522: "Connection Timed Out",
    523: "Origin Is Unreachable",
    524: "A Timeout Occurred",
    525: "SSL Handshake Failed",
    526: "Invalid SSL Certificate",
    530: "Origin DNS Error",
    999: "Request Denied",
}


def phrase(status: int) -> str:
    """The standard phrase of a status; never the remote's own."""
    try:
        return _PHRASES.get(status) or http.HTTPStatus(status).phrase
    except ValueError:
        return "not a standard status"


def failure_of_status(head: Head) -> Failure | None:
    """The failure of a final response, by its head alone; None for one that brings a file."""
    status = head.status
    facts: dict[str, str | int] = {"status": status, "phrase": phrase(status)}
    if walls.by_head(head):
        return challenge(status)
    if status in GOOD:
        return None
    if status in GONE:
        return Failure(Cause.GONE, "http-gone" if status == 404 else "http-removed", **facts)
    if status == 202:
        return Failure(Cause.SOFT_404, "soft-not-ready", **facts)
    if status in EMPTY:
        return Failure(Cause.SOFT_404, "soft-no-content", **facts)
    if status in BLOCKED:
        return Failure(Cause.BLOCKED, "http-blocked", **facts)
    if status == 503 and "retry-after" in head.every:
        return Failure(Cause.BLOCKED, "http-busy", **facts)
    if status in (206, 304):
        return Failure(Cause.SERVER_ERROR, "unasked", True, **facts)
    return Failure(Cause.SERVER_ERROR, "http-status", status in TRANSIENT, **facts)


def challenge(status: int) -> Failure:
    """The failure of a link behind a firewall that demands a browser."""
    return Failure(Cause.BLOCKED, "challenge", status=status, phrase=phrase(status))


def retry_after(head: Head, now: datetime) -> int | None:
    """Seconds that the server asks us to wait (RFC 9110 §10.2.3: seconds or a date), 0 to ``MAX_RETRY_AFTER``."""
    value = head.get("retry-after")[:64]
    if value.isascii() and value.isdigit():
        return min(int(value), MAX_RETRY_AFTER)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    try:
        seconds = (when - now).total_seconds()
    except OverflowError:
        return None
    return int(min(max(seconds, 0), MAX_RETRY_AFTER))


def redirect_from(head: Head) -> str | None:
    """The target of a redirect; None if the response is not a redirect.

    :raises Failure: the redirect has no target
    """
    if head.status not in REDIRECTS:
        return None
    location = head.get("location")
    if not location:
        raise Failure(Cause.REDIRECT, "redirect-nowhere", status=head.status, phrase=phrase(head.status))
    return location
