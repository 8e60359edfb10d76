"""What a cause is called, and what a publisher can do about it: the same on the resource page and in the report."""

from __future__ import annotations

import ckan.plugins.toolkit as tk

from ckanext.archiver.engine.outcome import Cause
from ckanext.archiver.engine.reasons import N_

NAMES: dict[str, str] = {
    Cause.OK.value: N_("Works"),
    Cause.GONE.value: N_("File or server is gone"),
    Cause.BAD_URL.value: N_("Not a valid URL"),
    Cause.SERVER_ERROR.value: N_("Server error"),
    Cause.UNREACHABLE.value: N_("Server does not answer"),
    Cause.TLS.value: N_("Certificate not accepted"),
    Cause.BLOCKED.value: N_("Server refuses the archiver"),
    Cause.REDIRECT.value: N_("Redirect that leads nowhere"),
    Cause.SOFT_404.value: N_("Not the expected file"),
    Cause.TOO_LARGE.value: N_("Too large for a copy"),
    Cause.REFUSED_BY_POLICY.value: N_("Address not allowed"),
    Cause.OWN_FAULT.value: N_("Not checked, by a fault of this portal"),
}

ADVICE: dict[str, str] = {
    Cause.GONE.value: N_(
        "Find the file's new address and enter it, or restore the file on the server. If it is gone for good, delete "
        "the resource."
    ),
    Cause.BAD_URL.value: N_("Edit the resource and enter the whole URL, beginning with https:// or http://."),
    Cause.SERVER_ERROR.value: N_("Tell the people who run the server that the server answers with an error."),
    Cause.UNREACHABLE.value: N_(
        "Ask the people who run the server whether it is still in use. If its files have moved to another server, "
        "replace the address."
    ),
    Cause.TLS.value: N_(
        "The people who run the server need to install a valid certificate with its whole chain; browsers warn as well."
    ),
    Cause.BLOCKED.value: N_("Ask the people who run the server to let programs like the archiver download the file."),
    Cause.REDIRECT.value: N_("Open the link in a browser, see where the file is now, and enter that address."),
    Cause.SOFT_404.value: N_("Open the link in a browser. If the file is not there, enter its new address."),
    Cause.REFUSED_BY_POLICY.value: N_("Use an address that everybody can reach, on the public internet."),
    Cause.OWN_FAULT.value: N_("Nothing needs to be done: the archiver will check the link again."),
}

_CORRECT_THE_SERVER = N_("Correct the server's name in the address; it may have a typing error.")
_CORRECT_THE_PORT = N_(
    "See whether the address has a typing error: the number after the server's name is the port, and most addresses "
    "need none."
)
_WITHOUT_LOGIN = N_("Use an address from which everybody can download the file without a login.")

ADVICE_BY_DETAIL: dict[str, str] = {
    "upload-missing": N_("Upload the file again."),
    "scheme-refused": N_("The address may have a typing error: it must begin with http:// or https://."),
    "ftp-off": N_("Use an address that begins with http:// or https://."),
    "dns-not-found": N_(
        "See whether the server's name in the address has a typing error. If it has none, the server is gone: find the "
        "file's new address and enter it, or delete the resource."
    ),
    "url-no-host": _CORRECT_THE_SERVER,
    "url-bad-host": _CORRECT_THE_SERVER,
    "url-host-too-long": _CORRECT_THE_SERVER,
    "url-bad-port": _CORRECT_THE_PORT,
    "port-refused": _CORRECT_THE_PORT,
    "no-ipv6": N_("Nothing is wrong with the link. Tell the people who run this portal."),
    "ftp-login": _WITHOUT_LOGIN,
    "login-wall": _WITHOUT_LOGIN,
    "service-login": _WITHOUT_LOGIN,
    "arcgis-login": _WITHOUT_LOGIN,
    "http-busy": ADVICE[Cause.OWN_FAULT.value],
    "service-busy": ADVICE[Cause.OWN_FAULT.value],
    "upload-elsewhere": "",
}
"""Where the detail of an outcome says more than its cause, such as that a typing error is likely."""


def name(cause: str | None) -> str:
    """What a cause is called, in the reader's language."""
    text = NAMES.get(cause or "")
    return str(tk._(text)) if text else tk._("Cause unknown")


def advice(cause: str | None, detail: str | None = None) -> str:
    """What a publisher can do about it, in the reader's language; empty where there is nothing to do.

    :param detail: the detail of the outcome, which can make the advice more specific
    """
    text = ADVICE_BY_DETAIL.get(detail or "", ADVICE.get(cause or ""))
    return str(tk._(text)) if text else ""
