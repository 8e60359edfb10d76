"""Exceptions of the extension.

::

    ArchiverError
    ├── ConfigError            an option has a bad value; the text names the option
    ├── BrokerError            the broker cannot be reached, does not answer in time, or refuses messages
    ├── InstallationError      another release of the extension is installed as well
    └── DownloadException      (kept for code that imported it from ``tasks``)
        ├── DownloadError
        ├── ArchiveError
        ├── ChooseNotToDownload
        ├── NotChanged
        ├── LinkCheckerError
        │   ├── LinkInvalidError
        │   ├── LinkHeadRequestError
        │   └── LinkHeadMethodNotSupported
        └── CkanError
"""

from __future__ import annotations

import sqlalchemy as sa

DATABASE_AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
"""What SQLAlchemy raises when the database does not answer, or no connection to it gets free in time."""

MISSING = {"42P01": "table", "42703": "column"}
"""PostgreSQL's codes for what is missing from a database that was not migrated."""


class ArchiverError(Exception):
    """Base of everything this extension raises."""


class ConfigError(ArchiverError):
    """An option has a bad value."""


class BrokerError(ArchiverError):
    """The broker cannot be reached, does not answer in time, or refuses messages.

    :param what: what happened
    :param remedy: what mends it, as a sentence; empty where that is not known
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what, self.remedy = what.rstrip("."), remedy
        super().__init__(f"{self.what}. {remedy}" if remedy else what)


class InstallationError(ArchiverError):
    """Parts of another release are installed as well."""


class DownloadException(ArchiverError):
    """A link could not be archived."""

    def __init__(self, message: str = "", url_redirected_to: str | None = None) -> None:
        super().__init__(message)
        self.url_redirected_to = url_redirected_to


class DownloadError(DownloadException):
    """The server did not return the file."""


class ArchiveError(DownloadException):
    """The file could not be saved."""


class ChooseNotToDownload(DownloadException):
    """The file is larger than ``max_content_length``."""


class NotChanged(DownloadException):
    """The file has not changed since the last archival."""


class LinkCheckerError(DownloadException):
    """A link could not be checked."""


class LinkInvalidError(LinkCheckerError):
    """The link is not a URL that can be fetched."""


class LinkHeadRequestError(LinkCheckerError):
    """The server answered with an error, or not at all."""


class LinkHeadMethodNotSupported(LinkCheckerError):
    """The server does not support HEAD requests."""


class CkanError(DownloadException):
    """A CKAN action failed."""
