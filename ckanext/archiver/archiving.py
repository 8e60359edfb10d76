"""The use cases: archive one resource, archive one dataset. Read from top to bottom.

A worker claims the request (one short transaction), looks at the link (no transaction), and writes everything it
learnt in one commit that presents its lease. Then other extensions are told.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import clock, config, hosts, indexing, leases, notices, outbox, schedule, uploads
from ckanext.archiver.engine import http, store, words
from ckanext.archiver.engine.outcome import Cause, FetchRequest, Outcome, Verdict
from ckanext.archiver.model import Archival, Status
from ckanext.archiver.verdict import History, Judgement, judge, status_text

log = logging.getLogger(__name__)

SUSPECT_SECONDS = 2
"""How long a request on its last chance waits for another such."""

HOLDS_IN_FAIR_WEATHER = 3
"""Holds after which a failure counts although many hosts fail, as long as some answer."""

_stopping = threading.Event()


def stop() -> None:
    """Have the transfers of this process end soon; their requests go back to the table."""
    _stopping.set()


def stopping(seconds: float) -> bool:
    """Wait, at most so long, for being told to stop; True once we were."""
    return _stopping.wait(seconds)


@dataclass(frozen=True)
class Link:
    """A resource as the worker needs it, and what is known of it."""

    resource_id: str
    package_id: str
    package_name: str
    organization: str
    url: str
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
        """The archival, as far as it is about this URL."""
        if self.archival is None or self.archival["source_url"] != self.url:
            return {}
        return self.archival


@dataclass(frozen=True)
class Job:
    """A claimed request with its link, between the two transactions."""

    claim: outbox.Claim
    link: Link
    gate: hosts.Gate
    at_once: bool = False


@dataclass(frozen=True)
class Result:
    """What an archival came to. ``archival`` is the row as it was written."""

    outcome: Outcome
    archival: Mapping[str, Any]


def archive_resource(resource_id: str, queue: str = "", *, worker_id: str = leases.DIRECT,
                     at_once: bool = False) -> Result | None:  # fmt: skip
    """Archive one resource for which there is a request.

    :param queue: the queue by which the message came; empty for any
    :param at_once: do not wait for the host's turn, and do not put off retries (somebody waits for the result)
    :returns: None where nothing was written: nothing to do, to be tried later, or the lease was lost
    :raises sqlalchemy.exc.DBAPIError: the database is away. The request is left to whoever finds it
    """
    job = _claim(resource_id, queue, worker_id, at_once)
    if job is None:
        return None
    try:
        result = _look_and_write(job)
        if result is None:
            return None
        if notices.wanted():
            notices.deliver(job.claim.token)
    finally:
        leases.drop(job.claim.token)
    if queue != outbox.BULK:
        # The round leaves the index to the dispatcher, which refreshes it in batches.
        indexing.refresh_dataset(job.link.package_id)
    return result


def _look_and_write(job: Job) -> Result | None:
    outcome = None
    try:
        outcome = _look(job)
        return _write(job, outcome)
    except sa.exc.DBAPIError:
        raise
    except Exception:
        # A defect of ours: tried again, but not at once.
        model.Session.rollback()
        outbox.give_back(job.claim, config.hold_seconds(), held="defect")
        model.Session.commit()
        raise
    finally:
        if outcome is not None and outcome.temp_path is not None:
            outcome.temp_path.unlink(missing_ok=True)
        model.Session.rollback()
        # The row was written past the ORM: who holds an Archival in this session sees what it is now.
        model.Session.expire_all()


def archive_package(package_id: str, queue: str = "") -> int:
    """Archive all resources of a dataset now, one after the other, and tell other extensions.

    :returns: how many resources were archived
    """
    ids = [id for (id,) in model.Session.query(model.Resource.id)
           .filter_by(package_id=package_id, state="active").order_by(model.Resource.position)]  # fmt: skip
    for resource_id in ids:
        outbox.put_resource(resource_id, queue or outbox.PRIORITY, "command")
    return sum(archive_resource(resource_id, at_once=True) is not None for resource_id in ids)


# -- claiming ----------------------------------------------------------------------------------------------

_KNOWN = [column.name for column in Archival.__table__.columns]

_LINK = sa.text(f"""
    SELECT r.id AS resource_id, r.package_id, p.name AS package_name, coalesce(g.name, '') AS organization,
           coalesce(r.url, '') AS url, coalesce(r.url_type, '') AS url_type, coalesce(r.format, '') AS format,
           r.last_modified AS timestamp, {", ".join(f"a.{name} AS a_{name}" for name in _KNOWN)}
    FROM resource r JOIN package p ON p.id = r.package_id LEFT JOIN "group" g ON g.id = p.owner_org
    LEFT JOIN archival a ON a.resource_id = r.id
    WHERE r.id = :id AND r.state = 'active' AND p.state IN ('active', 'draft')
""")  # noqa: S608 - constants only


def _load(resource_id: str) -> Link | None:
    row = model.Session.connection().execute(_LINK, {"id": resource_id}).mappings().first()
    if row is None:
        return None
    archival = {name: row[f"a_{name}"] for name in _KNOWN} if row["a_id"] else None
    return Link(**{name: row[name] for name in row if not name.startswith("a_")}, archival=archival)


def _claim(resource_id: str, queue: str, worker_id: str, at_once: bool) -> Job | None:
    """Take the request and enter the gate of its host: one transaction."""
    claim = outbox.claim(resource_id, queue, worker_id, at_once=at_once)
    if claim is None:
        model.Session.rollback()
        return None
    job = None
    try:
        job = _enter(claim, at_once)
    finally:
        if job is None:
            leases.drop(claim.token)
    return job


def _enter(claim: outbox.Claim, at_once: bool) -> Job | None:
    if claim.deaths >= config.poison_deaths() and not at_once:
        _set_aside(claim)
        return None
    link = _load(claim.resource_id)
    if link is None:
        # Deleted since it was requested.
        _finish(claim)
        model.Session.commit()
        notices.deliver(claim.token)
        return None
    if at_once:
        gate = hosts.Gate()
    elif outbox.another_suspect_runs(claim):
        gate = hosts.Gate(wait=SUSPECT_SECONDS)
    else:
        gate = hosts.enter(claim.host, urgent=claim.queue == outbox.PRIORITY)
    if gate.wait:
        outbox.give_back(claim, gate.wait)
    model.Session.commit()
    return None if gate.wait else Job(claim, link, gate, at_once)


# -- looking -----------------------------------------------------------------------------------------------


def _look(job: Job) -> Outcome:
    """Look at the link. No transaction is open, and nothing is raised for what the remote side does."""
    link, archive_dir = job.link, config.archive_dir()
    if job.gate.down_since is not None:
        facts = {"host": job.claim.host, "since": job.gate.down_since.date().isoformat()}
        return Outcome(Cause.UNREACHABLE, "host-down", facts, url=link.url)
    check_only = (
        archive_dir is None
        or config.mode_for(
            dataset=link.package_name, organization=link.organization, host=job.claim.host, format=link.format
        )
        == "check"
    )
    spool = None
    if not check_only and archive_dir is not None:
        try:
            if store.free_bytes(archive_dir) < config.min_free_bytes():
                return Outcome(Cause.OWN_FAULT, "disk-full", url=link.url)
            spool = store.spool(archive_dir, job.claim.worker_id)
        except OSError as e:
            log.warning("The archive directory cannot be used: %s", e)
            return Outcome(Cause.OWN_FAULT, "disk-broken", url=link.url)
    if link.is_upload:
        return uploads.fetch(link.resource_id, link.url, spool, config.limits(), check_only=check_only)
    request = FetchRequest(
        url=link.url,
        format=link.format,
        check_only=check_only,
        hints=job.gate.hints,
        **({} if check_only else _validators(link)),
    )
    return http.fetch(request, limits=config.limits(), policy=config.policy(), spool=spool, stop=_stopping)


def _validators(link: Link) -> dict[str, str | None]:
    """What makes the request conditional: only while we still have the copy of this very URL."""
    known = link.known
    if not known.get("cache_filepath") or not _is_recorded(known):
        return {}
    return {"etag": known["etag"], "last_modified": known["last_modified"]}


def _is_recorded(row: Mapping[str, Any]) -> bool:
    """Whether the file on disk is the copy that the row tells of.

    It is not when a worker died, or lost the database, between putting a newer copy in place and writing the row:
    the file's time, which is set to the row's, differs then.
    """
    try:
        found = Path(row["cache_filepath"]).stat()
    except OSError:
        return False
    kept = clock.aware(row["cached_at"])
    return found.st_size == row["size"] and (kept is None or abs(found.st_mtime - kept.timestamp()) < 0.01)


# -- writing -----------------------------------------------------------------------------------------------


def _write(job: Job, outcome: Outcome) -> Result | None:
    """Write what happened, in one commit, if the request is still ours.

    :returns: None when nothing was judged
    """
    claim, link = job.claim, job.link
    held_now = outbox.still_ours(claim)
    if held_now is None:
        log.info(
            "Nothing is written about resource %s: its request is withdrawn or another's", link.resource_id
        )
        return None
    now, wanted = held_now
    if wanted != (link.url, link.url_type, link.timestamp):
        # Edited meanwhile: this run says nothing about the new URL.
        hosts.leave(claim.host, outcome)
        outbox.give_back(claim, 0, attempts=0)
        model.Session.commit()
        return None
    outcome = _keep(link, outcome, now)
    held = _own_fault(job, outcome)
    if job.gate.down_since is None:
        hosts.leave(claim.host, outcome, held=bool(held))
    if held:
        _hold(job, outcome, held)
        return None
    delays = config.retry_delays()
    if outcome.transient and claim.attempts < len(delays) and not job.at_once:
        history = _history(link)
        if not link.known or (
            claim.reason == outbox.CONFIRM and history.verdict not in (Verdict.FAILING, Verdict.BROKEN)
        ):
            # Somebody who just typed this URL, or asked, sees at once that it fails; the retries decide what it counts.
            _save(link, outcome, _provisional(history, now), now, remember=False)
        outbox.give_back(claim, delays[claim.attempts], attempts=claim.attempts + 1)
        model.Session.commit()
        return None
    return _conclude(job, outcome, now)


def _hold(job: Job, outcome: Outcome, held: str) -> None:
    """Put the request off; what failed may be ours."""
    if outcome.detail == "stopped":
        outbox.give_back(job.claim, 0)
    else:
        delay = config.hold_seconds()
        log.warning(
            "No verdict about resource %s: %s Trying again in %s s", job.link.resource_id, held, delay
        )
        outbox.give_back(
            job.claim, delay, held=outcome.detail if outcome.cause is Cause.OWN_FAULT else "outage"
        )
    model.Session.commit()


def _conclude(job: Job, outcome: Outcome, now: datetime) -> Result:
    claim, link = job.claim, job.link
    judgement = judge(outcome.cause, outcome.detail, _history(link), config.rules(), now)
    values = _save(link, outcome, judgement, now)
    _finish(claim, archived=True, cache_filepath=values["cache_filepath"])
    model.Session.commit()
    _tidy(link, values["cache_filepath"])
    log.info("%s: resource %s (%s)", judgement.verdict, link.resource_id, outcome.detail)
    return Result(outcome, values)


def _finish(claim: outbox.Claim, *, archived: bool = False, cache_filepath: str | None = None) -> None:
    """Take the request off the table, and write down whom to tell, in the caller's transaction."""
    tell = notices.wanted()
    who = {"token": claim.token, "worker_id": claim.worker_id, "package_id": claim.package_id}
    if tell and archived:
        notices.add(
            "archived", claim.queue, resource_id=claim.resource_id, cache_filepath=cache_filepath, **who
        )
    outbox.finish(claim)
    if not outbox.package_has_requests(claim.package_id):
        indexing.note_facet(claim.package_id)
        if tell:
            notices.add("package-archived", claim.queue, **who)


def _tidy(link: Link, cache_filepath: str | None) -> None:
    """Remove copies that no row names: older ones, and what a worker left that died before it wrote the row."""
    archive_dir = config.archive_dir()
    if archive_dir is None:
        return
    if cache_filepath:
        store.remove_others(archive_dir, link.resource_id, cache_filepath)
    elif store.resource_dir(archive_dir, link.resource_id).is_dir():
        store.remove(archive_dir, link.resource_id)


def _keep(link: Link, outcome: Outcome, now: datetime) -> Outcome:
    """Move the file to its place, before anything is written about it: a row never names a file that is not there.

    A disk that fails here is our own fault.
    """
    archive_dir = config.archive_dir()
    if outcome.temp_path is None or archive_dir is None:
        return outcome
    try:
        os.utime(outcome.temp_path, (now.timestamp(), now.timestamp()))
        path = store.keep(outcome.temp_path, archive_dir, link.resource_id, outcome.filename or "resource")
    except OSError as e:
        fault = store.disk_failure(e)
        return replace(outcome, cause=Cause.OWN_FAULT, detail=fault.detail, facts={})
    return replace(outcome, temp_path=path)


def _own_fault(job: Job, outcome: Outcome) -> str:
    """Why this failure may be ours, empty when it is the link's."""
    if outcome.cause is Cause.OWN_FAULT:
        return words.reason(outcome.detail, outcome.facts)
    if not hosts.is_network_failure(outcome) or job.at_once:
        return ""
    weather = hosts.weather()
    if not weather.stormy or (weather.some_worked and job.claim.holds >= HOLDS_IN_FAIR_WEATHER):
        return ""
    return f"{weather.failed} of {weather.seen} hosts fail at once."


def _history(link: Link) -> History:
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
    return Judgement(
        Verdict.FAILING, history.failure_count, history.first_failure or now, history.last_success
    )


# Made once: a statement that SQLAlchemy builds has to be compiled each time when it has an ON CONFLICT.
_UPSERT = f"""
    INSERT INTO archival ({", ".join(_KNOWN)})
    VALUES ({", ".join("CAST(:facts AS jsonb)" if name == "facts" else f":{name}" for name in _KNOWN)})
    ON CONFLICT (resource_id) DO UPDATE SET
        {", ".join(f"{name} = EXCLUDED.{name}" for name in _KNOWN if name not in ("id", "created", "resource_id"))}
"""  # noqa: S608 - constants only
_SAVE = sa.text(_UPSERT)
_SAVE_AND_REMEMBER = sa.text(f"""
    WITH remembered AS (
        INSERT INTO archival_check (resource_id, checked_at, verdict, cause, detail, http_status, size, seconds)
        VALUES (:resource_id, :checked_at, :verdict, :cause, :detail, :http_status, :seen_size, :seconds)
    )
    {_UPSERT}
""")  # noqa: S608 - constants only


def _save(
    link: Link, outcome: Outcome, judgement: Judgement, now: datetime, *, remember: bool = True
) -> dict[str, Any]:
    """Insert or update the archival, in the caller's transaction.

    :param remember: add the run to the link's history as well
    """
    values = _values(link, outcome, judgement, now)
    params = {
        **values,
        "facts": json.dumps(values["facts"]),
        "seen_size": outcome.size,
        "seconds": outcome.seconds,
    }
    model.Session.connection().execute(_SAVE_AND_REMEMBER if remember else _SAVE, params)
    return values


def _values(link: Link, outcome: Outcome, judgement: Judgement, now: datetime) -> dict[str, Any]:
    """The archival's columns after this run."""
    old, known = link.archival or {}, link.known
    moment = clock.naive(now)
    verdict = judgement.verdict
    assert verdict is not None  # noqa: S101 - a run that is held never comes here
    not_changed = outcome.not_modified or (bool(outcome.sha256) and outcome.sha256 == known.get("sha256"))
    status = status_text(outcome.cause, verdict, not_changed=not_changed)
    failing = verdict in (Verdict.FAILING, Verdict.BROKEN)
    first_failure = clock.naive(judgement.first_failure)
    broken_since = (known.get("broken_since") or moment) if verdict is Verdict.BROKEN else None
    values = {
        "id": old.get("id") or model.types.make_uuid(),
        "package_id": link.package_id,
        "resource_id": link.resource_id,
        "resource_timestamp": link.timestamp,
        "status_id": Status.by_text(status),
        "is_broken": verdict.is_broken,
        "reason": "" if status == "Archived successfully" else words.reason(outcome.detail, outcome.facts),
        "url_redirected_to": outcome.final_url if outcome.hops else None,
        "first_failure": first_failure,
        "last_success": clock.naive(judgement.last_success),
        "failure_count": judgement.failure_count,
        "created": old.get("created") or moment,
        "updated": moment,
        "source_url": link.url,
        "verdict": str(verdict),
        "cause": str(outcome.cause),
        "detail": outcome.detail,
        "facts": dict(outcome.facts),
        "not_sure_reason": str(outcome.cause) if verdict is Verdict.NOT_SURE else None,
        "http_status": outcome.http_status,
        "failing_since": first_failure if failing else None,
        "broken_since": broken_since,
        "checked_at": moment,
        "permanent_url": outcome.permanent_url,
        "certificate_expires": clock.naive(outcome.certificate.not_after) if outcome.certificate else None,
    }
    values.update(_copy_values(link, outcome, moment, not_changed=not_changed))
    values["next_check_at"] = clock.naive(
        schedule.next_check(
            config.recheck(), verdict, now,
            stable_since=clock.aware(values["changed_at"]), broken_since=clock.aware(broken_since),
            retry_after=outcome.retry_after,
        )
    )  # fmt: skip
    return values


COPY_COLUMNS = (
    "cache_filepath",
    "cache_url",
    "size",
    "mimetype",
    "hash",
    "sha256",
    "changed_at",
    "cached_at",
)


def _copy_values(link: Link, outcome: Outcome, now: datetime | None, *, not_changed: bool) -> dict[str, Any]:
    """The columns about the copy. A failure leaves the copy we have, which is what people want then."""
    old, known = link.archival or {}, link.known
    values = {name: old.get(name) for name in COPY_COLUMNS}
    # A validator is of use only for the URL it came from.
    values.update({name: known.get(name) for name in ("etag", "last_modified")})
    if outcome.cause is not Cause.OK:
        values.update(_true_copy(old, now))
        return values
    values.update(etag=outcome.etag or values["etag"] if outcome.not_modified else outcome.etag,
                  last_modified=outcome.last_modified or values["last_modified"] if outcome.not_modified
                  else outcome.last_modified)  # fmt: skip
    if outcome.temp_path is None:
        if outcome.mimetype and not outcome.not_modified:
            values["mimetype"] = outcome.mimetype
        return values
    path = outcome.temp_path
    values.update(
        cache_filepath=str(path),
        cache_url=cache_url(link.package_id, link.resource_id, path.name),
        size=outcome.size,
        mimetype=outcome.mimetype,
        hash=outcome.sha1,
        sha256=outcome.sha256,
        changed_at=known.get("changed_at") if not_changed else now,
        cached_at=now,
    )
    return values


def _true_copy(old: Mapping[str, Any], now: datetime | None) -> dict[str, Any]:
    """The columns of a copy that is not the one the row tells of (see ``_is_recorded``): as the file is."""
    path = old.get("cache_filepath")
    if not path or old.get("cached_at") is None or _is_recorded(old) or not Path(path).is_file():
        return {}
    with open(path, "rb") as file:
        sha256, sha1 = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
        for chunk in iter(lambda: file.read(1 << 20), b""):
            sha256.update(chunk)
            sha1.update(chunk)
        found = os.fstat(file.fileno())
    moment = clock.naive(datetime.fromtimestamp(found.st_mtime, timezone.utc))
    same = sha256.hexdigest() == old.get("sha256")
    return {"size": found.st_size, "hash": sha1.hexdigest(), "sha256": sha256.hexdigest(), "cached_at": moment,
            "changed_at": old.get("changed_at") if same else now, "etag": None, "last_modified": None}  # fmt: skip


def cache_url(package_id: str, resource_id: str, filename: str) -> str:
    """The public address of a copy: below ``cache_url_root``, else CKAN's own page for it."""
    root = config.cache_url_root()
    if root:
        return store.cache_url(root, resource_id, filename)
    return f"{config.site_url()}/dataset/{package_id}/resource/{resource_id}/cached"


def _set_aside(claim: outbox.Claim) -> None:
    """Write that a resource killed its workers, so that it is not tried for ever, and tell other extensions."""
    _write_set_aside(claim, claim.deaths)
    _finish(claim, archived=True)
    model.Session.commit()
    notices.deliver(claim.token)
    log.error(
        "Resource %s is set aside: %s workers died while they archived it", claim.resource_id, claim.deaths
    )


def _write_set_aside(claim: outbox.Claim, times: int) -> None:
    link, held_now = _load(claim.resource_id), outbox.still_ours(claim)
    if link is None or held_now is None:
        return
    now, _ = held_now
    outcome = Outcome(Cause.OWN_FAULT, "poison", {"times": times}, url=link.url)
    history = _history(link)
    judgement = replace(judge(outcome.cause, outcome.detail, history, config.rules(), now),
                        verdict=Verdict.NOT_SURE, held=False)  # fmt: skip
    _save(link, outcome, judgement, now)
