"""What a publisher can do about a link: one sentence for each cause, for those who may edit the dataset."""

from __future__ import annotations

from ckanext.archiver.engine.outcome import Cause
from ckanext.archiver.engine.reasons import N_

ADVICE: dict[str, str] = {
    Cause.GONE: N_("Enter the file's new URL, or delete the resource if the file no longer exists."),
    Cause.BAD_URL: N_("Edit the URL: it must begin with http:// or https:// and name a server."),
    Cause.SERVER_ERROR: N_("Ask the operator of the server what is wrong with it. Nothing in the URL needs to change."),
    Cause.UNREACHABLE: N_("Ask the operator of the server whether it was moved or switched off."),
    Cause.TLS: N_("Ask the operator of the server to renew or repair its certificate."),
    Cause.BLOCKED: N_("Ask the operator of the server to let this portal's requests through."),
    Cause.REDIRECT: N_("Open the link in a browser, and enter the URL of the file itself."),
    Cause.SOFT_404: N_("Open the link in a browser. If it does not show the file, enter the file's URL."),
    Cause.REFUSED_BY_POLICY: N_(
        "Move the file to a server on the public internet, or ask the operator of this portal to allow the address"
        " (option ckanext-archiver.allowed_addresses)."
    ),
    Cause.OWN_FAULT: N_("Nothing needs to be done: the archiver will check the link again."),
}

UPLOAD_MISSING = N_("Upload the file again.")


def advice(cause: str | None, detail: str | None) -> str:
    """The English sentence for a cause; empty when there is nothing to do.

    :param detail: the detail of the outcome, which can make the advice more specific
    """
    if detail == "upload-missing":
        return UPLOAD_MISSING
    return ADVICE.get(cause or "", "")
