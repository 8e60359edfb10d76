"""Politeness and the breaker: a host gets few requests at a time, an interval apart, and hardly any while it is down.

How many at a time is ``host_concurrency``: one, by default. Claims made at once, by direct calls of the tasks, do not
enter their host and wait for nothing here.

A worker enters a host in the transaction in which it claims a request, and leaves it in the one in which it writes the
result, so the rule holds over all workers of all machines.

The breaker: after ``breaker_failures`` network failures in a row no request of ``bulk`` goes to a host for 15 minutes,
then one request probes it; each failed probe doubles the pause, up to a day. During the pause, checks of its other
links fail with "the host does not answer" and send no request. Such a run counts as a failed run, as a request would,
so the evidence must be fresh: at most an hour old. After that, requests of ``bulk`` wait for the next probe.

A request of ``priority`` is sent during the pause too, once the evidence is a minute old. It is no probe: its success
closes the breaker, but its failure does not lengthen the pause.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import config
from ckanext.archiver.engine import urls
from ckanext.archiver.engine.outcome import Cause, Outcome

BREAKER_PAUSE = 15 * 60
"""Seconds of the breaker's first pause; doubles with each failed probe."""

BREAKER_LONGEST = 24 * 3600
PROBE_SECONDS = 20 * 60
"""Seconds that other requests wait for a probe."""

FRESH_SECONDS = 3600
"""Seconds for which a failed request counts for the host's other links."""

URGENT_SECONDS = 60
"""The same where a person waits: a publisher who has just restarted a server must not read that it is down."""

URGENT_WAIT_SECONDS = 600
"""Seconds between two requests of edits to a host that asked us to wait longer (Retry-After)."""

FRESH_SQL = f"(h.last_failed AND h.last_checked_at > now() - interval '{FRESH_SECONDS} seconds')"


@dataclass(frozen=True)
class Admission:
    """Whether a request may go to a host now.

    :ivar wait: seconds until it may; 0 for now
    :ivar down_since: the host has not answered since then; no request is made
    :ivar probes: this request probes a host that was down
    :ivar looks_up: the host's address is not known: see :mod:`~ckanext.archiver.queue.address_gate`
    """

    wait: float = 0
    down_since: datetime | None = None
    probes: bool = False
    looks_up: bool = False
    hints: Mapping[str, bool] = field(default_factory=dict)


_ADD = sa.text("""
    INSERT INTO archiver_host (host) SELECT host FROM unnest(CAST(:hosts AS text[])) AS new (host)
    WHERE NOT EXISTS (SELECT 1 FROM archiver_host h WHERE h.host = new.host) ORDER BY host ON CONFLICT DO NOTHING
""")
_HOST_ROWS = f"""
    SELECT host, extract(epoch FROM next_at - clock_timestamp()) AS wait, open_until > now() AS is_open,
           extract(epoch FROM open_until - clock_timestamp()) AS pause, open_until IS NOT NULL AS was_open,
           {FRESH_SQL} AS fresh, h.last_failed AND h.last_checked_at > now() - interval '{URGENT_SECONDS} seconds'
           AS just_failed, failed_port, failing_since, hints,
           extract(epoch FROM wait_until - clock_timestamp()) AS asked_wait,
           extract(epoch FROM clock_timestamp() - last_checked_at) AS idle
    FROM archiver_host h WHERE host = ANY(:hosts) ORDER BY host
"""  # noqa: S608 - constants only
_HOSTS, _LOCK_HOSTS = sa.text(_HOST_ROWS), sa.text(_HOST_ROWS + " FOR UPDATE")
_RUNNING = sa.text("""
    SELECT host, count(*) AS running FROM archiver_request
    WHERE host = ANY(:hosts) AND lease_token IS NOT NULL AND leased_until > now() AND lease_token <> ALL(:mine)
    GROUP BY host
""")
_ENTERED = sa.text("""
    UPDATE archiver_host SET next_at = greatest(next_at, clock_timestamp() + :interval * interval '1 second'),
        open_until = CASE WHEN open_until <= now() THEN now() + :probe * interval '1 second' ELSE open_until END
    WHERE host = ANY(:hosts)
""")


@dataclass(frozen=True)
class Candidate:
    """A claimed request that is to enter its host.

    :ivar urgent: a person waits: ask a host that is down all the same, unless the evidence is less than a minute old
    """

    host: str
    url: str = ""
    urgent: bool = False


def per_host() -> int | None:
    """How many requests to one host may be in flight, None for no limit."""
    if not (config.host_concurrency() or config.host_interval()):
        return None
    return config.host_concurrency() or 1


def lock(leaving: Sequence[str], entering: Sequence[str]) -> None:
    """Lock the hosts of a transaction that both leaves and enters hosts, all at once and in one order."""
    if leaving and entering and (config.host_interval() or config.host_concurrency()):
        hosts = sorted({host for host in (*leaving, *entering) if host})
        connection = model.Session.connection()
        connection.execute(_ADD, {"hosts": hosts})
        connection.execute(_LOCK_HOSTS, {"hosts": hosts})


def enter(candidates: Sequence[Candidate], mine: Sequence[str] = ()) -> list[Admission]:
    """Enter hosts, in the caller's transaction, which must have claimed the requests before.

    :param mine: the tokens of all leases of this transaction. They do not count as requests in flight: what was just
        claimed has not begun, and what the transaction writes about has ended
    """
    hosts = sorted({candidate.host for candidate in candidates if candidate.host})
    if not hosts:
        return [Admission() for _ in candidates]
    connection = model.Session.connection()
    interval, concurrency = config.host_interval(), config.host_concurrency()
    polite = bool(interval or concurrency)
    if polite:
        connection.execute(_ADD, {"hosts": hosts})
    # The lock makes claims for one host wait for each other, so that the second counts the first.
    rows = connection.execute(_LOCK_HOSTS if polite else _HOSTS, {"hosts": hosts}).mappings()
    known = {row["host"]: _Host(dict(row)) for row in rows}
    if concurrency:
        for row in connection.execute(_RUNNING, {"hosts": hosts, "mine": list(mine)}):
            known[row.host].running = row.running
    admissions = [
        known[candidate.host].admit(candidate, interval, concurrency) if candidate.host in known else Admission()
        for candidate in candidates
    ]
    entered = [name for name, host in known.items() if host.admitted and (interval or host.row["was_open"])]
    if entered:
        connection.execute(_ENTERED, {"hosts": entered, "interval": interval, "probe": PROBE_SECONDS})
    return admissions


class _Host:
    """A host, while the candidates of one transaction are admitted one after the other."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self.running = 0
        self.admitted = False

    def admit(self, candidate: Candidate, interval: float, concurrency: int) -> Admission:
        row = self.row
        if row["is_open"] and row["failed_port"] in (None, _port(candidate.url)):
            if row["just_failed"] if candidate.urgent else row["fresh"]:
                return Admission(down_since=row["failing_since"])
            if not candidate.urgent:
                return Admission(wait=max(float(row["pause"]), 1.0))
        wait = float(row["wait"])
        if candidate.urgent and (row["asked_wait"] or 0) > 0:
            # Retry-After may be an hour or a day, and people wait: their edits still get one request in ten minutes.
            wait = min(wait, max(URGENT_WAIT_SECONDS - float(row["idle"] or 0), 0))
        if wait > 0:
            return Admission(wait=wait)
        if concurrency and self.running >= concurrency:
            return Admission(wait=max(interval, 1.0))
        self.running += 1
        self.admitted = True
        probes = row["was_open"] and not row["is_open"]
        # As the row is for the next candidate.
        row.update(wait=max(wait, interval, row["wait"]), idle=0)
        if probes:
            row.update(is_open=True, pause=PROBE_SECONDS)
        return Admission(probes=probes, hints=row["hints"])


def _port(url: str) -> int | None:
    target = urls.normalise(url)
    return target.port if isinstance(target, urls.Target) else None


def is_network_failure(outcome: Outcome) -> bool:
    """Whether the host itself did not answer. One that redirects elsewhere did."""
    return outcome.cause is Cause.UNREACHABLE and not outcome.hops


def may_be_ours(outcome: Outcome) -> bool:
    """Whether a fault of our own network, name server, clock or list of authorities would have this outcome too."""
    return not outcome.hops and (outcome.cause in (Cause.UNREACHABLE, Cause.TLS) or outcome.detail == "dns-not-found")


@dataclass(frozen=True)
class HostObservation:
    """What a run shows of its host.

    :ivar held: the failure may be our own: it does not count against the host
    :ivar probes: it was a probe of a host that was down
    """

    host: str
    outcome: Outcome
    held: bool = False
    probes: bool = False


# Without politeness most observations change nothing that matters here: then the row is not written for a minute. An
# open breaker is opened again, for longer, by the probe, not by requests that were in flight when it opened.
_LEAVE = sa.text("""
    WITH observed AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST(:observations AS json))
            AS v (host text, pause float8, failed bool, ours bool, held bool, probes bool, port int, hints jsonb,
                retry_after float8)
    ), news AS MATERIALIZED (
        SELECT v.*, h.network_failures + 1 >= :threshold AND (h.open_until IS NULL OR v.probes) AS opens
        FROM archiver_host h JOIN observed v ON v.host = h.host
        WHERE :polite OR v.pause > 0 OR v.ours OR h.last_failed OR h.open_until IS NOT NULL OR h.network_failures > 0
            OR NOT h.hints @> v.hints OR coalesce(h.last_checked_at < now() - interval '1 minute', true)
        ORDER BY h.host FOR UPDATE OF h
    )
    , written AS (UPDATE archiver_host h SET
        next_at = greatest(h.next_at, now() + v.pause * interval '1 second'),
        bulk_at = CASE WHEN h.bulk_at IS NOT NULL
                  THEN greatest(h.next_at, now() + v.pause * interval '1 second') END,
        hints = h.hints || v.hints,
        last_checked_at = now(),
        wait_until = greatest(h.wait_until, CASE WHEN v.retry_after > 0
                              THEN now() + v.retry_after * interval '1 second' END),
        last_failed = v.ours,
        failed_port = CASE WHEN v.failed THEN v.port ELSE h.failed_port END,
        network_failures = CASE WHEN v.held THEN h.network_failures WHEN v.failed THEN h.network_failures + 1
                                ELSE 0 END,
        failing_since = CASE WHEN v.held THEN h.failing_since WHEN v.ours THEN coalesce(h.failing_since, now()) END,
        opened = CASE WHEN v.held THEN h.opened WHEN NOT v.failed THEN 0
                      WHEN v.opens THEN least(h.opened + 1, 12) ELSE h.opened END,
        open_until = CASE WHEN v.held OR NOT v.failed THEN NULL
                          WHEN v.opens
                          THEN now() + least(:pause_first * power(2, h.opened), :pause_longest) * interval '1 second'
                          ELSE h.open_until END
    FROM news v WHERE h.host = v.host)
    SELECT host FROM observed o WHERE NOT EXISTS (SELECT 1 FROM archiver_host h WHERE h.host = o.host)
""")
# A hint to the dispatcher only, so it waits for no lock.
_LOOK_NOW = sa.text("""
    UPDATE archiver_host SET bulk_at = now() WHERE host IN (
        SELECT host FROM archiver_host WHERE host = ANY(:hosts) AND bulk_at > now() FOR UPDATE SKIP LOCKED)
""")


def leave(observations: Sequence[HostObservation]) -> None:
    """Leave hosts and write what was observed of them, in the caller's transaction."""
    asked: list[HostObservation] = []
    not_asked: list[HostObservation] = []
    for observation in observations:
        if observation.host:
            was_asked = observation.outcome.requests or may_be_ours(observation.outcome)
            (asked if was_asked else not_asked).append(observation)
    connection = model.Session.connection()
    for rows in _batches([_row(observation) for observation in asked]):
        new = set(_write(rows))
        if new:
            connection.execute(_ADD, {"hosts": sorted(new)})
            _write([row for row in rows if row["host"] in new])
    if not_asked:
        # Refused, or a name that does not exist: the host's next request need not wait.
        connection.execute(_LOOK_NOW, {"hosts": [observation.host for observation in not_asked]})


def _write(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the hosts that have no row yet."""
    params = {
        "observations": json.dumps(rows),
        "polite": bool(config.host_interval() or config.host_concurrency()),
        "threshold": config.breaker_failures(),
        "pause_first": BREAKER_PAUSE,
        "pause_longest": BREAKER_LONGEST,
    }
    return list(model.Session.connection().execute(_LEAVE, params).scalars())


def _row(observation: HostObservation) -> dict[str, Any]:
    outcome, failed = observation.outcome, is_network_failure(observation.outcome)
    # No request goes to a name that does not exist: the host's next request need not wait.
    pause = config.host_interval() if outcome.requests or failed else 0
    return {
        "host": observation.host,
        "pause": max(pause, float(outcome.retry_after or 0)),
        "failed": failed,
        "ours": may_be_ours(outcome),
        "held": observation.held,
        "probes": observation.probes,
        "port": _port(outcome.url) if failed else None,
        "hints": dict(outcome.hints),
        "retry_after": float(outcome.retry_after or 0),
    }


def _batches(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Each host once in a batch: a host's second row goes into the second batch. Equal successes count once."""
    batches: list[list[dict[str, Any]]] = []
    count: Counter[str] = Counter()
    last: dict[str, dict[str, Any]] = {}
    for row in rows:
        host, before = row["host"], last.get(row["host"])
        last[host] = row
        if before == row and not row["failed"]:
            continue
        if count[host] == len(batches):
            batches.append([])
        batches[count[host]].append(row)
        count[host] += 1
    return batches


@dataclass(frozen=True)
class OutageCheck:
    """How many of the hosts asked within ``outage_minutes`` failed, without those known to be down before."""

    seen: int
    failed: int

    @property
    def is_outage(self) -> bool:
        """Whether so many hosts fail at once that the fault must be our own, or our network's."""
        hosts, percent, _ = config.outage()
        return self.seen >= hosts and self.failed * 100 > percent * self.seen

    @property
    def some_worked(self) -> bool:
        """Whether any host answered."""
        return self.seen > self.failed


_OUTAGE = sa.text("""
    SELECT count(*) AS seen, count(*) FILTER (WHERE coalesce(v.failed, h.last_failed)) AS failed
    FROM archiver_host h
    FULL JOIN unnest(CAST(:hosts AS text[]), CAST(:failed AS bool[])) AS v (host, failed) ON v.host = h.host
    WHERE (v.host IS NOT NULL OR h.last_checked_at > now() - :minutes * interval '1 minute')
      AND (h.failing_since IS NULL OR h.failing_since > now() - :minutes * interval '1 minute')
""")


def check_outage(observations: Sequence[HostObservation] = ()) -> OutageCheck:
    """Count the hosts asked within ``outage_minutes``, and those that failed.

    :param observations: what was just observed and is not written yet
    """
    failed = {observation.host: may_be_ours(observation.outcome) for observation in observations if observation.host}
    params = {"hosts": list(failed), "failed": list(failed.values()), "minutes": config.outage()[2]}
    seen, bad = model.Session.connection().execute(_OUTAGE, params).one()
    return OutageCheck(seen, bad)
