"""The sentences that tell people what happened to a link.

``REASONS`` maps every :attr:`Outcome.detail` to an English sentence with named placeholders for its facts. Pages
translate the sentence and then fill it; the API and the command line show it in English.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def N_(text: str) -> str:
    """Mark a sentence for translation; it is translated where it is shown."""
    return text


REASONS: dict[str, str] = {
    # ok
    "ok": N_("The file was downloaded."),
    "ok-checked": N_("The link works."),
    "ok-not-modified": N_("The file has not changed."),
    "ok-undecodable": N_(
        "The link works. The server compresses the file in a way that the archiver cannot decode, so no copy is kept."
    ),
    "ok-upload": N_("The file is stored in this portal."),
    # too-large
    "too-large": N_("The link works. The file is larger than the limit of {limit}, so no copy is kept."),
    "too-large-announced": N_("The link works. The file is {size} large and the limit is {limit}, so no copy is kept."),
    "expands-too-much": N_(
        "The link works. The file expands to more than {ratio} times its compressed size, so no copy is kept."
    ),
    # gone
    "http-gone": N_("The server says the file is gone ({status} {phrase})."),
    "dns-not-found": N_("There is no server with the name {host}."),
    "http-removed": N_("The server says the file was removed permanently ({status} {phrase})."),
    "ftp-gone": N_("The FTP server has no such file, or does not allow public access to it ({status})."),
    "upload-missing": N_("The uploaded file {filename} is missing from the storage of this portal."),
    # bad-url
    "url-empty": N_("There is no URL."),
    "url-too-long": N_("The URL is {length} characters long; the limit is {limit}."),
    "url-nul": N_("The URL contains a null character."),
    "url-surrogate": N_("The URL contains half a character, which cannot be sent."),
    "url-prose": N_("This is text, not a URL. A URL begins with http:// or https://."),
    "url-no-scheme": N_("The URL does not begin with http:// or https://."),
    "url-local-path": N_("This is a path on a local computer, not a URL."),
    "url-no-host": N_("The URL has no server name after the //."),
    "url-bad-host": N_("The server name {host} is not valid."),
    "url-host-too-long": N_("The server name in the URL is too long."),
    "url-bad-port": N_("The port in the URL is not a number from 1 to 65535."),
    "ftp-bad-path": N_("The path in the URL contains a line break."),
    "url-bad-brackets": N_("The brackets in the URL do not contain an IPv6 address."),
    # server-error
    "http-status": N_("The server answered {status} {phrase}."),
    "unasked": N_("The server answered {status} {phrase} although the request did not ask for it."),
    "truncated": N_("The file was cut off: {received} of {expected} bytes arrived."),
    "truncated-chunked": N_("The file was cut off after {received} bytes."),
    "not-http": N_("The server's response is not HTTP."),
    "head-cut": N_("The server closed the connection in the middle of its headers."),
    "headers-too-large": N_("The server sent more than {limit} bytes of headers."),
    "headers-too-many": N_("The server sent more than {limit} headers."),
    "conflicting-length": N_("The server sent different lengths for the file."),
    "bad-framing": N_("The server's response breaks the rules of HTTP, so the end of the file is not known."),
    "bad-encoding": N_("The server says that it compressed the file, but the file cannot be decompressed."),
    "ftp-status": N_("The FTP server answered {status}."),
    "ftp-garbage": N_("The server's response is not FTP."),
    # unreachable
    "connect-timeout": N_("The server {host} did not accept the connection within {seconds} seconds."),
    "refused": N_("The server {host} refused the connection."),
    "reset": N_("The server broke off the connection."),
    "no-route": N_("There is no way to the server {host}."),
    "no-answer": N_("The server closed the connection without an answer."),
    "first-byte-timeout": N_("The server did not begin to answer within {seconds} seconds."),
    "read-timeout": N_("The server sent nothing for {seconds} seconds in the middle of its answer."),
    "too-slow": N_("The server sent less than {rate} bytes a second."),
    "total-timeout": N_("The server did not finish within {seconds} seconds."),
    "dns-failed": N_("The name {host} cannot be looked up at present."),
    "host-down": N_("The server {host} has not answered since {since}."),
    "tls-alert": N_("The server refused to set up a secure connection."),
    "tls-closed": N_("The server closed the connection while it was being secured."),
    "tls-not-spoken": N_("The server does not speak HTTPS on this port."),
    "tls-too-old": N_("The server supports only versions of TLS that browsers no longer accept."),
    "tls-timeout": N_("The secure connection was not set up within {seconds} seconds."),
    "tls-broken": N_("The secure connection broke."),
    "proxy-no-connection": N_("The proxy could not connect to the server {host}."),
    # tls
    "tls-expired": N_("The certificate of {host} expired on {date}."),
    "tls-expired-issuer": N_("The certificate of {issuer}, on which that of {host} depends, expired on {date}."),
    "tls-not-yet-valid": N_("The certificate of {host} is not valid before {date}."),
    "tls-wrong-host": N_("The certificate is for {names}, not {host}."),
    "tls-self-signed": N_("The certificate of {host} is self-signed, so browsers warn about it."),
    "tls-incomplete-chain": N_(
        "The certificate of {host} cannot be verified: the server does not send the intermediate certificate {issuer}."
    ),
    "tls-unknown-issuer": N_("The certificate of {host} comes from {issuer}, which is not a known authority."),
    "tls-incomplete-or-unknown": N_(
        "The certificate of {host} cannot be verified: the server does not send the intermediate certificate"
        " {issuer}, or {issuer} is not a known authority."
    ),
    "tls-other": N_("The certificate of {host} cannot be verified ({problem})."),
    # blocked
    "http-blocked": N_("The server does not give the file to the archiver ({status} {phrase}); a browser may get it."),
    "http-busy": N_("The server asks us to come back later ({status} {phrase})."),
    "challenge": N_("The server demands a browser before it gives the file ({status} {phrase})."),
    "ftp-login": N_("The FTP server asks for a login ({status})."),
    "login-wall": N_("The server {host} asks for a login before it gives the file."),
    "service-login": N_("The service asks for a login: {message}"),
    "service-busy": N_("The service asks us to come back later: {message}"),
    "arcgis-login": N_("The ArcGIS server asks for a login (code {code})."),
    "upload-elsewhere": N_(
        "The uploaded file {filename} is kept where the archiver cannot read it; a browser may get it."
    ),
    # redirect
    "redirect-loop": N_("The server redirects in a circle, back to {url}."),
    "redirect-too-many": N_("The server redirects more than {limit} times."),
    "redirect-nowhere": N_("The server redirects without a target ({status} {phrase})."),
    "redirect-bad-url": N_("The server redirects to a target that is not a valid URL."),
    "redirect-scheme": N_("The server redirects to a URL that is not http or https ({scheme})."),
    # soft-404
    "soft-empty": N_("The server answered with an empty file."),
    "soft-no-content": N_("The server answered that there is no content ({status} {phrase})."),
    "soft-not-ready": N_("The server is still preparing the file ({status} {phrase})."),
    "soft-message": N_('The server sent a message instead of the file: "{message}".'),
    "soft-service-failure": N_("The service answered with an error: {message}"),
    "soft-html": N_("The server sent a web page instead of a {format} file."),
    "soft-not-found-page": N_('The server sent a page that says "{title}".'),
    "doubt-replaced": N_(
        "The server sent a file of another kind than expected in several checks, so that file has replaced the cached"
        " copy."
    ),
    "soft-root": N_("The link leads to the front page of {host}."),
    "soft-service-exception": N_("The service answered with an error: {message}"),
    "soft-arcgis-error": N_("The ArcGIS server answered with error {code}: {message}"),
    "soft-arcgis-failure": N_("The ArcGIS server answered with error {code}: {message}"),
    # refused-by-policy
    "address-refused": N_("This portal does not allow its archiver to connect to this address."),
    "port-refused": N_("This portal does not allow its archiver to connect to this port."),
    "scheme-refused": N_("Links of this kind ({scheme}) are not checked."),
    "ftp-off": N_("FTP links are not checked."),
    "no-ipv6": N_("The server has only an IPv6 address, which the archiver's network cannot reach."),
    "proxy-refused": N_("This portal does not allow its archiver to connect to this address."),
    # own-fault
    "disk-full": N_("There is no space on the archiver's disk."),
    "disk-broken": N_("The archiver cannot write to its disk."),
    "resolver-down": N_("The archiver cannot look up server names."),
    "network-down": N_("The archiver's network is down."),
    "out-of-sockets": N_("The archiver's machine has no connections left."),
    "proxy-down": N_("The archiver's proxy does not work."),
    "bad-ca-bundle": N_("The archiver's certificate bundle cannot be read."),
    "stopped": N_("The archiver was stopped."),
    "gave-way": N_("The transfer takes long, and goes on with the regular round."),
    "defect": N_("The archiver has a defect; see its log."),
    "upload-unreadable": N_("The uploaded file {filename} cannot be read from the storage of this portal."),
    "poison": N_("The archiver's worker died {times} times while it fetched this link."),
}


SIZES: dict[str, tuple[str, ...]] = {"too-large": ("limit",), "too-large-announced": ("size", "limit")}
"""Facts that are sizes in bytes, by detail: they are shown in the unit that fits."""


def reason(detail: str, facts: Mapping[str, str | int]) -> str:
    """The English sentence of ``detail`` filled with ``facts``.

    :raises KeyError: for a detail that is not in ``REASONS`` or a fact that is missing (a defect, not input)
    """
    sizes = {name: size_text(int(facts[name])) for name in SIZES.get(detail, ()) if name in facts}
    return REASONS[detail].format(**{**facts, **sizes})


def size_text(number: int) -> str:
    """A number of bytes in the unit that fits, rounded down as CKAN rounds sizes: "8.2 KiB"."""
    size = float(number)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{math.floor(size * 10) / 10} {unit}"
        size /= 1024
    return f"{math.floor(size * 10) / 10} TiB"
