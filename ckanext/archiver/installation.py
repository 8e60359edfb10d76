"""Which release runs, and whether it is the one that pip has recorded.

An upgrade over an older release can leave a part of the older one behind: its metadata, whose entry points CKAN and
Celery read, or the older code in front of the newer.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from ckanext.archiver import __version__
from ckanext.archiver.errors import InstallationError

NAME = "ckanext-archiver"
FOLDER = Path(__file__).parent


def description() -> str:
    """Release and folder of the running code, for logs."""
    return f"{NAME} {__version__} from {FOLDER}"


def check() -> None:
    """Compare the running code with every record of the distribution on the path.

    :raises InstallationError: there is a record of another release
    """
    for record in importlib.metadata.distributions(name=NAME):
        if record.version != __version__:
            raise InstallationError(
                f"Python runs {description()}, but release {record.version} is recorded in {_place(record)}. Run "
                f'"pip uninstall {NAME}" until nothing is left, and install the release again.'
            )


def _place(record: importlib.metadata.Distribution) -> str:
    # The attribute is private; what it holds is shown, never used.
    return str(getattr(record, "_path", "an unknown folder"))
