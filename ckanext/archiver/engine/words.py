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
    # own fault
    "disk-full": N_("There is no room on the archiver's disk."),
    "poison": N_("The archiver's worker died {times} times while it looked at this link."),
}


def reason(detail: str, facts: Mapping[str, str | int]) -> str:
    """The English sentence of ``detail`` filled with ``facts``.

    :raises KeyError: for a detail that is not in ``REASONS`` or a fact that is missing (a defect, not input)
    """
    return REASONS[detail].format(**facts)
