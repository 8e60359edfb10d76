"""One fetch in progress, over HTTP or FTP: what it may cost, what it has cost, and how its outcome is made."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import codings, filenames, http_status, media_types, soft_failures, urls
from .content import Promise
from .cookies import Cookies
from .failure import Failure
from .outcome import Cause, Certificate, FetchRequest, Hop, Limits, Outcome, Policy
from .store import Sink
from .stream import Deadline, Stream
from .wire import Body, Framing, Head, is_whole

log = logging.getLogger(__name__)

SNIFF_BYTES = media_types.SNIFF_BYTES
CHECK_BYTES = 1_024
"""How much of a body is read in check-only mode."""
CHECK_RECEIVE_BYTES = 2_048
RATIO_FROM_BYTES = 1_000_000
"""Below this a high ratio of expansion is harmless."""
ERROR_PAGE_SECONDS = 5.0
"""How long the page of a bad status is waited for: only a firewall's page in it matters."""

_MAY_BE_WALL = frozenset({Cause.SERVER_ERROR, Cause.GONE, Cause.SOFT_404})


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

    :ivar asked_url: the link, normalised; until :meth:`begin`, as it was given, without user name and password
    :ivar trail: the current question
    :ivar requests: requests sent
    :ivar bodies: all bodies of this fetch, which count their bytes
    :ivar hints: what was learnt of the host
    :ivar doubt: why the body may not be the file, where it is saved all the same
    :ivar request_type: see ``Outcome.request_type``
    :ivar first: the beginning of the last body that was read
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
        self.doubt: Failure | None = None
        self.request_type = "GET"
        self.first = b""

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
        for part in self._decoded(response, content_codings):
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
        self.first = bytes(first)
        return self.first

    def sniff(self, response: Response, content_codings: tuple[str, ...]) -> bytes:
        """Read and judge the beginning of the body (about ``CHECK_BYTES``), and return it.

        :raises Failure: it is truncated, or not the promised file
        """
        first = bytearray()
        whole = True
        for part in self._decoded(response, content_codings):
            first += part[:SNIFF_BYTES]
            if len(first) >= CHECK_BYTES or response.body.read > SNIFF_BYTES:
                whole = False
                break
        self._check_content(response, bytes(first), whole)
        self.first = bytes(first)
        return self.first

    def _decoded(self, response: Response, content_codings: tuple[str, ...]) -> Iterator[bytes]:
        """:raises Failure: the body is truncated, or not of these codings"""
        body = response.body
        if not content_codings:
            yield from body
            if body.cut_off:
                raise body.cut_off
            return
        try:
            yield from codings.decoded(iter(body), content_codings, self._expansion_limit(body))
        except Failure as failure:
            raise body.cut_off or failure from failure

    def _expansion_limit(self, body: Body) -> Callable[[int], None]:
        """A check for ``codings.decoded``: no coding expands to more than ``max_ratio`` times what was received."""

        def check(decoded_bytes: int) -> None:
            if decoded_bytes > max(RATIO_FROM_BYTES, self.limits.max_ratio * body.read):
                raise Failure(Cause.TOO_LARGE, "expands-too-much", ratio=self.limits.max_ratio)

        return check

    def _check_content(self, response: Response, first: bytes, whole: bool) -> None:
        url = response.target.url
        received = soft_failures.Received(first, whole, self.asked_url, url, response.head)
        failure = soft_failures.failure_of_body(received, self.promise(response))
        if failure is None:
            return
        if failure.detail not in soft_failures.DOUBTS or not self.request.keep_doubtful or self.request.check_only:
            raise failure
        self.doubt = failure

    def promise(self, response: Response) -> Promise:
        """What the link promises, as far as it is known now."""
        name = filenames.disposition_name(response.head.get("content-disposition"))
        name = name or response.target.request_target.partition("?")[0].rpartition("/")[2]
        request = self.request
        return Promise(request.format, self.asked_url, name, request.kept_mimetype or "", request.kept_filename or "")

    def raise_for_status(self, response: Response) -> None:
        """:raises Failure: the status is bad, or the page that came with it is a firewall's"""
        failure = http_status.failure_of_status(response.head)
        if failure is None or is_whole(response.head):
            return
        may_be_wall = failure.cause in _MAY_BE_WALL and "html" in response.head.get("content-type").lower()
        if may_be_wall and response.framing.length != 0:
            wall = soft_failures.failure_of_error_page(response.head, self._error_page(response))
            if wall:
                raise wall
        raise failure

    def _error_page(self, response: Response) -> bytes:
        """The beginning of the body of a bad status, as far as it arrives soon."""
        stream = self.trail.stream
        if stream is not None:
            stream.deadline = self.deadline.shortened(ERROR_PAGE_SECONDS)
        first = bytearray()
        names = tuple(name for name in response.framing.codings if name in codings.DECODABLE)
        try:
            for part in codings.decoded(iter(response.body), names, self._expansion_limit(response.body)):
                first += part[: SNIFF_BYTES - len(first)]
                if len(first) >= SNIFF_BYTES or response.body.read > SNIFF_BYTES:
                    break
        except Failure as failure:
            if failure.cause is Cause.OWN_FAULT:
                raise
            log.debug("The error page of %s: %s", self.asked_url, failure.detail)
        return bytes(first)

    def doubted(self, response: Response, first: bytes, **values: Any) -> Outcome:
        """The outcome of a response that may be the new content of the link, with its file."""
        doubt = self.doubt
        outcome = self.succeeded("ok", response, first, **values)
        if doubt is None:
            return outcome
        return replace(outcome, cause=doubt.cause, detail=doubt.detail, facts=doubt.facts, doubtful=True)

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

    def with_request_type(self, outcome: Outcome) -> Outcome:
        """An outcome that was made before ``request_type`` was known."""
        return replace(outcome, request_type=self.request_type)

    def failed(self, failure: Failure) -> Outcome:
        """The outcome of a fetch that a failure ended."""
        head = self.trail.head
        self.trail.certificate = self.trail.certificate or failure.certificate
        return self._outcome(
            cause=failure.cause,
            detail=failure.detail,
            facts=failure.facts,
            transient=failure.transient,
            doubtful=failure.detail in soft_failures.DOUBTS,
            # RFC 9110 §10.2.3 defines the header for redirects too. It is used for this cause only: else the whole host
            # would rest for one dead link.
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
            request_type=self.request_type,
            bytes_read=sum(body.read for body in self.bodies),
            seconds=self.deadline.spent,
            **values,
        )
