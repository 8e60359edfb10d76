"""Check links without a portal: the engine and the rules on any URL, one or many side by side.

Nothing here touches CKAN or the database; ``ckan archiver check`` prints what comes out.
"""

from __future__ import annotations

import concurrent.futures
import json
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ckanext.archiver.engine import http, reasons, urls
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
    """One link to be checked. ``id`` is given back with the result; None where none was given."""

    url: str
    format: str = ""
    id: Any = None


class BadLine(ValueError):
    """A line of input that is no link; the text says which and why."""


def links(lines: Iterable[str], format: str = "") -> Iterator[Link]:
    """The links of an input: a URL a line, or a JSON object a line (``{"url": …, "format": …, "id": …}``).

    Empty lines are passed over; what is not JSON is a URL, however odd, and gets a verdict.

    :param format: for links that name none
    :raises BadLine: an object without a URL, or one that is no JSON
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
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Look at one link, now and without a history, and describe what came of it.

    :param spool: where a downloaded file is kept; without one it is read and thrown away
    :returns: JSON-able; the keys are those of :func:`described`, and ``id`` if the link has one
    """
    request = FetchRequest(url=link.url, format=link.format, check_only=check_only)
    outcome = http.fetch(request, limits=limits, policy=policy, spool=spool, stop=stop)
    found = described(outcome, rules)
    return found if link.id is None else {"id": link.id, **found}


def described(outcome: Outcome, rules: Rules) -> dict[str, Any]:
    """An outcome as ``ckan archiver check --json`` shows it."""
    judgement = judge(outcome.cause, outcome.detail, History(), rules, datetime.now(timezone.utc))
    # Of a run that failed by our own fault nothing is written; here somebody waits for an answer.
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
        # Nothing is kept here: whether a copy would be, that is, whether the whole file came.
        "cached": outcome.cause is Cause.OK and outcome.sha256 is not None,
    }


def _printable(url: str) -> str:
    """The link as it was given, but so that it can be written out: half characters and endless ones cannot."""
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
    wanted: Iterable[Link],
    *,
    limits: Limits,
    policy: Policy,
    check_only: bool = False,
    spool: Path | None = None,
    rules: Rules = RULES,
    workers: int = MAX_WORKERS,
) -> Iterator[dict[str, Any]]:
    """Check links side by side and give each result as it comes, not in order.

    ``wanted`` is read only as fast as results are taken, so a million lines need no more memory than a
    hundred. When the iteration is given up, fetches in flight are stopped.

    :raises BadLine: from ``wanted``, once the results before it are given
    """
    stop = threading.Event()
    # Slots are freed as results are taken, so neither side runs away from the other.
    slots = threading.Semaphore(2 * workers)
    results: queue.SimpleQueue[concurrent.futures.Future[dict[str, Any]] | _End] = queue.SimpleQueue()

    def look(link: Link) -> dict[str, Any]:
        return check(link, limits=limits, policy=policy, check_only=check_only, spool=spool, rules=rules, stop=stop)

    with concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="check") as pool:

        def feed() -> None:
            count, error = 0, None
            try:
                for link in wanted:
                    slots.acquire()
                    if stop.is_set():
                        return
                    pool.submit(look, link).add_done_callback(results.put)
                    count += 1
            except Exception as e:  # noqa: BLE001 - raised again in the thread that waits
                error = e
            results.put(_End(count, error))

        # A thread of its own, because reading may block (a pipe) while results are waiting to be shown.
        threading.Thread(target=feed, name="check-feed", daemon=True).start()
        end: _End | None = None
        taken = 0
        try:
            while end is None or taken < end.count:
                found = results.get()
                if isinstance(found, _End):
                    end = found
                    continue
                taken += 1
                slots.release()
                yield found.result()
        finally:
            stop.set()
            slots.release()
    if end.error is not None:
        raise end.error


@dataclass(frozen=True)
class _End:
    """The input is over: how many links it had, and what broke it off."""

    count: int
    error: Exception | None


def exit_code(results: Iterable[Mapping[str, Any]]) -> int:
    """For a shell: broken if any link is, else not sure if any link is, else ok."""
    code = EXIT_OK
    for result in results:
        if result["is_broken"]:
            return EXIT_BROKEN
        if result["is_broken"] is None:
            code = EXIT_NOT_SURE
    return code
