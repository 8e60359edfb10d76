"""Template helpers: the state of links as badges."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk

from ckanext.archiver import search
from ckanext.archiver.engine.outcome import Verdict

Dict = dict[str, Any]

NEVER = "never"
STORED = "stored"
"""The data is in this portal's DataStore: there is no link."""

ICONS = {
    Verdict.OK.value: "circle-check",
    Verdict.FAILING.value: "clock",
    Verdict.BROKEN.value: "link-slash",
    Verdict.NOT_SURE.value: "circle-question",
    search.WAITING: "hourglass-half",
    NEVER: "circle-question",
    STORED: "database",
}


def archiver_state(verdict: str) -> Dict:
    """A verdict for a badge: ``verdict``, ``label``, ``icon`` and ``css``."""
    unsure, ok = Verdict.NOT_SURE.value, Verdict.OK.value
    css = {search.WAITING: unsure, NEVER: unsure, STORED: ok}.get(verdict, verdict)
    return {
        "verdict": verdict,
        "label": search.state_label(search.NOT_CHECKED if verdict == NEVER else verdict),
        "icon": ICONS[verdict],
        "css": f"archiver-{css}",
    }


def some_broken(broken: int, total: int) -> Dict:
    """The badge of a dataset with broken links, as :func:`archiver_state`."""
    label = tk.ungettext("{count} of {total} link broken", "{count} of {total} links broken", total)
    return archiver_state(Verdict.BROKEN.value) | {"label": label.format(count=broken, total=total)}


def archiver_found_dataset_state(package: Dict) -> Dict | None:
    """The mark of a dataset in a list: that links are broken, by the keys which a search added; None without any.

    :param package: as ``package_search`` gives it
    :returns: ``verdict``, ``label``, ``icon``, ``css``, as :func:`archiver_resource_state`
    """
    resources = package.get("resources")
    known = [resource.get(search.KEY) for resource in resources if isinstance(resource, dict)] if resources else []
    verdicts = [archival.get("verdict") for archival in known if isinstance(archival, dict)]
    broken = verdicts.count(Verdict.BROKEN.value)
    return some_broken(broken, len(verdicts)) if broken else None
