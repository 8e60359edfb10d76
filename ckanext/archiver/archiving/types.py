"""What the steps of an archival hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ckanext.archiver.engine.outcome import Outcome
from ckanext.archiver.queue import claims, hosts
from ckanext.archiver.queue.group_commit import Contended
from ckanext.archiver.verdict import Rules


@dataclass(frozen=True)
class Delivery:
    """A message that came from the broker, or a direct call: this resource is to be archived.

    :ivar queue: the queue it came by; empty for any
    :ivar at_once: a caller waits for the result: no waiting for the host's turn, no retries later
    :ivar notice_queue: the name of a queue that a caller gave, which subscribers hear instead of the request's own
    :ivar others: the message's other resources, where it has just come
    :ivar edit_seconds: after which the transfer of an edit ends, and its request goes to ``bulk``; None for no such end
    """

    resource_id: str
    queue: str
    worker_id: str
    at_once: bool
    notice_queue: str = ""
    others: tuple[str, ...] = ()
    edit_seconds: float | None = None


@dataclass(frozen=True)
class Link:
    """A resource's link, and what is known of it.

    :ivar url: as CKAN shows it (see :mod:`ckanext.archiver.links`); the file name of an upload
    :ivar raw_url: as the resource table has it
    :ivar timestamp: ``last_modified`` of the resource, which changes when a file is uploaded
    :ivar archival: the row of the table ``archival``, which may be about an older URL
    """

    resource_id: str
    package_id: str
    package_name: str
    organization: str
    url: str
    raw_url: str
    url_type: str
    format: str
    timestamp: datetime | None
    archival: Mapping[str, Any] | None

    @property
    def is_upload(self) -> bool:
        """Whether CKAN itself has the file."""
        return self.url_type == "upload"

    @property
    def known(self) -> Mapping[str, Any]:
        """The archival's row if it is about this URL, else nothing."""
        if self.archival is None or self.archival["source_url"] != self.url:
            return {}
        return self.archival


@dataclass(frozen=True)
class ClaimedRequest:
    """A request that this worker holds, with its link: what the claiming transaction gives to the run.

    :ivar link: None where the resource was deleted after its request was put
    """

    claim: claims.Claim
    link: Link | None
    admission: hosts.Admission
    notice_queue: str = ""
    """See :class:`Delivery`."""
    edit_seconds: float | None = None
    """The same."""


@dataclass(frozen=True)
class Decision:
    """What a run comes to in the tables.

    :ivar values: the archival's row, where there is something to write
    :ivar deferral: the request is given back for later, where it is not done
    :ivar observation: what the host's row learns
    :ivar is_final: the run goes into the link's history, and its request is done
    :ivar held: why no verdict was taken, in words for the log, where the fault may be our own
    :ivar history_detail: the detail that the history has, where it is not the row's
    """

    values: Mapping[str, Any] | None = None
    deferral: claims.Deferral | None = None
    observation: hosts.HostObservation | None = None
    is_final: bool = False
    held: str = ""
    history_detail: str = ""


@dataclass
class Run:
    """One look at one link."""

    request: ClaimedRequest
    link: Link
    outcome: Outcome
    temp_path: Path | None = None
    """The downloaded file, until it is in the archive."""
    has_older_copies: bool = True
    """The resource's directory was there before, and may hold other copies."""
    actual_copy: Mapping[str, Any] = field(default_factory=dict)
    """Columns of the copy on disk, where the row names another one (see ``record.actual_copy``)."""
    decision: Decision = field(default_factory=Decision)

    @property
    def claim(self) -> claims.Claim:
        return self.request.claim


@dataclass(frozen=True)
class Options:
    """The options that a decision depends on.

    :ivar doubt: checks, and hours over them, after which a file that does not fit replaces the copy
    :ivar gone_recheck_hours: hours until a link that worked before is checked again after its first 404
    :ivar retry_delays: seconds before each retry of a run
    :ivar hold_seconds: seconds until a request is tried again after a fault of our own
    :ivar recheck: "adaptive", "weekly" or "off"
    :ivar cache_url_root: URL below which the web server publishes the archive; None when CKAN serves it
    :ivar site_url: the portal's public URL
    """

    rules: Rules = field(default_factory=Rules)
    doubt: tuple[int, float] = (3, 36)
    gone_recheck_hours: float = 1
    retry_delays: tuple[int, ...] = ()
    hold_seconds: int = 0
    recheck: str = "off"
    cache_url_root: str | None = None
    site_url: str = ""


@dataclass(frozen=True)
class Step:
    """A thread's part in a transaction: the run it has finished, and the delivery it claims next."""

    run: Run | None
    delivery: Delivery | None


@dataclass(frozen=True)
class StepResult:
    """What a step came to.

    :ivar is_ours: whether the run's lease still held; if not, nothing was written about it
    :ivar is_parked: the run is written later, since another transaction has its request locked
    :ivar request: what was claimed, None where there was nothing to claim
    """

    is_ours: bool = True
    is_parked: bool = False
    request: ClaimedRequest | None | Contended = None


@dataclass(frozen=True)
class Result:
    """What an archival came to. ``archival`` is the row as it was written."""

    outcome: Outcome
    archival: Mapping[str, Any]
