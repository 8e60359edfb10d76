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
    # gone
    "http-gone": N_("The server says the file is gone ({status} {phrase})."),
    "dns-not-found": N_("There is no server called {host}."),
    # bad url
    "url-empty": N_("There is no link here."),
    "url-too-long": N_("The link is {length} characters long; the longest that can be followed is {limit}."),
    "url-nul": N_("The link contains a NUL character."),
    "url-surrogate": N_("The link contains half a character (a lone surrogate), which cannot be sent."),
    "url-prose": N_("This is text, not a link. A link starts with https:// or http://."),
    "url-no-scheme": N_("The link does not start with https:// or http://."),
    "url-local-path": N_("This is a file on somebody's own computer, not a link."),
    "url-no-host": N_("The link does not say on which server the file is (nothing useful follows http://)."),
    "url-bad-host": N_("The link's server name {host} is not a possible name or address."),
    "url-host-too-long": N_("The link's server name is longer than any server name can be."),
    "url-bad-brackets": N_("The link's server name has square brackets that hold no IPv6 address."),
    "url-bad-port": N_("The port in the link is not a number from 1 to 65535."),
    # refused by policy: never more than "not allowed", whatever is there
    "scheme-refused": N_("Links that start with {scheme}: are not allowed here."),
    "port-refused": N_("Links to port {port} are not allowed here."),
    "address-refused": N_("This address is not allowed."),
    # own fault
    "disk-full": N_("There is no room on the archiver's disk."),
    "poison": N_("The archiver's worker died {times} times while it looked at this link."),
}


def reason(detail: str, facts: Mapping[str, str | int]) -> str:
    """The English sentence of ``detail`` filled with ``facts``.

    :raises KeyError: for a detail that is not in ``REASONS`` or a fact that is missing (a defect, not input)
    """
    return REASONS[detail].format(**facts)
