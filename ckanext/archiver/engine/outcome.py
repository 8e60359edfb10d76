"""The input and the output of the engine.

The engine reports what *happened* (a :class:`Cause` and its detail). What people are told about a link (a
:class:`Verdict`) is decided elsewhere, from the cause and the history of the link.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path


class Cause(str, enum.Enum):
    """Why a run ended as it did: a closed set, each with its own confirmation rule."""

    OK = "ok"
    GONE = "gone"
    BAD_URL = "bad-url"
    SERVER_ERROR = "server-error"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    BLOCKED = "blocked"
    REDIRECT = "redirect"
    SOFT_404 = "soft-404"
    TOO_LARGE = "too-large"
    REFUSED_BY_POLICY = "refused-by-policy"
    OWN_FAULT = "own-fault"

    __str__ = str.__str__


class Verdict(str, enum.Enum):
    """What people are told about a link."""

    OK = "ok"
    FAILING = "failing"
    BROKEN = "broken"
    NOT_SURE = "not-sure"

    __str__ = str.__str__

    @property
    def is_broken(self) -> bool | None:
        """The three-valued ``is_broken`` of the API: None where nothing is confirmed or may be said."""
        return {Verdict.OK: False, Verdict.BROKEN: True}.get(self)


@dataclass(frozen=True)
class Limits:
    """How much one fetch may cost. Times in seconds, sizes in bytes, rates in bytes per second."""

    max_content_length: int = 50_000_000
    max_ratio: int = 100
    max_header_bytes: int = 262_144
    max_headers: int = 1_000
    max_redirects: int = 10
    connect_timeout: float = 10
    first_byte_timeout: float = 30
    read_timeout: float = 30
    floor_rate: int = 1_024
    floor_seconds: float = 30
    total_timeout: float = 900
    min_free_bytes: int = 0
    """Bytes that must stay free on the spool's disk; 0 for no minimum."""


@dataclass(frozen=True)
class Policy:
    """Which addresses the engine may request and how it identifies itself.

    ``allowed_addresses`` holds networks ("10.0.0.0/8", "::1") and host names ("intranet.example") that may be requested
    although they are not public. ``proxy`` is the operator's own proxy, which then decides instead.
    """

    user_agent: str = "ckanext-archiver"
    allowed_addresses: tuple[str, ...] = ()
    verify_https: bool = True
    ca_bundle: str | None = None
    allow_ftp: bool = False
    proxy: str | None = None


@dataclass(frozen=True)
class FetchRequest:
    """One link to fetch.

    ``etag`` and ``last_modified`` are given only while the copy we hold is of the same URL and still on disk.
    ``check_only`` checks the link without downloading the file. ``hints`` is what is known of the host
    (``{"head": False, "ranges": True}``).

    ``kept_mimetype`` and ``kept_filename`` are those of the previous good copy of this very URL and format; None
    without one. A response of another kind is a doubt then (cause soft-404, ``Outcome.doubtful``). With
    ``keep_doubtful`` its file is saved as well (``Outcome.temp_path``), for a caller that replaces the copy once the
    same doubt was seen often enough.
    """

    url: str
    format: str = ""
    etag: str | None = None
    last_modified: str | None = None
    check_only: bool = False
    kept_mimetype: str | None = None
    kept_filename: str | None = None
    keep_doubtful: bool = False
    hints: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Hop:
    """One redirect that was followed: the URL that redirected, and its status."""

    url: str
    status: int


@dataclass(frozen=True)
class Certificate:
    """The certificate that the final server presented. Times are aware UTC."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...] = ()
    expires_soon: bool = False
    """Valid now, but for less than 14 days."""


@dataclass(frozen=True)
class Outcome:
    """The result of one fetch.

    :ivar cause: what happened, as a class with one rule
    :ivar detail: what exactly happened: a key of ``reasons.REASONS``
    :ivar facts: the values that fill the sentence of ``detail``
    :ivar http_status: of the last response, None if there was none
    :ivar final_url: the URL of the last response (credentials redacted)
    :ivar hops: redirects followed, in order
    :ivar permanent_url: where a chain of only permanent redirects (301, 308) led, else None
    :ivar retry_after: seconds the server asked us to wait (at most 86400), None if it did not ask
    :ivar temp_path: the downloaded file, complete and closed; the caller keeps or removes it. Only with cause OK, and
        for a doubt that was to be kept (``doubtful``); None also when the link was only checked, not modified, or the
        file compressed in a way that we cannot decode
    :ivar doubtful: the response may be the new content of the link or a failure of it; which of the two is not known
        yet
    :ivar request_type: "GET", or the service that was asked for its capabilities, with its version ("WMS 1.3")
    :ivar not_modified: 304 to a conditional request
    :ivar size: bytes of the file (in check-only mode as announced by the server, None if it did not)
    :ivar sha256: hex digest of the file
    :ivar sha1: hex digest of the file; the ``hash`` of older releases
    :ivar hints: what was learnt of the host, to be given with the next request
    :ivar transient: a retry within the run may help (server errors, resets, timeouts)
    :ivar requests: requests sent, redirects included
    :ivar bytes_read: body bytes read from the wire
    :ivar seconds: wall-clock time of the whole fetch
    """

    cause: Cause
    detail: str
    facts: Mapping[str, str | int] = field(default_factory=dict)
    url: str = ""
    final_url: str = ""
    http_status: int | None = None
    hops: tuple[Hop, ...] = ()
    permanent_url: str | None = None
    retry_after: int | None = None
    temp_path: Path | None = None
    not_modified: bool = False
    size: int | None = None
    sha256: str | None = None
    sha1: str | None = None
    mimetype: str | None = None
    filename: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    certificate: Certificate | None = None
    hints: Mapping[str, bool] = field(default_factory=dict)
    transient: bool = False
    doubtful: bool = False
    request_type: str = "GET"
    requests: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
