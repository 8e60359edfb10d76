"""Write docs/verdicts.rst from the rules of ``verdict.py`` and the sentences of ``engine/reasons.py``.

Runs as a process of the stack's environment: ``python -m _docs.verdicts``, also by ``bin/docs --write``.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ckanext.archiver.engine.outcome import Cause
from ckanext.archiver.engine.reasons import REASONS
from ckanext.archiver.verdict import Rule, Rules, rule_for

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "verdicts.rst"

RULES = Rules()
CONFIRMED: dict[Rule, str] = {
    Rule.SUCCESS: "ok at once",
    Rule.AT_ONCE: "broken at once",
    Rule.CONFIRM: (
        f"failing; broken after {RULES.runs} failed runs over {RULES.hours:g} hours "
        "(``ckanext-archiver.confirm_runs``, "
        "``ckanext-archiver.confirm_hours``)"
    ),
    Rule.CONFIRM_GONE: (
        "broken at once if the link never worked or was just edited; else failing, checked again after an "
        "hour, and broken "
        f"when a check {RULES.gone_hours:g} hours after the first says the same "
        "(``ckanext-archiver.gone_recheck_hours``, "
        "``ckanext-archiver.gone_hours``)"
    ),
    Rule.CONFIRM_DNS: (
        f"failing; broken after {RULES.runs_dns} failed runs over {RULES.hours_dns:g} hours "
        "(``ckanext-archiver.confirm_runs_dns``, ``ckanext-archiver.confirm_hours_dns``)"
    ),
    Rule.NOT_SURE: "not sure, however long it lasts",
    Rule.HOLD: "no verdict: the run is not recorded, and the request waits (``ckanext-archiver.hold_seconds``)",
}


@dataclass(frozen=True)
class Section:
    """The details of one cause for which a publisher, or the operator, does the same."""

    cause: Cause
    seen: str
    to_do: str
    details: tuple[str, ...]


SECTIONS: tuple[Section, ...] = (
    Section(
        Cause.OK,
        "The file, or an answer that shows that it is there.",
        "Nothing.",
        ("ok", "ok-checked", "ok-not-modified", "ok-undecodable", "ok-upload"),
    ),
    Section(
        Cause.TOO_LARGE,
        "A file that is larger than ``ckanext-archiver.max_content_length``, as announced or as counted.",
        "Nothing. The operator may raise the limit, or set the mode check for such links.",
        ("too-large", "too-large-announced", "expands-too-much"),
    ),
    Section(
        Cause.GONE,
        "404, 410, a missing file on an FTP server or in the portal's storage, a host name that does not exist.",
        "Enter the new URL of the file, or remove the resource.",
        ("http-gone", "http-removed", "ftp-gone", "upload-missing", "dns-not-found"),
    ),
    Section(
        Cause.BAD_URL,
        "Text in the place of a URL, or a URL that no program can request.",
        "Correct the URL.",
        (
            *("url-empty", "url-too-long", "url-nul", "url-surrogate", "url-prose", "url-no-scheme", "url-local-path"),
            *("url-no-host", "url-bad-host", "url-host-too-long", "url-bad-port", "url-bad-brackets", "ftp-bad-path"),
        ),
    ),
    Section(
        Cause.SERVER_ERROR,
        "500, 502, 503 without Retry-After, 504, 520 to 530 and every status that no other section names; "
        "an answer that "
        "is cut off or not HTTP.",
        "Tell the operator of the server.",
        (
            *("http-status", "unasked", "truncated", "truncated-chunked", "not-http", "head-cut", "headers-too-large"),
            *("headers-too-many", "conflicting-length", "bad-framing", "bad-encoding", "ftp-status", "ftp-garbage"),
        ),
    ),
    Section(
        Cause.UNREACHABLE,
        "No connection, a connection that breaks, or a server that is too slow (the options for time limits).",
        "Tell the operator of the server.",
        (
            *("connect-timeout", "refused", "reset", "no-route", "no-answer", "first-byte-timeout", "read-timeout"),
            *("too-slow", "total-timeout", "dns-failed", "host-down", "tls-alert", "tls-closed", "tls-not-spoken"),
            *("tls-too-old", "tls-timeout", "tls-broken", "proxy-no-connection"),
        ),
    ),
    Section(
        Cause.TLS,
        "A certificate that browsers warn about.",
        "Tell the operator of the server what is wrong with the certificate.",
        (
            *("tls-expired", "tls-expired-issuer", "tls-not-yet-valid", "tls-wrong-host", "tls-self-signed"),
            *("tls-incomplete-chain", "tls-unknown-issuer", "tls-incomplete-or-unknown", "tls-other"),
        ),
    ),
    Section(
        Cause.REDIRECT,
        "Redirects in a circle, too many of them, or one that leads nowhere.",
        "Enter the URL to which the redirects should lead.",
        ("redirect-loop", "redirect-too-many", "redirect-nowhere", "redirect-bad-url", "redirect-scheme"),
    ),
    Section(
        Cause.BLOCKED,
        "401, 402, 403, 406, 407, 418, 420, 423, 428, 429, 440, 449, 451, 498, 509, 511, 999; 503 with "
        "Retry-After; the page "
        "of a firewall, with any status; a redirect to a log-in.",
        "Open the link in a browser. If it works for everybody, ask the operator of the server to let the archiver in, "
        "by its User-Agent or its address.",
        (
            *("http-blocked", "http-busy", "challenge", "login-wall", "service-login", "service-busy", "ftp-login"),
            *("arcgis-login", "upload-elsewhere"),
        ),
    ),
    Section(
        Cause.SOFT_404,
        "A good status with nothing, with a page or a message where data was promised (by the declared "
        "format, else by the "
        "extension of the URL, the file name that the server sends, or what the previous copy was), or "
        "with the front page "
        "of the site. A copy stays; a doubtful answer replaces it only once it came "
        "in ``ckanext-archiver.doubt_runs`` checks over ``ckanext-archiver.doubt_hours`` hours, or after "
        "the publisher has "
        "edited URL or format.",
        "Open the link in a browser. Correct the URL, or declare the format that the link has.",
        (
            *("soft-empty", "soft-no-content", "soft-html", "soft-message", "soft-not-found-page", "soft-root"),
            *("soft-not-ready", "doubt-replaced"),
        ),
    ),
    Section(
        Cause.SOFT_404,
        "A good status with an error that a service reports in the body. Certain is only that a layer, an "
        "item or a service "
        "does not exist.",
        "Enter the new address of the layer or the service, or tell its operator.",
        ("soft-service-exception", "soft-arcgis-error", "soft-service-failure", "soft-arcgis-failure"),
    ),
    Section(
        Cause.REFUSED_BY_POLICY,
        "An address, a port or a kind of link that the archiver does not request.",
        "Nothing, if the link is meant for users inside a network. The operator may allow addresses "
        "(``ckanext-archiver.allowed_addresses``) and FTP (``ckanext-archiver.allow_ftp``).",
        ("address-refused", "port-refused", "scheme-refused", "ftp-off", "no-ipv6", "proxy-refused"),
    ),
    Section(
        Cause.OWN_FAULT,
        "A fault on the archiver's side.",
        "The operator of the portal finds the reason in the log and in ``ckan archiver status``.",
        (
            *("disk-full", "disk-broken", "resolver-down", "network-down", "out-of-sockets", "proxy-down"),
            *("bad-ca-bundle", "stopped", "gave-way", "defect", "upload-unreadable", "poison"),
        ),
    ),
)

INTRODUCTION = """\
.. Written from verdict.py and engine/reasons.py: python -m _docs.verdicts in bin/, or bin/docs --write.

Causes and verdicts
===================

What a run of the archiver can meet, what it says about it, and how a failure is confirmed. The page
`When is a link called broken? <judging.rst>`_ has the reasons.
``ckan archiver check URL`` shows the cause of one link, and with ``--retry`` the result of a whole run.
"""


def page() -> str:
    """The whole page."""
    return INTRODUCTION + "\n".join(line for section in SECTIONS for line in _section(section)) + "\n"


def _section(section: Section) -> Iterator[str]:
    title = str(section.cause)
    if section is not next(other for other in SECTIONS if other.cause is section.cause):
        title += ": errors of services"
    yield from ("", title, "-" * len(title), "")
    yield from _wrapped(f"**Seen:** {section.seen}")
    yield ""
    yield from _wrapped(f"**What to do:** {section.to_do}")
    yield from ("", ".. list-table::", "   :header-rows: 1", "   :widths: 62 38", "")
    yield from ("   * - What is said", "     - How it is confirmed")
    for detail in section.details:
        yield from _cell("   * - ", _shown(REASONS[detail]))
        yield from _cell("     - ", CONFIRMED[rule_for(section.cause, detail)])


def _shown(sentence: str) -> str:
    return re.sub(r"\{(\w+)\}", r"*\1*", sentence).replace('"*', '"\\ *').replace('*"', '*\\ "')


def _cell(start: str, text: str) -> list[str]:
    lines = textwrap.wrap(text, 110, break_long_words=False, break_on_hyphens=False)
    return [(start if place == 0 else " " * len(start)) + line for place, line in enumerate(lines)]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 118, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
