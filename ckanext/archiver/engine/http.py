"""Fetch one link: the engine's main path. Read :func:`fetch` from the top.

One call is one run: redirects are followed here, retries are the caller's (``Outcome.transient``).
"""

from __future__ import annotations

import email.utils
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import filenames, ftp, http_status, ogc, soft_failures, urls, wire
from .cookies import Cookies
from .dial import NoConnection, basic, dial, is_of_proxy, proxy_failure
from .outcome import Cause, Certificate, FetchRequest, Hop, Limits, Outcome, Policy
from .store import Sink
from .wire import Body, Deadline, Failure, Framing, Head, Stream

log = logging.getLogger(__name__)

# A GET for a range that is answered so would be answered so without the range.
FINAL_WHEN_RANGED = http_status.GOOD | http_status.EMPTY | {401, 402, 404, 407, 410, 429, 451, 503, 999}

SNIFF_BYTES = 16_384
CHECK_BYTES = 1_024
CHECK_RECEIVE_BYTES = 2_048
RATIO_FROM_BYTES = 1_000_000
"""Below this a high ratio harms nobody."""

# Compressions that we do not ask for and cannot undo. Words that are none ("utf-8", "aws-chunked", "none")
# stand in the header on real servers; browsers pass over them.
UNDECODABLE = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz", "bzip2", "xz"})
MAX_CODINGS = 5
"""One upon the other, as in curl: each costs memory, and a header has room for thousands."""

GZIP_TYPES = frozenset({"application/gzip", "application/x-gzip", "application/x-tgz", "application/x-gtar"})

Headers = Mapping[str, str]


def fetch(
    request: FetchRequest,
    *,
    limits: Limits,
    policy: Policy,
    spool: Path | None,
    stop: threading.Event | None = None,
) -> Outcome:
    """Look at one link and, unless it is only to be checked, download it.

    Never raises for what a URL or a remote does; every wait ends by ``limits`` whatever the remote does.

    :param spool: directory for the downloaded file (``Outcome.temp_path``); None keeps nothing on disk
    :param stop: once set, the fetch ends (cause own-fault, detail "stopped"): within a second, but for a connection
        that is being set up, which has its own short limit
    """
    visit = _Visit(request, limits, policy, None if request.check_only else spool, stop)
    try:
        return visit.run()
    except Failure as failure:
        return visit.failed(failure)
    except Exception:  # the last fence: a defect of ours must neither kill a worker nor accuse a link
        log.exception("Defect while fetching %s", urls.redact(request.url)[:500])
        return visit.failed(Failure(Cause.OWN_FAULT, "defect"))
    finally:
        visit.trail.close()


@dataclass
class _Trail:
    """One question and where it led: redirects included, no more than one connection open."""

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
class _Answer:
    """A head that has come, its body still on the wire."""

    target: urls.Target
    head: Head
    frame: Framing
    body: Body


class _Visit:
    """One run of one link."""

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
        self.spool = spool
        self.deadline = Deadline(limits, stop)
        self.requests = 0
        self.bodies: list[Body] = []
        self.hints: dict[str, bool] = {}
        self.cookies = Cookies()
        self.asked_url = urls.redact(request.url)
        self.trail = _Trail(self.asked_url)

    def run(self) -> Outcome:
        """:raises Failure: anything but a good end"""
        target = urls.normalise(self.request.url)
        if isinstance(target, urls.BadUrl):
            raise Failure(target.cause, target.detail, **target.facts)
        self.asked_url = self.trail.final_url = target.url
        if target.scheme == "ftp":
            return self._ftp(target)
        if self.request.check_only:
            return self._check(target)
        return self._asked_well(target, lambda t: self._download(self._follow(t, "GET", self._conditions())))

    # -- check only ----------------------------------------------------------------------------------------

    def _check(self, target: urls.Target) -> Outcome:
        """HEAD → GET of a range → GET. No bad answer to HEAD counts: many servers get only GET right."""
        if ogc.is_service(target.url, self.request.format):
            # Services tell their errors in the body, and know no ranges.
            return self._asked_well(target, lambda t: self._sniffed(self._follow(t, "GET", {})))
        seen, learnt = self._seen_by_head(target)
        if seen:
            return seen
        if self.request.hints.get("ranges") is not False:
            looked = self._looked_at_range(target)
            if looked:
                # Only now is it known that HEAD was at fault, not the link.
                self.hints.update(learnt)
                return looked
            learnt["ranges"] = False
        looked = self._sniffed(self._follow(target, "GET", {}))
        self.hints.update(learnt)
        return looked

    def _seen_by_head(self, target: urls.Target) -> tuple[Outcome | None, dict[str, bool]]:
        """What HEAD shows if it settles the matter; and what is learnt of the host if the link is good."""
        if self.request.hints.get("head") is False:
            return None, {}
        learnt = {}
        try:
            answer = self._follow(target, "HEAD", {})
            if self._head_settles(answer):
                self.hints["head"] = True
                return self._ok("ok-checked", answer, size=_announced(answer.head)), {}
        except NoConnection:
            if not self.trail.hops:
                raise
        except Failure as failure:
            log.debug("HEAD of %s: %s", target.url, failure.detail)
            learnt["head"] = False
        self._new_trail(target)
        return None, learnt

    def _head_settles(self, answer: _Answer) -> bool:
        """Whether a body could not tell otherwise."""
        failure = http_status.failure_of_status(answer.head)
        if failure:
            raise failure
        kind = answer.head.get("content-type").lower()
        pageish = "html" in kind and (soft_failures.is_data(self.request.format) or bool(self.trail.hops))
        return not pageish and _announced(answer.head) != 0

    def _looked_at_range(self, target: urls.Target) -> Outcome | None:
        """The beginning of the file; None where the answer may be about the range, not about the link."""
        try:
            answer = self._follow(target, "GET", {"Range": "bytes=0-"})
        except Failure as failure:
            if failure.cause is not Cause.SERVER_ERROR:
                raise
        else:
            if answer.head.status in FINAL_WHEN_RANGED or _is_from_start(answer.head):
                return self._sniffed(answer)
        self._new_trail(target)
        return None

    def _sniffed(self, answer: _Answer) -> Outcome:
        """Read the first kilobyte."""
        ranged = _is_from_start(answer.head)
        total = _total(answer.head) if ranged else _announced(answer.head)
        failure = None if ranged else http_status.failure_of_status(answer.head)
        if failure:
            raise failure
        codings = _codings(answer)
        if codings is None:
            return self._ok("ok-checked", answer, size=total)
        first = bytearray()
        whole = True
        for part in wire.decoded(iter(answer.body), codings, self._expansion_of(answer.body)):
            first += part[:SNIFF_BYTES]
            if len(first) >= CHECK_BYTES or answer.body.read > SNIFF_BYTES:
                whole = False
                break
        self._fail_if_soft(answer, bytes(first), whole)
        if ranged:
            self.hints["ranges"] = True
        return self._ok("ok-checked", answer, bytes(first), size=total)

    # -- download --------------------------------------------------------------------------------------------

    def _download(self, answer: _Answer) -> Outcome:
        head = answer.head
        if head.status == 304 and self._conditions():
            return self._ok("ok-not-modified", answer, not_modified=True)
        failure = http_status.failure_of_status(head)
        if failure:
            raise failure
        codings = _codings(answer)
        if codings is None:
            return self._ok("ok-undecodable", answer)
        limit = self.limits.max_content_length
        announced = answer.frame.length
        if announced is not None and announced > limit:
            raise Failure(Cause.TOO_LARGE, "too-large-announced", size=announced, limit=limit)
        sink = Sink(self.spool, self.limits.min_free_bytes)
        try:
            first = self._read_body(answer, codings, sink)
            outcome = self._ok("ok", answer, first, size=sink.size, sha256=sink.sha256, sha1=sink.sha1)
            return replace(outcome, temp_path=sink.finish())
        finally:
            sink.discard()

    def _read_body(self, answer: _Answer, codings: tuple[str, ...], sink: Sink) -> bytes:
        """The first bytes; all of them go to the sink.

        :raises Failure: too large, cut off, not what it should be
        """
        limit = self.limits.max_content_length
        first = bytearray()
        judged = False
        for part in wire.decoded(iter(answer.body), codings, self._expansion_of(answer.body)):
            if sink.size + len(part) > limit or answer.body.read > limit:
                raise Failure(Cause.TOO_LARGE, "too-large", limit=limit)
            if not part:
                continue
            sink.write(part)
            if not judged:
                first += part[: SNIFF_BYTES - len(first)]
                if len(first) >= SNIFF_BYTES:
                    self._fail_if_soft(answer, bytes(first), False)
                    judged = True
        if not judged:
            self._fail_if_soft(answer, bytes(first), True)
        return bytes(first)

    def _expansion_of(self, body: Body) -> Callable[[int], None]:
        """For ``wire.decoded``: no coding gives more than so many times what came over the wire."""

        def watch(made: int) -> None:
            if made > max(RATIO_FROM_BYTES, self.limits.max_ratio * body.read):
                raise Failure(Cause.TOO_LARGE, "expands-too-much", ratio=self.limits.max_ratio)

        return watch

    def _ftp(self, target: urls.Target) -> Outcome:
        # A proxy for HTTP does not see FTP, so with one there is no way that the operator has judged.
        if not self.policy.allow_ftp or self.policy.proxy:
            raise Failure(Cause.REFUSED_BY_POLICY, "ftp-off")
        sink = Sink(self.spool, self.limits.min_free_bytes)
        try:
            with ftp.session(target, self.policy, self.deadline) as talk:
                self.requests += 1
                outcome = self._transferred(target, talk, sink)
            return replace(outcome, temp_path=sink.finish())
        finally:
            sink.discard()

    def _transferred(self, target: urls.Target, talk: ftp.Session, sink: Sink) -> Outcome:
        answer = _Answer(target, Head(200), Framing(), Body(talk.control, b"", Framing(0)))
        if talk.is_directory:
            talk.cwd(talk.path or ".")
            return self._ok("ok-checked", answer)
        announced = talk.announced()
        if self.request.check_only and announced:
            return self._ok("ok-checked", answer, size=announced)
        limit = self.limits.max_content_length
        if announced is not None and announced > limit:
            raise Failure(Cause.TOO_LARGE, "too-large-announced", size=announced, limit=limit)
        stream = talk.retrieve()
        if self.request.check_only:
            stream.at_once = CHECK_RECEIVE_BYTES
        body = Body(stream, b"", Framing())
        self.bodies.append(body)
        answer = replace(answer, body=body)
        if self.request.check_only:
            return self._sniffed(answer)
        first = self._read_body(answer, (), sink)
        talk.finish(sink.size, announced)
        return self._ok("ok", answer, first, size=sink.size, sha256=sink.sha256, sha1=sink.sha1)

    def _fail_if_soft(self, answer: _Answer, first: bytes, whole: bool) -> None:
        failure = soft_failures.failure_of_body(first, whole, self.asked_url, answer.target.url, self.request.format)
        if failure:
            raise failure

    def _conditions(self) -> Headers:
        """What makes the request conditional; stored values that are no header values are not sent."""
        sent = {}
        etag, modified = self.request.etag, self.request.last_modified
        if etag and len(etag) < 1_000 and etag.isprintable() and _is_latin(etag):
            sent["If-None-Match"] = etag
        if modified and modified.isascii() and modified.isprintable() and email.utils.parsedate(modified):
            sent["If-Modified-Since"] = modified
        return sent

    # -- one question, redirects followed -------------------------------------------------------------------

    def _asked_well(self, target: urls.Target, ask: Callable[[urls.Target], Outcome]) -> Outcome:
        """Ask; and if an OGC service only wanted its parameters, ask again with them."""
        try:
            return ask(target)
        except Failure as failure:
            better = self._better(target, failure)
            if better is None:
                raise
            first = self._new_trail(better)
            try:
                return ask(better)
            except Failure as second:
                # That question was ours: its bad answer must not be the link's.
                if second.cause is not Cause.OWN_FAULT:
                    self.trail.close()
                    self.trail = first
                    raise failure from second
                raise

    def _better(self, target: urls.Target, failure: Failure) -> urls.Target | None:
        status = self.trail.head.status if self.trail.head else 0
        if status not in ogc.STATUSES and failure.detail != "soft-service-exception":
            return None
        complete = ogc.complete(target.url, self.request.format)
        found = urls.normalise(complete) if complete else None
        return found if isinstance(found, urls.Target) else None

    def _new_trail(self, target: urls.Target) -> _Trail:
        """Begin another question; returns the old trail, closed."""
        old = self.trail
        old.close()
        self.trail = _Trail(target.url)
        return old

    def _follow(self, target: urls.Target, method: str, headers: Headers) -> _Answer:
        """Ask, and follow redirects to the final answer.

        :raises Failure: no answer, or redirects that lead nowhere
        """
        origin = _origin(target)
        login = (target.username, target.password) if target.has_credentials else None
        seen: set[tuple[str, str]] = set()
        while True:
            cookie = self.cookies.header(target.url)
            if (target.url, cookie) in seen:
                raise Failure(Cause.REDIRECT, "redirect-loop", url=target.url[:200])
            seen.add((target.url, cookie))
            extra = dict(headers)
            if cookie:
                extra["Cookie"] = cookie
            # Credentials of the link go to its own server only, as in browsers and curl.
            if login and _origin(target) == origin:
                extra["Authorization"] = basic(*login)
            answer = self._exchange(target, method, extra)
            location = http_status.redirect_from(answer.head)
            if location is None:
                return answer
            target = self._redirected(answer, location)

    def _redirected(self, answer: _Answer, location: str) -> urls.Target:
        self.cookies.take(answer.target.url, answer.head.every.get("set-cookie", []))
        self.trail.hops.append(Hop(answer.target.url, answer.head.status))
        if len(self.trail.hops) > self.limits.max_redirects:
            raise Failure(Cause.REDIRECT, "redirect-too-many", limit=self.limits.max_redirects)
        joined = urls.join(answer.target.url, location)
        target = urls.normalise(joined)
        if isinstance(target, urls.Target) and target.scheme in ("http", "https"):
            return target
        if isinstance(target, urls.Target):
            raise Failure(Cause.REDIRECT, "redirect-scheme", scheme=target.scheme)
        if target.detail == "scheme-refused":
            raise Failure(Cause.REDIRECT, "redirect-scheme", **target.facts)
        if target.cause is Cause.REFUSED_BY_POLICY:
            raise Failure(target.cause, target.detail, **target.facts)
        raise Failure(Cause.REDIRECT, "redirect-bad-url")

    def _exchange(self, target: urls.Target, method: str, extra: Headers) -> _Answer:
        """One request, one answer.

        :raises NoConnection: the server could not be asked
        :raises Failure: it did not answer in HTTP
        """
        trail = self.trail
        trail.close()
        trail.final_url, trail.head, trail.certificate = target.url, None, None
        connection = dial(target, self.policy, self.deadline)
        trail.stream, trail.certificate = connection.stream, connection.certificate
        if self.request.check_only:
            connection.stream.at_once = CHECK_RECEIVE_BYTES
        place = target.url if connection.absolute else target.request_target
        fields = {
            "Host": target.host_header,
            "User-Agent": self.policy.user_agent,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
            **extra,
            **dict(connection.headers),
        }
        text = f"{method} {place} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.requests += 1
        connection.stream.send(f"{text}\r\n".encode("latin-1"))
        head, ahead = wire.read_head(connection.stream)
        if connection.absolute and is_of_proxy(head):
            raise proxy_failure(head.status, target.host)
        trail.head = head
        frame = wire.framing(head, method)
        body = Body(connection.stream, ahead, frame)
        self.bodies.append(body)
        return _Answer(target, head, frame, body)

    # -- what came of it -----------------------------------------------------------------------------------

    def failed(self, failure: Failure) -> Outcome:
        head = self.trail.head
        self.trail.certificate = self.trail.certificate or failure.certificate
        return self._outcome(
            cause=failure.cause,
            detail=failure.detail,
            facts=failure.facts,
            transient=failure.transient,
            # Elsewhere it means nothing (RFC 9110 §10.2.3), and the whole host would have to rest for one dead link.
            retry_after=http_status.retry_after(head, datetime.now(timezone.utc))
            if head and failure.cause is Cause.BLOCKED
            else None,
        )

    def _ok(self, detail: str, answer: _Answer, first: bytes = b"", **more: Any) -> Outcome:
        head, url = answer.head, answer.target.url
        disposition = head.get("content-disposition") or None
        kind = filenames.mimetype(head.get("content-type") or None, first, filenames.filename(disposition, url))
        return self._outcome(
            cause=Cause.OK,
            detail=detail,
            mimetype=kind,
            filename=filenames.filename(disposition, url, kind),
            etag=head.get("etag") or None,
            last_modified=head.get("last-modified") or None,
            permanent_url=self._permanent_url(url),
            **more,
        )

    def _permanent_url(self, url: str) -> str | None:
        hops = self.trail.hops
        return url if hops and all(hop.status in http_status.PERMANENT for hop in hops) else None

    def _outcome(self, **more: Any) -> Outcome:
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
            **more,
        )


def _origin(target: urls.Target) -> tuple[str, str, int]:
    return target.scheme, target.host, target.port


def _is_latin(text: str) -> bool:
    return all(ord(char) < 256 for char in text)


def _announced(head: Head) -> int | None:
    """The Content-Length that a head names for its file."""
    text = head.get("content-length")
    return int(text[:18]) if text.isascii() and text.isdigit() and not head.get("transfer-encoding") else None


def _is_from_start(head: Head) -> bool:
    """The 206 we asked for: it starts at byte 0."""
    return head.status == 206 and head.get("content-range").lower().replace(" ", "").startswith("bytes0-")


def _total(head: Head) -> int | None:
    text = head.get("content-range").rpartition("/")[2].strip()
    return int(text[:18]) if text.isascii() and text.isdigit() else None


def _codings(answer: _Answer) -> tuple[str, ...] | None:
    """The codings to undo, outermost first; None if there is one that we cannot.

    :raises Failure: more of them than any server has a reason for
    """
    if len(answer.frame.codings) > MAX_CODINGS:
        raise wire.server_error("bad-encoding")
    if UNDECODABLE & set(answer.frame.codings):
        return None
    kind = answer.head.get("content-type").partition(";")[0].strip().lower()
    path = answer.target.request_target.partition("?")[0].lower()
    # "file.csv.gz" with Content-Encoding: gzip is meant as the .gz file (old Apache); browsers leave it as it
    # is.
    if answer.frame.codings == ("gzip",) and (kind in GZIP_TYPES or path.endswith((".gz", ".tgz"))):
        return ()
    return tuple(coding for coding in answer.frame.codings if coding in wire.DECODABLE)
