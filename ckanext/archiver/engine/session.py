"""One fetch in progress, whatever its protocol: what it may cost, what it has cost, and how its outcome is made."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import codings, filenames, http_status, media_types, soft_failures, urls
from .cookies import Cookies
from .failure import Failure
from .outcome import Cause, Certificate, FetchRequest, Hop, Limits, Outcome, Policy
from .store import Sink
from .stream import Deadline, Stream
from .wire import Body, Framing, Head

SNIFF_BYTES = media_types.SNIFF_BYTES
CHECK_BYTES = 1_024
"""How much of a body is read in check-only mode."""
CHECK_RECEIVE_BYTES = 2_048
RATIO_FROM_BYTES = 1_000_000
"""Below this a high ratio of expansion is harmless."""


@dataclass
class Trail:
    """One question and where it led, redirects included; no more than one connection is open."""

    final_url: str
    hops: list[Hop] = field(default_factory=list)
    head: Head | None = None
    certificate: Certificate | None = None
    stream: Stream | None = None

    def close(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.stream = None


@dataclass(frozen=True)
class Response:
    """A head that has arrived, its body still on the wire."""

    target: urls.Target
    head: Head
    framing: Framing
    body: Body


class Session:
    """The state of one fetch.

    :ivar asked_url: the link, normalised
    :ivar trail: the current question
    :ivar requests: requests sent
    :ivar bodies: all bodies of this fetch, which count their bytes
    :ivar hints: what was learnt of the host
    """

    def __init__(
        self,
        request: FetchRequest,
        limits: Limits,
        policy: Policy,
        spool: Path | None,
        stop: threading.Event | None,
    ) -> None:
        self.request = request
        self.limits = limits
        self.policy = policy
        self.spool = None if request.check_only else spool
        self.deadline = Deadline(limits, stop)
        self.requests = 0
        self.bodies: list[Body] = []
        self.hints: dict[str, bool] = {}
        self.cookies = Cookies()
        self.asked_url = urls.redact(request.url)
        self.trail = Trail(self.asked_url)

    def begin(self, target: urls.Target) -> None:
        """Take ``target`` as the link."""
        self.asked_url = self.trail.final_url = target.url

    def new_trail(self, target: urls.Target) -> Trail:
        """Begin another question; returns the old trail, closed."""
        old = self.trail
        old.close()
        self.trail = Trail(target.url)
        return old

    # -- reading a body ------------------------------------------------------------------------------------

    def save(self, response: Response, content_codings: tuple[str, ...], sink: Sink) -> bytes:
        """Write the whole body to the sink; returns its first bytes.

        :raises Failure: it is too large, truncated, or not the promised file
        """
        limit = self.limits.max_content_length
        first = bytearray()
        judged = False
        for part in codings.decoded(iter(response.body), content_codings, self._expansion_limit(response.body)):
            if sink.size + len(part) > limit or response.body.read > limit:
                raise Failure(Cause.TOO_LARGE, "too-large", limit=limit)
            if not part:
                continue
            sink.write(part)
            if not judged:
                first += part[: SNIFF_BYTES - len(first)]
                if len(first) >= SNIFF_BYTES:
                    self._check_content(response, bytes(first), False)
                    judged = True
        if not judged:
            self._check_content(response, bytes(first), True)
        return bytes(first)

    def sniff(self, response: Response, content_codings: tuple[str, ...]) -> bytes:
        """Read and judge the beginning of the body (about ``CHECK_BYTES``), and return it.

        :raises Failure: it is truncated, or not the promised file
        """
        first = bytearray()
        whole = True
        for part in codings.decoded(iter(response.body), content_codings, self._expansion_limit(response.body)):
            first += part[:SNIFF_BYTES]
            if len(first) >= CHECK_BYTES or response.body.read > SNIFF_BYTES:
                whole = False
                break
        self._check_content(response, bytes(first), whole)
        return bytes(first)

    def _expansion_limit(self, body: Body) -> Callable[[int], None]:
        """A check for ``codings.decoded``: no coding expands to more than ``max_ratio`` times what was received."""

        def check(decoded_bytes: int) -> None:
            if decoded_bytes > max(RATIO_FROM_BYTES, self.limits.max_ratio * body.read):
                raise Failure(Cause.TOO_LARGE, "expands-too-much", ratio=self.limits.max_ratio)

        return check

    def _check_content(self, response: Response, first: bytes, whole: bool) -> None:
        failure = soft_failures.failure_of_body(first, whole, self.asked_url, response.target.url, self.request.format)
        if failure:
            raise failure

    # -- the outcome ---------------------------------------------------------------------------------------

    def succeeded(self, detail: str, response: Response, first: bytes = b"", **values: Any) -> Outcome:
        """The outcome of a link that works.

        :param first: the beginning of the body, as far as it is known
        :param values: further attributes of the outcome
        """
        head, url = response.head, response.target.url
        disposition = head.get("content-disposition") or None
        name = filenames.filename(disposition, url)
        mimetype = media_types.mimetype(head.get("content-type") or None, first, name)
        return self._outcome(
            cause=Cause.OK,
            detail=detail,
            mimetype=mimetype,
            filename=filenames.filename(disposition, url, mimetype),
            etag=head.get("etag") or None,
            last_modified=head.get("last-modified") or None,
            permanent_url=self._permanent_url(url),
            **values,
        )

    def failed(self, failure: Failure) -> Outcome:
        """The outcome of a fetch that a failure ended."""
        head = self.trail.head
        self.trail.certificate = self.trail.certificate or failure.certificate
        return self._outcome(
            cause=failure.cause,
            detail=failure.detail,
            facts=failure.facts,
            transient=failure.transient,
            # For other causes the header has no meaning (RFC 9110 §10.2.3), and the whole host would rest for one dead
            # link.
            retry_after=http_status.retry_after(head, datetime.now(timezone.utc))
            if head and failure.cause is Cause.BLOCKED
            else None,
        )

    def _permanent_url(self, url: str) -> str | None:
        hops = self.trail.hops
        return url if hops and all(hop.status in http_status.PERMANENT for hop in hops) else None

    def _outcome(self, **values: Any) -> Outcome:
        trail = self.trail
        return Outcome(
            url=urls.redact(self.request.url),
            final_url=trail.final_url,
            http_status=trail.head.status if trail.head else None,
            hops=tuple(trail.hops),
            headers=trail.head.headers if trail.head else {},
            certificate=trail.certificate,
            hints=self.hints,
            requests=self.requests,
            bytes_read=sum(body.read for body in self.bodies),
            seconds=self.deadline.spent,
            **values,
        )
