"""Checks of the network: the portal itself, names, addresses, the proxy, TLS."""

from __future__ import annotations

import email.utils
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from ckanext.archiver import clock, config
from ckanext.archiver.doctor.finding import Finding, ok, problem, warning
from ckanext.archiver.engine import fetch as engine
from ckanext.archiver.engine import reasons
from ckanext.archiver.engine.outcome import Cause, FetchRequest, Outcome
from ckanext.archiver.options import without_password
from ckanext.archiver.queue import sql

SECONDS = 5
"""Seconds that our own servers may take to answer, and that clocks may differ."""


def ask_our_own(url: str) -> Outcome:
    """Request a URL of the portal's own, without a proxy; any address is allowed."""
    limits = replace(
        config.limits(),
        connect_timeout=SECONDS,
        first_byte_timeout=SECONDS,
        read_timeout=SECONDS,
        total_timeout=2 * SECONDS,
    )
    policy = replace(config.policy(), allowed_addresses=("0.0.0.0/0", "::/0"), proxy=None)
    return engine.fetch(FetchRequest(url=url, check_only=True), limits=limits, policy=policy, spool=None)


def site() -> Iterator[Finding]:
    """Whether the workers reach CKAN, and CKAN's machine has the same time."""
    url = f"{config.site_url_internally()}/api/3/action/status_show"
    outcome = ask_our_own(url)
    if outcome.cause is not Cause.OK:
        why = reasons.reason(outcome.detail, outcome.facts)
        yield warning(
            f"{url} cannot be reached from here: {why} Workers need it for uploads that a plugin stores elsewhere.",
            "ckan.site_url_internally = (a URL at which this machine reaches CKAN)",
        )
        return
    yield ok("The portal can be reached from here.")
    headers = {name.lower(): value for name, value in outcome.headers.items()}
    try:
        apart = abs((clock.utc() - email.utils.parsedate_to_datetime(headers["date"])).total_seconds())
    except (KeyError, TypeError, ValueError):
        return
    if apart > SECONDS:
        yield problem(
            f"The clocks of this machine and of the web server differ by {apart:,.0f} s.",
            "Have both keep time by NTP, for example: systemctl enable --now systemd-timesyncd",
        )


def outgoing() -> Iterator[Finding]:
    """Whether names resolve and a link that worked lately can be reached."""
    row = sql.run(
        "SELECT source_url FROM archival WHERE verdict = 'ok' AND source_url LIKE 'http%' AND cause = 'ok' "
        "ORDER BY last_success DESC NULLS LAST LIMIT 1"
    ).first()
    if row is None:
        yield ok("No link has worked yet by which the network could be tried.")
        return
    host = urlsplit(row.source_url).hostname or ""
    if config.proxy() is None:
        try:
            socket.getaddrinfo(host, None)
        except OSError as e:
            yield problem(
                f"The name {host}, whose link worked before, does not resolve: {e.strerror}.",
                "Check the name servers in /etc/resolv.conf.",
            )
            return
    limits = replace(config.limits(), total_timeout=4 * SECONDS)
    outcome = engine.fetch(
        FetchRequest(url=row.source_url, check_only=True), limits=limits, policy=config.policy(), spool=None
    )
    if outcome.cause in (Cause.UNREACHABLE, Cause.TLS, Cause.OWN_FAULT):
        why = reasons.reason(outcome.detail, outcome.facts)
        yield warning(
            f"A link on {host} that worked before cannot be reached now: {why}",
            f"ckan archiver check {row.source_url}",
        )
    elif outcome.cause is Cause.REFUSED_BY_POLICY:
        yield warning(
            f"A link on {host} that worked before is refused by the configuration: "
            f"{reasons.reason(outcome.detail, outcome.facts)}",
            "Where the server is in your own network: ckanext-archiver.allowed_addresses = (its address or network)",
        )
    else:
        yield ok(f"Names resolve, and {host} answers.")


def addresses() -> Iterator[Finding]:
    """Which families of addresses this machine can reach."""
    routes = {
        "IPv4": _has_route("/proc/net/route", 1, "00000000"),
        "IPv6": _has_route("/proc/net/ipv6_route", 0, "0" * 32),
    }
    missing = [family for family, there in routes.items() if there is False]
    if missing == ["IPv4"] or len(missing) == 2:
        yield warning(
            "This machine has no default route for IPv4: only hosts of its own network can be reached.",
            "Look at: ip route",
        )
    elif missing:
        yield ok("This machine has no default route for IPv6; links are requested over IPv4.")
    else:
        yield ok("This machine has routes for IPv4 and IPv6.")


def _has_route(table: str, column: int, default: str) -> bool | None:
    """Whether the kernel's table has a default route by a device other than loopback; None where it cannot be read."""
    try:
        lines = [line.split() for line in Path(table).read_text().splitlines()]
    except OSError:
        return None
    outside = [words for words in lines if len(words) > column and "lo" not in (words[0], words[-1])]
    return any(words[column] == default for words in outside)


def proxy() -> Iterator[Finding]:
    """Whether the proxy, if there is one, answers."""
    url = config.proxy()
    if url is None:
        yield ok("No proxy is set; links are requested directly.")
        return
    parts = urlsplit(url)
    shown = without_password(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=SECONDS):
            pass
    except OSError as e:
        yield problem(
            f"The proxy {shown} cannot be reached: {e.strerror or e}.", "Start it, or correct ckan.download_proxy."
        )
        return
    yield ok(f"The proxy {shown} accepts connections; it decides which addresses may be requested.")


def tls() -> Iterator[Finding]:
    """Whether TLS can name hosts (SNI) and has authorities to trust."""
    if not ssl.HAS_SNI:
        yield problem(
            "This Python's TLS cannot send server names (SNI).", "Install a Python with OpenSSL 1.1.1 or later."
        )
        return
    bundle = config.policy().ca_bundle
    context = ssl.create_default_context(cafile=bundle)
    authorities = context.cert_store_stats()["x509_ca"]
    if bundle and not authorities:
        yield problem(
            f"{bundle} holds no certificate authority: every https link fails.", "Remove ckanext-archiver.ca_bundle."
        )
    else:
        yield ok(f"TLS sends server names ({ssl.OPENSSL_VERSION}).")


CHECKS = {
    "portal": site,
    "links": outgoing,
    "addresses": addresses,
    "proxy": proxy,
    "TLS": tls,
}
