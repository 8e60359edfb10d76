"""Write what a run found and claim the next request: the one module of this package that commits.

Group commit: the first thread to arrive writes for every thread that arrives while it is writing
(:mod:`~ckanext.archiver.queue.group_commit`).
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import config, indexing
from ckanext.archiver.archiving import parked, record
from ckanext.archiver.archiving import run as one_run
from ckanext.archiver.archiving.admission import admit
from ckanext.archiver.archiving.conclude import after_commit, note_results
from ckanext.archiver.archiving.decide import (
    decide,
    decide_poisoned,
    is_unchanged,
    keeps_file,
    may_be_outage,
    observe,
)
from ckanext.archiver.archiving.types import ClaimedRequest, Delivery, Options, Result, Run, Step, StepResult
from ckanext.archiver.errors import DATABASE_AWAY
from ckanext.archiver.queue import address_gate, claims, enqueue, hosts, leases, notices
from ckanext.archiver.queue.group_commit import CONTENDED, Contended, Group
from ckanext.archiver.queue.types import Reason

log = logging.getLogger(__name__)

T = TypeVar("T")

# -- one step ----------------------------------------------------------------------------------------------


def advance(run: Run | None, delivery: Delivery | None) -> tuple[Result | None, ClaimedRequest | None]:
    """Write a finished run and claim the next request.

    :returns: the result of the run, if anything was judged, and what was claimed
    :raises sqlalchemy.exc.DBAPIError: the database is away, or a defect
    """
    step_result = _write_and_claim(Step(run, delivery))
    request, result = step_result.request, None
    try:
        if run is not None and not step_result.is_parked:
            result = after_commit(run, step_result.is_ours)
    except BaseException:
        # The lease goes back: this worker releases what it no longer has in flight.
        if isinstance(request, ClaimedRequest):
            leases.discard(request.claim.token)
        raise
    if isinstance(request, Contended) and delivery is not None:
        if leases.current().parks:
            # The thread must not wait for an edit's transaction: it would stop the queue with it.
            leases.current().contended.add(delivery.resource_id)
        else:
            request = _write_and_claim_waiting(Step(None, delivery)).request
    return result, request if isinstance(request, ClaimedRequest) else None


def _write_and_claim(step: Step) -> StepResult:
    """Do a step in a transaction shared with other threads; alone where a caller waits for the result."""
    with release_on_error(step.run.request if step.run else None):
        at_once = step.delivery.at_once if step.delivery else step.run is not None and step.run.claim.at_once
        is_parked = False
        try:
            result = _write_and_claim_waiting(step) if at_once else _group.do(step)
            is_parked = result.is_parked
            return result
        finally:
            if step.run is not None and not is_parked:
                one_run.remove_temporary(step.run)


@contextlib.contextmanager
def release_on_error(request: ClaimedRequest | None) -> Iterator[None]:
    """Let go of a claimed request when something fails."""
    try:
        yield
    except DATABASE_AWAY:
        # Once the database is back, this worker releases the leases that it no longer has in flight.
        if request is not None:
            leases.discard(request.claim.token)
        raise
    except Exception:
        # A defect of ours: tried again, but not at once.
        try:
            model.Session.rollback()
            if request is not None:
                claims.defer([claims.Deferral(request.claim, config.hold_seconds(), held="defect")])
                model.Session.commit()
        finally:
            if request is not None:
                leases.discard(request.claim.token)
        raise


def write_and_claim_one(step: Step) -> StepResult:
    """Do one step in a transaction of its own.

    A worker waits for no locked request. A run whose request is locked is parked
    (:mod:`~ckanext.archiver.archiving.parked`). ``CONTENDED`` is returned for a request that is locked. Outside a
    worker, it waits: see :func:`_write_and_claim_waiting`.
    """
    if not leases.current().parks:
        return _write_and_claim_waiting(step)
    (result,) = write_batch_or_each([step])
    if not isinstance(result, Contended):
        return result
    if step.run is None:
        return StepResult(request=CONTENDED)
    parked.park(step.run)
    log.info("The result of resource %s is written when its request is not locked any more", step.run.claim.resource_id)
    claimed = write_and_claim_one(Step(None, step.delivery)) if step.delivery else StepResult()
    return replace(claimed, is_parked=True)


def write_batch_or_each(steps: Sequence[Step]) -> list[StepResult | Contended]:
    """:func:`write_and_claim_batch` without waiting for requests. Where another lock is in the way for longer than
    ``claims.SHORT_WAIT``, each step is done by itself, so that it stops no other."""
    try:
        return write_and_claim_batch(steps)
    except sa.exc.OperationalError as e:
        if getattr(e.orig, "pgcode", "") not in _LOCKED:
            raise
        if len(steps) == 1:
            return [CONTENDED]
    return [result for step in steps for result in write_batch_or_each([step])]


def _write_and_claim_waiting(step: Step) -> StepResult:
    """Do one step in a transaction of its own, waiting for rows that other transactions have locked.

    Where there is a run to write, only that is done, and ``CONTENDED`` stands for the request that would be claimed: a
    transaction that waits for a request while it holds another would block an edit that has locked the first and
    comes to the second.
    """
    has_both = step.run is not None and step.delivery is not None
    if step.delivery is not None and step.delivery.others:
        claims.take_in_hand(step.delivery.others)
        model.Session.commit()
    step_now = Step(step.run, None) if has_both else step
    (result,) = retry_while_locked(lambda: write_and_claim_batch([step_now], wait=True))
    assert not isinstance(result, Contended)  # noqa: S101 - only where it does not wait
    return replace(result, request=CONTENDED) if has_both else result


_LOCKED = ("55P03", "40P01")
"""SQLSTATE of PostgreSQL's lock_not_available (lock_timeout) and deadlock_detected."""


def retry_while_locked(work: Callable[[], T]) -> T:
    """Repeat some work as long as another transaction has a row locked, unless this process is to stop."""
    while True:
        try:
            return work()
        except sa.exc.OperationalError as e:
            model.Session.rollback()
            if getattr(e.orig, "pgcode", "") not in _LOCKED or leases.current().stopping.is_set():
                raise


def write_and_claim_batch(steps: Sequence[Step], *, wait: bool = False) -> list[StepResult | Contended]:
    """The steps of several threads in one transaction.

    Locks are taken in one order everywhere, so that workers do not deadlock: requests (a transaction that waits for
    one holds no other), suspects, hosts, addresses, archivals, datasets, and each kind in the order of its key.

    :param wait: wait for requests that other transactions have locked; else ``CONTENDED`` stands for such a step
    """
    runs = [step.run for step in steps if step.run is not None]
    claimed: dict[int, claims.Claim | None | Contended] = {}
    requests: dict[str, ClaimedRequest] = {}
    try:
        current = claims.still_ours([run.claim for run in runs], wait=wait)
        # A run's request that is not found is locked, or another worker's by now.
        contended = (
            set() if wait else claims.still_leased([run.claim for run in runs if run.claim.token not in current])
        )
        claimed = _claim(steps, contended, wait=wait)
        if not wait:
            _note_messages(steps)
        admitted = _write_and_admit(
            [run for run in runs if run.claim.token in current],
            current,
            [(claim, steps[number].delivery) for number, claim in claimed.items() if isinstance(claim, claims.Claim)],
        )
        model.Session.commit()
        requests = admitted
        # Within the shared part, so that threads do not contend for the log's lock.
        note_results([run for run in runs if run.claim.token in current])
    finally:
        for claim in claimed.values():
            if isinstance(claim, claims.Claim) and claim.token not in requests:
                leases.discard(claim.token)
        model.Session.rollback()

    def result_of(number: int, step: Step) -> StepResult | Contended:
        token = step.run.claim.token if step.run else ""
        if token in contended:
            return CONTENDED
        claim = claimed.get(number)
        request = requests.get(claim.token) if isinstance(claim, claims.Claim) else claim
        return StepResult(is_ours=not token or token in current, request=request)

    return [result_of(number, step) for number, step in enumerate(steps)]


_group: Group[Step, StepResult] = Group(write_and_claim_batch, write_and_claim_one)


# -- claiming ----------------------------------------------------------------------------------------------


def _claim(steps: Sequence[Step], contended: set[str], *, wait: bool) -> dict[int, claims.Claim | None | Contended]:
    """Claim the requests of deliveries, by the number of the step; not for steps whose run is contended."""
    deliveries = {
        number: step.delivery
        for number, step in enumerate(steps)
        if step.delivery and not (step.run and step.run.claim.token in contended)
    }
    if not deliveries:
        return {}
    messages = [claims.Message(delivery.resource_id, delivery.queue) for delivery in deliveries.values()]
    first = next(iter(deliveries.values()))
    claimed = claims.claim(messages, first.worker_id, at_once=first.at_once, wait=wait)
    not_claimed = [message for message, claim in zip(messages, claimed, strict=True) if claim is None]
    if not_claimed:
        claims.put_back(not_claimed)
    return dict(zip(deliveries, claimed, strict=True))


def _note_messages(steps: Sequence[Step]) -> None:
    """Note that messages have arrived, for the resources in them that are claimed later."""
    others = [resource_id for step in steps if step.delivery for resource_id in step.delivery.others]
    if others:
        claims.take_in_hand(others)


def _write_and_admit(
    runs: Sequence[Run],
    current: Mapping[str, claims.CurrentResource],
    claimed: Sequence[tuple[claims.Claim, Delivery | None]],
) -> dict[str, ClaimedRequest]:
    """Decide and write runs, and admit claims to their hosts.

    :param current: what the resources of the runs are by now, by token
    :returns: the claimed requests that may start, by token
    """
    new_claims = [claim for claim, _ in claimed]
    claims.lock_suspects(new_claims)
    _decide(runs, current)
    observations = [run.decision.observation for run in runs if run.decision.observation is not None]
    hosts.lock([observation.host for observation in observations], [claim.host for claim in new_claims])
    hosts.leave(observations)
    admitted = admit(claimed, [run.claim.token for run in runs])
    _write(runs)
    return admitted


def enter_address(request: ClaimedRequest, address: str) -> bool:
    """Admit a claimed request to its address, which was just looked up; one that has to wait is deferred."""
    may_go = address_gate.enter(request.claim, address)
    if not may_go:
        claims.defer([claims.Deferral(request.claim, address_gate.WAIT_SECONDS)])
    model.Session.commit()
    return may_go


# -- writing -----------------------------------------------------------------------------------------------


def options() -> Options:
    """The options that decisions depend on, as they are now.

    :raises ConfigError: for a bad value
    """
    return Options(
        rules=config.rules(),
        doubt=config.doubt(),
        gone_recheck_hours=config.gone_recheck_hours(),
        retry_delays=config.retry_delays(),
        hold_seconds=config.hold_seconds(),
        recheck=config.recheck(),
        cache_url_root=config.cache_url_root(),
        site_url=config.site_url(),
    )


def _jitter() -> float:
    return random.uniform(-1, 1)  # noqa: S311 - not a secret


def _decide(runs: Sequence[Run], current: Mapping[str, claims.CurrentResource]) -> None:
    """Place the files of runs, and decide what is written about each."""
    if not runs:
        return
    options_now = options()
    unchanged = [run for run in runs if is_unchanged(run.link, current[run.claim.token])]
    for run in unchanged:
        now = current[run.claim.token].now
        if keeps_file(run, now, options_now):
            one_run.place_copy(run, now)
    outage = _suspected_outage(unchanged)
    for run in runs:
        run.decision = decide(run, current[run.claim.token], outage, options_now, jitter=_jitter())


def _suspected_outage(runs: Sequence[Run]) -> hosts.OutageCheck | None:
    """How the hosts checked lately answered, where so many fail that the fault may be ours."""
    if not any(may_be_outage(run) for run in runs):
        return None
    outage = hosts.check_outage([observation for observation in map(observe, runs) if observation is not None])
    return outage if outage.is_outage else None


def _write(runs: Sequence[Run]) -> None:
    """Write what was decided, in the batch's transaction."""
    record.save(runs)
    deferrals = [run.decision.deferral for run in runs if run.decision.deferral is not None]
    if deferrals:
        claims.defer(deferrals)
    final = [run for run in runs if run.decision.is_final]
    if final:
        _finish(
            [run.request for run in final],
            {run.claim.token: run.decision.values["cache_filepath"] for run in final if run.decision.values},
        )


def _finish(requests: Sequence[ClaimedRequest], archived: Mapping[str, str | None]) -> None:
    """Delete requests, and note what subscribers are to hear.

    :param archived: the path of the copy, if any, by the token of those requests that were archived
    """
    finished = claims.finish([request.claim for request in requests])
    # The last request of a dataset completes it.
    last = {request.claim.package_id: request for request in requests if finished.get(request.claim.token)}
    if last:
        indexing.note_facet(*last)
    if not notices.wanted():
        return
    new = [
        _notice(
            "archived", request, resource_id=request.claim.resource_id, cache_filepath=archived[request.claim.token]
        )
        for request in requests
        if request.claim.token in archived
    ]
    for request in last.values():
        notice = _notice("package-archived", request)
        if request.claim.at_once and request.claim.reason == Reason.CALLED:
            # A direct call of update_resource() delivers the resource's notice only; a worker delivers the dataset's.
            notice = replace(notice, token=None, worker_id=None)
        new.append(notice)
    notices.add(new)


def _notice(operation: str, request: ClaimedRequest, **more: str | None) -> notices.Notice:
    claim = request.claim
    queue = request.notice_queue or claim.queue
    return notices.Notice(operation, queue, claim.package_id, claim.token, claim.worker_id, **more)


# -- requests without a run --------------------------------------------------------------------------------


def request_all(resource_ids: Sequence[str], queue: str, reason: str) -> list[str]:
    """Put requests for resources that are to be archived now.

    :returns: those that are active
    """
    put = [resource_id for resource_id in resource_ids if enqueue.put_resource(resource_id, queue, reason)]
    model.Session.commit()
    return put


def withdraw(request: ClaimedRequest) -> None:
    """Delete the request of a resource that was deleted after it was put. One that is locked by now goes back to the
    table."""

    def work() -> None:
        if claims.still_ours([request.claim], wait=not leases.current().parks):
            _finish([request], {})
        model.Session.commit()

    retry_while_locked(work)
    notices.deliver(request.claim.token)


def set_aside(run: Run) -> None:
    """Write that a resource killed its workers, and tell subscribers."""
    claim = run.claim

    def work() -> bool:
        current = claims.still_ours([claim], wait=not leases.current().parks).get(claim.token)
        if current is None:
            # The transaction must not stay open: this thread's next one would see the past.
            model.Session.rollback()
            return False
        run.decision = decide_poisoned(run, current.now, options(), jitter=_jitter())
        record.save([run])
        _finish([run.request], {claim.token: None})
        model.Session.commit()
        note_results([run])
        return True

    if retry_while_locked(work):
        notices.deliver(claim.token)
        log.error("Resource %s is set aside: %s workers died while they archived it", claim.resource_id, claim.deaths)
