"""The one place where what happened becomes words for people.

``REASONS`` maps every :attr:`Outcome.detail` to an English sentence with named places for its facts. Pages
translate the sentence and then fill it; the API and the command line show it in English.
"""

from __future__ import annotations

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
        "The link works. The server compresses the file in a way the archiver does not read, so no copy is made."
    ),
    "ok-upload": N_("The file is stored in this portal."),
    # too-large
    "too-large": N_("The link works. The file is larger than the {limit} bytes that are kept, so no copy is made."),
    "too-large-announced": N_(
        "The link works. The file has {size} bytes; no more than {limit} are kept, so no copy is made."
    ),
    "expands-too-much": N_(
        "The link works. The file expands to more than {ratio} times what is sent, so no copy is made."
    ),
    # gone
    "http-gone": N_("The server says the file is gone ({status} {phrase})."),
    "dns-not-found": N_("There is no server called {host}."),
    "ftp-gone": N_("The FTP server has no such file, or does not give it to everybody ({status})."),
    "upload-missing": N_("The uploaded file {filename} is missing from the storage of this portal."),
    # bad-url
    "url-empty": N_("There is no URL."),
    "url-too-long": N_("The URL is {length} characters long; the limit is {limit}."),
    "url-nul": N_("The URL has a null character in it."),
    "url-surrogate": N_("The URL has half a character in it that cannot be written."),
    "url-prose": N_("This is text, not a URL. A URL begins with http:// or https://."),
    "url-no-scheme": N_("The URL does not begin with http:// or https://."),
    "url-local-path": N_("This is a path on somebody's computer, not a URL."),
    "url-no-host": N_("The URL has no server name after the //."),
    "url-bad-host": N_("The server name {host} is not a possible one."),
    "url-host-too-long": N_("The server name in the URL is too long."),
    "url-bad-port": N_("The port in the URL is not a number from 1 to 65535."),
    "ftp-bad-path": N_("The path in the URL has a line break in it."),
    "url-bad-brackets": N_("The brackets in the URL do not hold an IPv6 address."),
    # server-error
    "http-status": N_("The server answered {status} {phrase}."),
    "unasked": N_("The server answered {status} {phrase}, which nobody asked for."),
    "truncated": N_("The file was cut off: {received} of {expected} bytes came."),
    "truncated-chunked": N_("The file was cut off after {received} bytes."),
    "not-http": N_("What the server sent is not HTTP."),
    "head-cut": N_("The server closed the connection in the middle of its headers."),
    "headers-too-large": N_("The server sent more than {limit} bytes of headers."),
    "headers-too-many": N_("The server sent more than {limit} headers."),
    "conflicting-length": N_("The server named different lengths for the file."),
    "bad-framing": N_("The server's answer breaks the rules of HTTP, so where the file ends is not known."),
    "bad-encoding": N_("The server says it compressed the file, but it cannot be expanded."),
    "ftp-status": N_("The FTP server answered {status}."),
    "ftp-garbage": N_("What the server sent is not FTP."),
    # unreachable
    "connect-timeout": N_("The server {host} did not take the connection within {seconds} seconds."),
    "refused": N_("The server {host} refused the connection."),
    "reset": N_("The server broke off the connection."),
    "no-route": N_("There is no way to the server {host}."),
    "no-answer": N_("The server closed the connection without an answer."),
    "first-byte-timeout": N_("The server did not begin to answer within {seconds} seconds."),
    "read-timeout": N_("The server fell silent for {seconds} seconds in the middle of its answer."),
    "too-slow": N_("The server sent less than {rate} bytes a second."),
    "total-timeout": N_("The server did not finish within {seconds} seconds."),
    "dns-failed": N_("The name {host} could not be looked up now."),
    "host-down": N_("The server {host} has not answered since {since}."),
    "tls-alert": N_("The server refused to set up a secure connection."),
    "tls-closed": N_("The server closed the connection while it was being secured."),
    "tls-not-spoken": N_("The server does not speak HTTPS on this port."),
    "tls-too-old": N_("The server only knows versions of TLS that browsers no longer accept."),
    "tls-timeout": N_("The secure connection was not set up within {seconds} seconds."),
    "tls-broken": N_("The secure connection broke."),
    "proxy-no-connection": N_("The proxy could not connect to the server {host}."),
    # tls
    "tls-expired": N_("The certificate of {host} expired on {date}."),
    "tls-expired-issuer": N_("The certificate of {issuer}, which stands behind that of {host}, expired on {date}."),
    "tls-not-yet-valid": N_("The certificate of {host} is not valid before {date}."),
    "tls-wrong-host": N_("The certificate is for {names}, not {host}."),
    "tls-self-signed": N_("The certificate of {host} is self-signed, so browsers warn of it."),
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
    "http-blocked": N_("The server does not let the archiver see the file ({status} {phrase}); people may get it."),
    "http-busy": N_("The server asks for deadline ({status} {phrase})."),
    "challenge": N_("The server wants to see a browser before it shows the file ({status} {phrase})."),
    "ftp-login": N_("The FTP server asks for a login ({status})."),
    "arcgis-login": N_("The ArcGIS server asks for a login (code {code})."),
    "upload-elsewhere": N_(
        "The uploaded file {filename} is kept where the archiver cannot read it; people may get it."
    ),
    # redirect
    "redirect-loop": N_("The server redirects in a circle, back to {url}."),
    "redirect-too-many": N_("The server redirects more than {limit} times."),
    "redirect-nowhere": N_("The server redirects without saying where to ({status} {phrase})."),
    "redirect-bad-url": N_("The server redirects to something that is not a URL."),
    "redirect-scheme": N_("The server redirects to a URL that is not http or https ({scheme})."),
    # soft-404
    "soft-empty": N_("The server answered with an empty file."),
    "soft-no-content": N_("The server answered that there is no content ({status} {phrase})."),
    "soft-html": N_("The server sent a web page where the format {format} was promised."),
    "soft-not-found-page": N_('The server sent a page that says "{title}".'),
    "soft-root": N_("The link leads to the front page of {host}."),
    "soft-service-exception": N_("The service answered with an error: {message}"),
    "soft-arcgis-error": N_("The ArcGIS server answered with error {code}: {message}"),
    "soft-arcgis-failure": N_("The ArcGIS server answered with error {code}: {message}"),
    # refused-by-policy
    "address-refused": N_("This address is not allowed."),
    "port-refused": N_("This port is not allowed."),
    "scheme-refused": N_("Links of this kind ({scheme}) are not looked at."),
    "ftp-off": N_("FTP links are not looked at."),
    "no-ipv6": N_("The server has only an IPv6 address, which the archiver's network cannot reach."),
    "proxy-refused": N_("This address is not allowed."),
    # own-fault
    "disk-full": N_("There is no room on the archiver's disk."),
    "disk-broken": N_("The archiver's disk cannot be written."),
    "resolver-down": N_("The archiver cannot look up names of servers."),
    "network-down": N_("The archiver's network is down."),
    "out-of-sockets": N_("The archiver's machine has no connections left."),
    "proxy-down": N_("The archiver's proxy does not work."),
    "bad-ca-bundle": N_("The archiver's bundle of certificates cannot be read."),
    "stopped": N_("The archiver was stopped."),
    "defect": N_("The archiver has a defect; its log has more."),
    "upload-unreadable": N_("The uploaded file {filename} cannot be read from the storage of this portal."),
    "poison": N_("The archiver's worker died {times} times while it looked at this link."),
}


def reason(detail: str, facts: Mapping[str, str | int]) -> str:
    """The English sentence of ``detail`` filled with ``facts``.

    :raises KeyError: for a detail that is not in ``REASONS`` or a fact that is missing (a defect, not input)
    """
    return REASONS[detail].format(**facts)
