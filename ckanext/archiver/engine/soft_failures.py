"""Responses with a good status that are not the file: walls, log-ins, errors of services, and pages instead of data.

Certain is only what a service itself reports in its own protocol (see ``service_errors``). Walls and log-ins say
nothing about the file. All others are doubts: they are never called broken, and what came with them never replaces a
copy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from . import content, formats, http_status, logins, pages, service_errors, walls
from .content import Fit, Promise
from .failure import Failure
from .outcome import Cause
from .wire import Head

MAX_TEXT = pages.MAX_TEXT
DOUBTS = frozenset({"soft-html", "soft-message", "soft-not-found-page", "soft-root"})
"""Details of responses that may be the new content of the link."""

_FRONT_PAGE = re.compile(r"(?:index|default|home)\.(?:s?html?|php\d?|aspx?|jsp|cfm)", re.IGNORECASE)

# The titles of pages that stand for a missing file: whole phrases, because "404" alone may be a bus line and "error" a
# topic. Medium confidence. The phrases are those that servers and content systems ship with (IIS, Apache, Drupal,
# WordPress, SharePoint, TYPO3), in the languages of the larger portals.
_NOT_FOUND = re.compile(
    r"\b(?:error|fehler|erreur|errore|http|status)\W{0,3}404\b"
    r"|\b404\W{0,3}(?:error|not found|page not found|file not found|nicht gefunden|fehler|file or directory)"
    r"|^\W*404\W*$"
    r"|\b(?:page|file|document|resource|dataset)\s+(?:(?:was|is|could|can)\s*)?(?:not|n['’]t)\s+(?:be\s+)?found\b"
    r"|^\W*not found\W*$"
    r"|\b(?:page|file|document|resource)\s+(?:does\s+not|doesn't|no longer)\s+exists?\b"
    r"|\bseite\s+(?:wurde\s+)?nicht\s+gefunden\b|\bdatei\s+(?:wurde\s+)?nicht\s+gefunden\b"
    r"|\bpage\s+(?:non\s+trouvée|introuvable)\b|\bfichier\s+(?:non\s+trouvé|introuvable)\b"
    r"|\bpágina\s+no\s+encontrada\b|\bpágina\s+não\s+encontrada\b|\bpagina\s+non\s+trovata\b"
    r"|\bpagina\s+niet\s+gevonden\b|\bsidan\s+(?:hittades\s+inte|kunde\s+inte\s+hittas)\b|\bsivua\s+ei\s+löydy\b"
    r"|\bsiden\s+blev\s+ikke\s+fundet\b|\bnie\s+znaleziono\s+strony\b|\bстраница\s+не\s+найдена\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Received:
    """What came.

    :ivar first: the beginning of the body, decoded
    :ivar whole: whether that is the whole body
    :ivar url: the link, normalised
    :ivar final_url: where its redirects led
    """

    first: bytes
    whole: bool
    url: str
    final_url: str
    head: Head

    @property
    def content_type(self) -> str:
        return self.head.get("content-type")


def failure_of_body(received: Received, promise: Promise) -> Failure | None:
    """The failure that a body shows although the status is good; None if it shows none."""
    if received.whole and not received.first.strip(b"\0 \t\r\n\xef\xbb\xbf"):
        return Failure(Cause.SOFT_404, "soft-empty")
    if _is_beyond_doubt(received):
        return None
    text = pages.utf8(received.first)
    error = service_errors.find(text, received.whole, json_promised=promise.is_json)
    if error:
        return service_errors.failure(error)
    fit = content.judge(promise, received.first, received.whole, received.content_type)
    if fit is Fit.PAGE or (fit is Fit.CANNOT_SAY and content.is_page(text, received.content_type)):
        return _failure_of_page(received, promise, text, fit)
    if fit is Fit.MESSAGE:
        return Failure(Cause.SOFT_404, "soft-message", message=pages.shown(text.decode("utf-8", "replace")))
    return None


def _is_beyond_doubt(received: Received) -> bool:
    """Whether a body is no page, no JSON and too long for a message: nearly every file, so this is fast."""
    if len(received.first) <= content.MAX_MESSAGE or "html" in received.content_type.lower():
        return False
    start = received.first[:64].lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")[:1]
    return start not in (b"", b"<", b"{", b"[")


def failure_of_error_page(head: Head, first: bytes) -> Failure | None:
    """The wall that the page of a bad status is, None if it is none."""
    text = pages.utf8(first)
    if content.is_page(text, head.get("content-type")) and walls.by_page(head, text):
        return http_status.challenge(head.status)
    return None


def _failure_of_page(received: Received, promise: Promise, page: bytes, fit: Fit) -> Failure | None:
    url, final_url = received.url, received.final_url
    if walls.by_page(received.head, page):
        return http_status.challenge(received.head.status)
    if logins.led_to_login(url, final_url) or (fit is Fit.PAGE and logins.is_login_form(page, pages.titles(page))):
        return Failure(Cause.BLOCKED, "login-wall", host=urlsplit(final_url).hostname or "")
    # High confidence: a browser would show it as a page as well. Not certain, since the page may contain the data.
    if formats.is_data(promise.declared) and fit is Fit.PAGE:
        return Failure(Cause.SOFT_404, "soft-html", format=promise.declared.strip()[:40])
    if _led_to_root(url, final_url):
        return Failure(Cause.SOFT_404, "soft-root", host=urlsplit(final_url).hostname or "")
    failure = _not_found_page(page)
    if failure is None and fit is Fit.PAGE:
        failure = Failure(Cause.SOFT_404, "soft-html", format=promise.formats[0])
    return failure


def _led_to_root(url: str, final_url: str) -> bool:
    """Whether a deep link ends at a front page. Medium confidence: sites redirect links to removed files there.

    A short path on another site does not count: that is how URL shorteners work. "/index.html" is the front page.
    """
    old, new = urlsplit(url), urlsplit(final_url)
    if new.path not in ("", "/") or new.query:
        return False
    path = old.path.strip("/")
    if _FRONT_PAGE.fullmatch(path):
        return False
    deep = "/" in path or "." in path or bool(old.query)
    return bool(path) and (deep or _site(old.hostname) == _site(new.hostname))


def _site(host: str | None) -> str:
    return (host or "").lower().removeprefix("www.")


def _not_found_page(page: bytes) -> Failure | None:
    for title in pages.titles(page):
        if _NOT_FOUND.search(title):
            return Failure(Cause.SOFT_404, "soft-not-found-page", title=title)
    return None
