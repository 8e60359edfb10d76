"""The use cases: archive one resource, archive one dataset. Read from top to bottom.

A worker claims the request (one short transaction), looks at the link (no transaction), and writes everything it
learnt in one commit that presents its lease. Then other extensions are told.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import clock, config, indexing
from ckanext.archiver.archiving import record, uploads
from ckanext.archiver.engine import http, reasons, store
from ckanext.archiver.engine.outcome import Cause, FetchRequest, Outcome, Verdict
from ckanext.archiver.errors import DATABASE_AWAY
from ckanext.archiver.queue import claims, enqueue, hosts, leases, notices
from ckanext.archiver.queue.group_commit import CONTENDED, Contended, Group
from ckanext.archiver.queue.types import DIRECT, Queue, Reason
from ckanext.archiver.verdict import History, Judgement, judge

log = logging.getLogger(__name__)

T = TypeVar("T")

SUSPECT_SECONDS = 2
"""How long a request on its last chance waits for another such."""

MAX_HOLDS_WITHOUT_OUTAGE = 3
"""Holds after which a failure counts although many hosts fail, as long as some answer."""

_stopping = threading.Event()


def stop() -> None:
    """Have the transfers of this process end soon; their requests go back to the table."""
    _stopping.set()


def stopping(seconds: float) -> bool:
    """Wait, at most so long, for being told to stop; True once we were."""
    return _stopping.wait(seconds)


@dataclass(frozen=True)
class Job:
    """A claimed request with its link (None: it was deleted since), between the two transactions."""

    claim: claims.Claim
    link: record.Link | None
    gate: hosts.Admission


@dataclass
class Visit:
    """What came of looking at a link, and what it comes to in the tables."""

    job: Job
    link: record.Link
    outcome: Outcome
    temp_path: Path | None = None
    """The file that came, until it is in the archive."""
    has_company: bool = True
    """Other copies may be beside it there."""
    values: dict[str, Any] | None = None
    """The archival's row, where there is something to write."""
    remember: bool = False
    """The run goes into the link's history, and its request is done."""
    back: claims.Deferral | None = None
    """The request is put off, where it is not done."""
    tells: hosts.HostObservation | None = None
    """What the host's row learns."""

    @property
    def claim(self) -> claims.Claim:
        return self.job.claim

    def remove_temporary(self) -> None:
        """Remove the file that came, and the room that was made for it, unless it is in the archive."""
        if self.temp_path is not None:
            self.temp_path.unlink(missing_ok=True)
            self.temp_path = None
            archive_dir = config.archive_dir()
            if archive_dir is not None and not self.has_company:
                store.remove_empty_resource_dir(archive_dir, self.link.resource_id)


@dataclass(frozen=True)
class Result:
    """What an archival came to. ``archival`` is the row as it was written."""

    outcome: Outcome
    archival: Mapping[str, Any]


def archive_resource(
    resource_id: str, queue: str = "", *, worker_id: str = DIRECT, at_once: bool = False
) -> Result | None:
    """Archive one resource for which there is a request. See :func:`archive_resources`.

    :returns: None where nothing was written: nothing to do, to be tried later, or the lease was lost
    """
    results = archive_resources(deque([resource_id]), queue, worker_id=worker_id, at_once=at_once)
    return results[0] if results else None


def archive_resources(
    resource_ids: deque[str], queue: str = "", *, worker_id: str = DIRECT, at_once: bool = False
) -> list[Result]:
    """Archive resources for which there are requests, one after the other, until this worker is to stop.

    What was seen of one is written, and the next is claimed, in the same transaction.

    :param resource_ids: taken out as they are claimed: what is left at the end was not looked at
    :param queue: the queue by which the message came; empty for any
    :param at_once: do not wait for the host's turn, and do not put off retries (somebody waits for the result)
    :raises sqlalchemy.exc.DBAPIError: the database is away. The request is left to whoever finds it
    """
    results: list[Result] = []
    visit: Visit | None = None
    others = tuple(resource_ids)[1:]
    try:
        while visit is not None or (resource_ids and not _stopping.is_set()):
            ask = None
            # Where others listen they hear of one before the next is claimed: nobody knows how long they take.
            if resource_ids and not _stopping.is_set() and (visit is None or not notices.wanted()):
                ask = Ask(resource_ids.popleft(), queue, worker_id, at_once, others)
                others = ()
            try:
                result, job = _go_on(visit, ask)
            except DATABASE_AWAY:
                if ask is not None:
                    resource_ids.appendleft(ask.resource_id)
                raise
            results += [result] if result else []
            visit = _look_at(job) if job is not None else None
    finally:
        model.Session.rollback()
        # Rows were written past the ORM: who holds an Archival in this session sees what it is now.
        model.Session.expire_all()
    return results


def archive_package(package_id: str, queue: str = "") -> int:
    """Archive all resources of a dataset now, one after the other, and tell other extensions.

    :returns: how many resources were archived
    """
    ids = [
        id
        for (id,) in model.Session.query(model.Resource.id)
        .filter_by(package_id=package_id, state="active")
        .order_by(model.Resource.position)
    ]
    for resource_id in ids:
        enqueue.put_resource(resource_id, queue or Queue.PRIORITY, Reason.COMMAND)
    model.Session.commit()
    return sum(archive_resource(resource_id, at_once=True) is not None for resource_id in ids)


# -- claiming ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """A message: somebody wants this resource archived.

    :ivar others: the rest of the message's, where it has just come
    """

    resource_id: str
    queue: str
    worker_id: str
    at_once: bool
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Turn:
    """What a thread brings to a transaction: what it has seen, and what it would claim next."""

    visit: Visit | None
    ask: Ask | None


@dataclass(frozen=True)
class Turned:
    """What it gets: whether the request of its visit was still its own, and the next job, if there is one."""

    ours: bool = True
    job: Job | None | Contended = None


def _go_on(visit: Visit | None, ask: Ask | None) -> tuple[Result | None, Job | None]:
    """Write a visit and claim the next request."""
    turned = _take_turn(Turn(visit, ask))
    job, result = turned.job, None
    try:
        if visit is not None:
            result = _conclude(visit, turned.ours)
    except BaseException:
        # This worker gives back what it has not in hand.
        if isinstance(job, Job):
            leases.discard(job.claim.token)
        raise
    if isinstance(job, Contended):
        job = _turn_alone(Turn(None, ask)).job
    return result, job if isinstance(job, Job) else None


def _take_turn(turn: Turn) -> Turned:
    """Write a visit and claim the next request, together with other threads of this worker."""
    with _mishaps(turn.visit.job if turn.visit else None):
        at_once = turn.ask.at_once if turn.ask else turn.visit is not None and turn.visit.claim.at_once
        try:
            return _turn_alone(turn) if at_once else _turns.do(turn)
        finally:
            if turn.visit is not None:
                turn.visit.remove_temporary()


@contextlib.contextmanager
def _mishaps(job: Job | None) -> Iterator[None]:
    """When something goes wrong, the job is not in our hands any more."""
    try:
        yield
    except DATABASE_AWAY:
        # Once it is back, this worker gives back what it has not in hand.
        if job is not None:
            leases.discard(job.claim.token)
        raise
    except Exception:
        # A defect of ours: tried again, but not at once.
        try:
            model.Session.rollback()
            if job is not None:
                claims.defer([claims.Deferral(job.claim, config.hold_seconds(), held="defect")])
                model.Session.commit()
        finally:
            if job is not None:
                leases.discard(job.claim.token)
        raise


def _turn_alone(turn: Turn) -> Turned:
    """Wait for whoever has a row locked.

    A visit is written by itself, and ``CONTENDED`` stands for what would be claimed: one that waits for a request while
    it holds another would stop an edit that has the first and comes to the second.
    """
    both = turn.visit is not None and turn.ask is not None
    if turn.ask is not None and turn.ask.others:
        claims.take_in_hand(turn.ask.others)
        model.Session.commit()
    (turned,) = _patiently(lambda: _turn_all([Turn(turn.visit, None) if both else turn], wait=True))
    assert not isinstance(turned, Contended)  # noqa: S101 - only where it does not wait
    return replace(turned, job=CONTENDED) if both else turned


def _patiently(work: Callable[[], T]) -> T:
    """Do it, however long somebody has a row locked; from time to time, look whether to stop."""
    while True:
        try:
            return work()
        except sa.exc.OperationalError as e:
            model.Session.rollback()
            if getattr(e.orig, "pgcode", "") not in _LOCKED or _stopping.is_set():
                raise


_LOCKED = ("55P03", "40P01")
"""What PostgreSQL says when a lock was waited for in vain: too long, or in a circle."""


def _turn_all(turns: Sequence[Turn], *, wait: bool = False) -> list[Turned | Contended]:
    """The turns of several threads in one transaction.

    Rows are locked in one order everywhere, so that workers do not wait for each other in a circle: requests (of which
    one that waits has no more than one), suspects, hosts, archivals, datasets, and each in the order of its key.
    """
    visits = [turn.visit for turn in turns if turn.visit is not None]
    claimed: dict[int, claims.Claim | None | Contended] = {}
    jobs: dict[str, Job] = {}
    try:
        wanted = claims.still_ours([visit.claim for visit in visits], wait=wait)
        # What is not found may be locked: that thread waits for it alone, and claimed then.
        alone = set() if wait else {visit.claim.token for visit in visits} - wanted.keys()
        claimed = _claim(
            {
                number: turn.ask
                for number, turn in enumerate(turns)
                if turn.ask and not (turn.visit and turn.visit.claim.token in alone)
            },
            wait=wait,
        )
        if not wait:
            _note_message(turns)
        taken = [claim for claim in claimed.values() if isinstance(claim, claims.Claim)]
        claims.lock_suspects(taken)
        ours = [visit for visit in visits if visit.claim.token in wanted]
        _decide(ours, wanted)
        tells = [visit.tells for visit in ours if visit.tells is not None]
        hosts.lock([tell.host for tell in tells], [claim.host for claim in taken])
        hosts.leave(tells)
        entered = _enter(taken, [visit.claim.token for visit in ours])
        _write(ours)
        model.Session.commit()
        jobs = entered
        # Here, so that threads do not line up for the log.
        _tell(ours)
    finally:
        for claim in claimed.values():
            if isinstance(claim, claims.Claim) and claim.token not in jobs:
                leases.discard(claim.token)
        model.Session.rollback()

    def turned(number: int, turn: Turn) -> Turned | Contended:
        token = turn.visit.claim.token if turn.visit else ""
        if token in alone:
            return CONTENDED
        claim = claimed.get(number)
        job = jobs.get(claim.token) if isinstance(claim, claims.Claim) else claim
        return Turned(ours=not token or token in wanted, job=job)

    return [turned(number, turn) for number, turn in enumerate(turns)]


_turns: Group[Turn, Turned] = Group(_turn_all, _turn_alone)


def _claim(asks: Mapping[int, Ask], *, wait: bool) -> dict[int, claims.Claim | None | Contended]:
    if not asks:
        return {}
    messages = [claims.Message(ask.resource_id, ask.queue) for ask in asks.values()]
    first = next(iter(asks.values()))
    claimed = claims.claim(messages, first.worker_id, at_once=first.at_once, wait=wait)
    return dict(zip(asks, claimed, strict=True))


def _note_message(turns: Sequence[Turn]) -> None:
    """Note of messages that have just come that they did."""
    others = [resource_id for turn in turns if turn.ask is not None for resource_id in turn.ask.others]
    if others:
        claims.take_in_hand(others)


def _enter(claimed: Sequence[claims.Claim], leaving: Sequence[str]) -> dict[str, Job]:
    """The jobs, by token, of those that may go now; the others are given back.

    :param leaving: the tokens of visits that end in this transaction
    """
    if not claimed:
        return {}
    links = record.load([claim.resource_id for claim in claimed])
    # What goes nowhere (deleted meanwhile, about to be set aside) needs no gate.
    going = [
        claim
        for claim in claimed
        if not claim.at_once and claim.resource_id in links and claim.deaths < config.poison_deaths()
    ]
    suspects = claims.suspects_to_wait(going)
    going = [claim for claim in going if claim.token not in suspects]
    visitors = [
        hosts.Candidate(claim.host, links[claim.resource_id].url, urgent=claim.queue == Queue.PRIORITY)
        for claim in going
    ]
    entered = hosts.enter(visitors, [*leaving, *(claim.token for claim in claimed)])
    gates = {claim.token: gate for claim, gate in zip(going, entered, strict=True)}
    gates.update({token: hosts.Admission(wait=SUSPECT_SECONDS) for token in suspects})
    jobs = {}
    for claim in claimed:
        gate = gates.get(claim.token, hosts.Admission())
        if not gate.wait:
            jobs[claim.token] = Job(claim, links.get(claim.resource_id), gate)
    waiting = [claims.Deferral(claim, gates[claim.token].wait) for claim in claimed if claim.token not in jobs]
    if waiting:
        claims.defer(waiting)
    return jobs


# -- looking -----------------------------------------------------------------------------------------------


def _look_at(job: Job) -> Visit | None:
    """Look at the link of a job. None where there is nothing to look at."""
    with _mishaps(job):
        if job.link is None:
            _patiently(lambda: _withdraw(job))
        elif job.claim.deaths >= config.poison_deaths() and not job.claim.at_once:
            _patiently(lambda: _set_aside(job))
        else:
            outcome = _look(job, job.link)
            return _with_room(Visit(job, job.link, outcome, outcome.temp_path))
    leases.discard(job.claim.token)
    return None


def _look(job: Job, link: record.Link) -> Outcome:
    """Look at the link. No transaction is open, and nothing is raised for what the remote side does."""
    archive_dir = config.archive_dir()
    if job.gate.down_since is not None:
        facts = {"host": job.claim.host, "since": job.gate.down_since.date().isoformat()}
        return Outcome(Cause.UNREACHABLE, "host-down", facts, url=link.url)
    check_only = (
        archive_dir is None
        or not store.is_storable(link.resource_id)
        or config.mode_for(
            dataset=link.package_name, organization=link.organization, host=job.claim.host, format=link.format
        )
        == "check"
    )
    spool = None
    if not check_only and archive_dir is not None:
        try:
            if store.free_bytes_lately(archive_dir) < config.min_free_bytes():
                return Outcome(Cause.OWN_FAULT, "disk-full", url=link.url)
            spool = store.spool(archive_dir, job.claim.worker_id)
        except OSError as e:
            log.warning("The archive directory cannot be used: %s", e)
            return Outcome(Cause.OWN_FAULT, "disk-broken", url=link.url)
    if link.is_upload:
        return uploads.fetch(link.resource_id, link.url, spool, config.limits(), check_only=check_only, stop=_stopping)
    request = FetchRequest(
        url=link.url,
        format=link.format,
        check_only=check_only,
        hints=job.gate.hints,
        **({} if check_only else _validators(link)),
    )
    return http.fetch(request, limits=config.limits(), policy=config.policy(), spool=spool, stop=_stopping)


def _with_room(visit: Visit) -> Visit:
    """Make the directory for the file that came, before the transaction in which others have a part."""
    archive_dir = config.archive_dir()
    if visit.temp_path is not None and archive_dir is not None:
        try:
            visit.has_company = not store.make_resource_dir(archive_dir, visit.link.resource_id)
        except OSError as e:
            visit.outcome = _disk_failed(visit.outcome, e)
    return visit


def _validators(link: record.Link) -> dict[str, str | None]:
    """What makes the request conditional: only while we still have the copy of this very URL."""
    known = link.known
    if not known.get("cache_filepath") or not record.is_recorded(known):
        return {}
    return {"etag": known["etag"], "last_modified": known["last_modified"]}


# -- writing -----------------------------------------------------------------------------------------------


def _decide(visits: Sequence[Visit], wanted: Mapping[str, claims.CurrentResource]) -> None:
    """Fill in what each visit comes to."""
    meant = []
    for visit in visits:
        visit.values = visit.back = visit.tells = None
        visit.remember = False
        link, now = visit.link, wanted[visit.claim.token]
        if (now.url, now.url_type, now.timestamp) == (link.url, link.url_type, link.timestamp):
            meant.append(visit)
            _keep(visit, now.now)
        else:
            # Edited meanwhile: this run says nothing about the new URL.
            visit.back = claims.Deferral(visit.claim, attempts=0)
        if visit.job.gate.down_since is None:
            visit.tells = hosts.HostObservation(visit.claim.host, visit.outcome, probes=visit.job.gate.probes)
    outage = None
    if any(hosts.may_be_ours(visit.outcome) and not visit.claim.at_once for visit in meant):
        outage = hosts.check_outage([visit.tells for visit in meant if visit.tells is not None])
    for visit in meant:
        _judge(visit, outage, wanted[visit.claim.token].now)


def _judge(visit: Visit, outage: hosts.OutageCheck | None, now: datetime) -> None:
    claim, link, outcome = visit.claim, visit.link, visit.outcome
    held = _own_fault(visit, outage)
    if held:
        if visit.tells is not None:
            visit.tells = replace(visit.tells, held=True)
        visit.back = _hold(visit, held)
        return
    delays = config.retry_delays()
    history = _history(link)
    if outcome.transient and claim.attempts < len(delays) and not visit.claim.at_once:
        if not link.known or (
            claim.reason == Reason.CONFIRM and history.verdict not in (Verdict.FAILING, Verdict.BROKEN)
        ):
            # Somebody who just typed this URL, or asked, sees at once that it fails; the retries decide what it counts.
            visit.values = record.values(link, outcome, _provisional(history, now), now)
        visit.back = claims.Deferral(claim, delays[claim.attempts], attempts=claim.attempts + 1)
        return
    visit.values = record.values(link, outcome, judge(outcome.cause, outcome.detail, history, config.rules(), now), now)
    visit.remember = True


def _hold(visit: Visit, held: str) -> claims.Deferral:
    """Put the request off; what failed may be ours."""
    outcome = visit.outcome
    if outcome.detail == "stopped":
        return claims.Deferral(visit.claim)
    delay = config.hold_seconds()
    log.warning("No verdict about resource %s: %s Trying again in %s s", visit.link.resource_id, held, delay)
    return claims.Deferral(visit.claim, delay, held=outcome.detail if outcome.cause is Cause.OWN_FAULT else "outage")


def _write(visits: Sequence[Visit]) -> None:
    """Write what was decided, in the caller's transaction."""
    _save([visit for visit in visits if visit.values is not None])
    backs = [visit.back for visit in visits if visit.back is not None]
    if backs:
        claims.defer(backs)
    done = [visit for visit in visits if visit.remember]
    if done:
        _finish(
            [visit.claim for visit in done],
            {visit.claim.token: visit.values["cache_filepath"] for visit in done if visit.values},
        )


def _tell(visits: Sequence[Visit]) -> None:
    for visit in visits:
        if visit.remember and visit.values is not None:
            verdict, resource_id = visit.values["verdict"], visit.claim.resource_id
            log.info("%s: resource %s (%s)", verdict, resource_id, visit.outcome.detail)


def _conclude(visit: Visit, ours: bool) -> Result | None:
    """What remains to be done after the commit. None when nothing was judged."""
    claim, values = visit.claim, visit.values
    try:
        if not ours:
            log.info(
                "Nothing is written about resource %s: its request is withdrawn or another's",
                claim.resource_id,
            )
            return None
        if not visit.remember or values is None:
            return None
        if visit.has_company:
            _tidy(visit.link, values["cache_filepath"])
        if notices.wanted():
            notices.deliver(claim.token)
    finally:
        leases.discard(claim.token)
    if claim.queue != Queue.BULK:
        # The round leaves the index to the dispatcher, which refreshes it in batches.
        indexing.refresh_dataset(claim.package_id)
    return Result(visit.outcome, values)


def _finish(claimed: Sequence[claims.Claim], archived: Mapping[str, str | None]) -> None:
    """Take requests off the table, and write down whom to tell, in the caller's transaction.

    :param archived: the path of the copy, if any, by the token of those that were archived
    """
    finished = claims.finish(claimed)
    # The last of a dataset tells that it is done.
    last = {claim.package_id: claim for claim in claimed if finished.get(claim.token)}
    if last:
        indexing.note_facet(*last)
    if not notices.wanted():
        return
    told = [
        _notice("archived", claim, resource_id=claim.resource_id, cache_filepath=archived[claim.token])
        for claim in claimed
        if claim.token in archived
    ]
    for claim in last.values():
        notice = _notice("package-archived", claim)
        if claim.at_once and claim.reason == Reason.CALLED:
            # Who calls update_resource() hears of the resource alone, as ever; a worker tells of the dataset.
            notice = replace(notice, token=None, worker_id=None)
        told.append(notice)
    notices.add(told)


def _notice(operation: str, claim: claims.Claim, **more: str | None) -> notices.Notice:
    return notices.Notice(operation, claim.queue, claim.package_id, claim.token, claim.worker_id, **more)


def _tidy(link: record.Link, cache_filepath: str | None) -> None:
    """Remove copies that no row names: older ones, and what a worker left that died before it wrote the row."""
    archive_dir = config.archive_dir()
    if archive_dir is None or not store.is_storable(link.resource_id):
        return
    if cache_filepath:
        store.remove_others(archive_dir, link.resource_id, cache_filepath)
    elif store.resource_dir(archive_dir, link.resource_id).is_dir():
        store.remove(archive_dir, link.resource_id)


def _keep(visit: Visit, now: datetime) -> None:
    """Move the file to its place, before anything is written about it: a row never names a file that is not there.

    A disk that fails here is our own fault.
    """
    outcome, archive_dir = visit.outcome, config.archive_dir()
    if outcome.temp_path is None or archive_dir is None:
        return
    name = outcome.filename or "resource"
    try:
        path = store.place(outcome.temp_path, archive_dir, visit.link.resource_id, name, now)
        visit.outcome, visit.temp_path = replace(outcome, temp_path=path), None
        store.sync_name(path)
    except OSError as e:
        visit.outcome = _disk_failed(outcome, e)


def _disk_failed(outcome: Outcome, error: OSError) -> Outcome:
    return replace(outcome, cause=Cause.OWN_FAULT, detail=store.disk_failure(error).detail, facts={}, temp_path=None)


def _own_fault(visit: Visit, outage: hosts.OutageCheck | None) -> str:
    """Why this failure may be ours, empty when it is the link's."""
    outcome = visit.outcome
    if outcome.cause is Cause.OWN_FAULT:
        return reasons.reason(outcome.detail, outcome.facts)
    if not hosts.may_be_ours(outcome) or visit.claim.at_once or outage is None:
        return ""
    if not outage.is_outage or (outage.some_worked and visit.claim.holds >= MAX_HOLDS_WITHOUT_OUTAGE):
        return ""
    return f"{outage.failed} of {outage.seen} hosts fail at once."


def _history(link: record.Link) -> History:
    known = link.known
    if not known or not known["verdict"]:
        return History()
    return History(
        failure_count=known["failure_count"] or 0,
        first_failure=clock.aware(known["first_failure"]),
        last_success=clock.aware(known["last_success"]),
        verdict=Verdict(known["verdict"]),
        detail=known["detail"] or "",
    )


def _provisional(history: History, now: datetime) -> Judgement:
    return Judgement(Verdict.FAILING, history.failure_count, history.first_failure or now, history.last_success)


def _save(visits: Sequence[Visit]) -> None:
    """Insert or update archivals, in the caller's transaction, and remember the runs that count."""
    rows = [
        {**visit.values, "seen_size": visit.outcome.size, "seconds": visit.outcome.seconds, "remember": visit.remember}
        for visit in visits
        if visit.values is not None
    ]
    record.save(rows)


def _withdraw(job: Job) -> None:
    """Take a request off the table whose resource was deleted since."""
    if claims.still_ours([job.claim]):
        _finish([job.claim], {})
    model.Session.commit()
    notices.deliver(job.claim.token)


def _set_aside(job: Job) -> None:
    """Write that a resource killed its workers, so that it is not tried for ever, and tell other extensions."""
    claim, link = job.claim, job.link
    assert link is not None  # noqa: S101 - else it is withdrawn
    wanted = claims.still_ours([claim]).get(claim.token)
    if wanted is None:
        # The transaction must not stay open: the next one of this thread would live in its past.
        model.Session.rollback()
        return
    outcome = Outcome(Cause.OWN_FAULT, "poison", {"times": claim.deaths}, url=link.url)
    judgement = replace(
        judge(outcome.cause, outcome.detail, _history(link), config.rules(), wanted.now),
        verdict=Verdict.NOT_SURE,
        held=False,
    )
    values = record.values(link, outcome, judgement, wanted.now)
    _save([Visit(job, link, outcome, values=values, remember=True)])
    _finish([claim], {claim.token: None})
    model.Session.commit()
    notices.deliver(claim.token)
    log.error("Resource %s is set aside: %s workers died while they archived it", claim.resource_id, claim.deaths)
