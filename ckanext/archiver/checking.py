"""Check links without a portal: the engine and the rules for any URL, one or many in parallel.

Nothing here uses CKAN or the database; ``ckan archiver check`` prints the results.
"""

from __future__ import annotations

import concurrent.futures
import json
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ckanext.archiver.engine import fetch, reasons, urls
from ckanext.archiver.engine.outcome import Cause, Certificate, FetchRequest, Limits, Outcome, Policy, Verdict
from ckanext.archiver.verdict import History, Rules, judge

EXIT_OK = 0
EXIT_BROKEN = 1
EXIT_NOT_SURE = 2
EXIT_USAGE = 3

MAX_WORKERS = 16
RULES = Rules()


@dataclass(frozen=True)
class Link:
    """One link to be checked. ``id`` is returned with the result; None if the input has none."""

    url: str
    format: str = ""
    id: Any = None


class BadLine(ValueError):
    """A line of input that is not a link; the text says which line and why."""


def links(lines: Iterable[str], format: str = "") -> Iterator[Link]:
    """The links of an input: one URL or one JSON object (``{"url": …, "format": …, "id": …}``) per line.

    Empty lines are skipped; what is not JSON is a URL, however odd, and gets a verdict.

    :param format: for links without a format
    :raises BadLine: an object without a URL, or invalid JSON
    """
    for number, line in enumerate(lines, 1):
        text = line.strip("\r\n")
        if text.strip():
            yield _link(text, number, format)


def _link(text: str, number: int, format: str) -> Link:
    if not text.lstrip().startswith("{"):
        return Link(text, format)
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise BadLine(f"Line {number} is not JSON: {str(e)[:200]}") from e
    if not isinstance(given.get("url"), str):
        raise BadLine(f'Line {number} has no "url".')
    declared = given.get("format")
    return Link(given["url"], declared if isinstance(declared, str) else format, given.get("id"))


def check(
    link: Link,
    *,
    limits: Limits,
    policy: Policy,
    check_only: bool = False,
    spool: Path | None = None,
    rules: Rules = RULES,
    retry_delays: Sequence[float] | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Check one link, now and without a history, and describe the result.

    :param spool: directory for the downloaded file; without one the file is read and discarded
    :param retry_delays: seconds before each retry of a failure that another attempt may mend, as a worker makes them;
        None for no retries
    :returns: JSON-able; the keys are those of :func:`described`, ``id`` if the link has one, and ``attempts`` with
        retries
    """
    stop = stop or threading.Event()
    request = FetchRequest(url=link.url, format=link.format, check_only=check_only)
    outcome = fetch.fetch(request, limits=limits, policy=policy, spool=spool, stop=stop)
    attempts = 1
    for delay in retry_delays or ():
        if not outcome.transient or stop.wait(delay):
            break
        # As a worker does: what was learnt of the host is given with the next request.
        request = replace(request, hints={**request.hints, **outcome.hints})
        outcome = fetch.fetch(request, limits=limits, policy=policy, spool=spool, stop=stop)
        attempts += 1
    result = described(outcome, rules)
    if retry_delays is not None:
        result["attempts"] = attempts
    return result if link.id is None else {"id": link.id, **result}


def described(outcome: Outcome, rules: Rules) -> dict[str, Any]:
    """An outcome as ``ckan archiver check --json`` shows it."""
    judgement = judge(outcome.cause, outcome.detail, History(), rules, datetime.now(timezone.utc))
    # A run that failed by our own fault has no verdict; here a person waits for one.
    verdict = judgement.verdict or Verdict.NOT_SURE
    return {
        "url": _printable(outcome.url),
        "final_url": outcome.final_url if outcome.requests else _printable(outcome.final_url),
        "verdict": str(verdict),
        "is_broken": verdict.is_broken,
        "cause": str(outcome.cause),
        "reason": reasons.reason(outcome.detail, outcome.facts),
        "http_status": outcome.http_status,
        "hops": [{"url": hop.url, "status": hop.status} for hop in outcome.hops],
        "size": outcome.size,
        "mimetype": outcome.mimetype,
        "filename": outcome.filename,
        "sha256": outcome.sha256,
        "certificate": _certificate(outcome.certificate),
        "requests": outcome.requests,
        "bytes_read": outcome.bytes_read,
        "seconds": round(outcome.seconds, 3),
        # Nothing is kept here. This says whether a copy would be kept, that is, whether the whole file arrived.
        "cached": outcome.cause is Cause.OK and outcome.sha256 is not None,
    }


def _printable(url: str) -> str:
    """The link as it was given, made printable: without surrogates, and not too long."""
    shown = urls.redact(url).encode("utf-8", "backslashreplace").decode("utf-8")
    return shown if len(shown) <= 2_000 else shown[:2_000] + "…"


def _certificate(certificate: Certificate | None) -> dict[str, Any] | None:
    if certificate is None:
        return None
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "not_before": certificate.not_before.isoformat(),
        "not_after": certificate.not_after.isoformat(),
        "names": list(certificate.names),
        "expires_soon": certificate.expires_soon,
    }


def check_many(
    links: Iterable[Link],
    *,
    limits: Limits,
    policy: Policy,
    check_only: bool = False,
    spool: Path | None = None,
    rules: Rules = RULES,
    retry_delays: Sequence[float] | None = None,
    workers: int = MAX_WORKERS,
) -> Iterator[dict[str, Any]]:
    """Check links in parallel and yield each result as soon as it is ready, not in order.

    ``links`` is read only as fast as results are consumed, so a million lines need no more memory than a hundred. When
    the iteration is abandoned, fetches in flight are stopped.

    :raises BadLine: from ``links``, after the results before it
    """
    stop = threading.Event()

    def check_one(link: Link) -> dict[str, Any]:
        return check(
            link,
            limits=limits,
            policy=policy,
            check_only=check_only,
            spool=spool,
            rules=rules,
            retry_delays=retry_delays,
            stop=stop,
        )

    with concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="check") as pool:
        feed = _Feed(links, lambda link: pool.submit(check_one, link), 2 * workers, stop)
        # A thread of its own, because reading may block (a pipe) while results are ready to be shown.
        threading.Thread(target=feed.run, name="check-feed", daemon=True).start()
        yield from feed.results()


_Future = concurrent.futures.Future[dict[str, Any]]


@dataclass(frozen=True)
class _End:
    """The end of the input: how many links it had, and the error that ended it."""

    count: int
    error: Exception | None


class _Feed:
    """Submits links and collects their results.

    :param ahead: how many links may be submitted before their results are consumed
    :param stop: set when the results are no longer wanted
    """

    def __init__(
        self, links: Iterable[Link], submit: Callable[[Link], _Future], ahead: int, stop: threading.Event
    ) -> None:
        self._links = links
        self._submit = submit
        self._slots = threading.Semaphore(ahead)
        self._stop = stop
        self._done: queue.SimpleQueue[_Future | _End] = queue.SimpleQueue()

    def run(self) -> None:
        """Submit all links, as fast as results are consumed."""
        count, error = 0, None
        try:
            for link in self._links:
                self._slots.acquire()
                if self._stop.is_set():
                    return
                self._submit(link).add_done_callback(self._done.put)
                count += 1
        except Exception as e:  # noqa: BLE001 - raised again in the thread that consumes
            error = e
        self._done.put(_End(count, error))

    def results(self) -> Iterator[dict[str, Any]]:
        """:raises Exception: the error of the input, after the results before it"""
        end: _End | None = None
        consumed = 0
        try:
            while end is None or consumed < end.count:
                done = self._done.get()
                if isinstance(done, _End):
                    end = done
                    continue
                consumed += 1
                self._slots.release()
                yield done.result()
        finally:
            self._stop.set()
            self._slots.release()
        if end.error is not None:
            raise end.error


def exit_code(results: Iterable[Mapping[str, Any]]) -> int:
    """The exit code for a shell: broken if any link is broken, else not sure if any link is, else ok."""
    code = EXIT_OK
    for result in results:
        if result["is_broken"]:
            return EXIT_BROKEN
        if result["is_broken"] is None:
            code = EXIT_NOT_SURE
    return code
