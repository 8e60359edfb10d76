"""Politeness and patience: one host sees one request at a time, an interval apart, and none while it is down.

A worker enters a host's gate in the transaction in which it claims a request, and leaves it in the one in which
it writes the result, so the rule holds over all workers of all machines.

The breaker: after ``breaker_failures`` network failures in a row a host is left alone, for 15 minutes at first, then
one visit tries it again; each time that fails the pause doubles, up to a day. Meanwhile its links are told to be on
a host that does not answer, without a visit each. That counts as a failed run of theirs, as a visit would, so the
evidence must be fresh: only within an hour of a real visit that failed. Later than that, what the round wants waits
for the next try, and an edit is that try.
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
"""Seconds for which a host is left alone the first time; doubles each time it fails again."""

BREAKER_LONGEST = 24 * 3600
PROBE_SECONDS = 20 * 60
"""How long other requests wait for the one that tries a host again."""

FRESH_SECONDS = 3600
"""How long a failed visit speaks for the host's other links."""

URGENT_SECONDS = 60
"""The same where somebody waits: who has just started his server again is not told that it is down."""

FRESH_SQL = f"(h.last_failed AND h.last_checked_at > now() - interval '{FRESH_SECONDS} seconds')"


@dataclass(frozen=True)
class Admission:
    """May we go to this host now?

    :ivar wait: seconds until we may; 0 for now
    :ivar down_since: the host does not answer, since then; no request is made
    :ivar probes: this visit tries a host that was down
    """

    wait: float = 0
    down_since: datetime | None = None
    probes: bool = False
    hints: Mapping[str, bool] = field(default_factory=dict)


_ADD = sa.text("""
    INSERT INTO archiver_host (host) SELECT host FROM unnest(CAST(:hosts AS text[])) AS new (host)
    WHERE NOT EXISTS (SELECT 1 FROM archiver_host h WHERE h.host = new.host) ORDER BY host ON CONFLICT DO NOTHING
""")
_HOST_ROWS = f"""
    SELECT host, extract(epoch FROM next_at - clock_timestamp()) AS wait, open_until > now() AS is_open,
           extract(epoch FROM open_until - clock_timestamp()) AS pause, open_until IS NOT NULL AS was_open,
           {FRESH_SQL} AS fresh, h.last_failed AND h.last_checked_at > now() - interval '{URGENT_SECONDS} seconds'
           AS just_failed, failed_port, failing_since, hints
    FROM archiver_host h WHERE host = ANY(:hosts) ORDER BY host
"""  # noqa: S608 - constants only
_HOSTS, _LOCK_HOSTS = sa.text(_HOST_ROWS), sa.text(_HOST_ROWS + " FOR UPDATE")
_RUNNING = sa.text("""
    SELECT host, count(*) AS running FROM archiver_request
    WHERE host = ANY(:hosts) AND lease_token IS NOT NULL AND leased_until > now() AND lease_token <> ALL(:mine)
    GROUP BY host
""")
_VISITED = sa.text("""
    UPDATE archiver_host SET next_at = clock_timestamp() + :interval * interval '1 second',
        open_until = CASE WHEN open_until <= now() THEN now() + :probe * interval '1 second' ELSE open_until END
    WHERE host = ANY(:hosts)
""")


@dataclass(frozen=True)
class Candidate:
    """Somebody who has claimed a request and wants to visit its host.

    :ivar urgent: somebody waits: go and see, if what we know of a host that was down is not quite fresh
    """

    host: str
    url: str = ""
    urgent: bool = False


def lock(leaving: Sequence[str], entering: Sequence[str]) -> None:
    """Lock the hosts of a transaction that both leaves and enters some, all at once and in their order."""
    if leaving and entering and (config.host_interval() or config.host_concurrency()):
        hosts = sorted({host for host in (*leaving, *entering) if host})
        connection = model.Session.connection()
        connection.execute(_ADD, {"hosts": hosts})
        connection.execute(_LOCK_HOSTS, {"hosts": hosts})


def enter(candidates: Sequence[Candidate], mine: Sequence[str] = ()) -> list[Admission]:
    """Enter the admissions of hosts, in the caller's transaction; it must have claimed the requests before.

    :param mine: the tokens of all leases of this transaction. They are not counted as visits that go on: what was
        just claimed has not begun, and what it writes about has ended
    """
    hosts = sorted({candidate.host for candidate in candidates if candidate.host})
    if not hosts:
        return [Admission() for _ in candidates]
    connection = model.Session.connection()
    interval, concurrency = config.host_interval(), config.host_concurrency()
    polite = bool(interval or concurrency)
    if polite:
        connection.execute(_ADD, {"hosts": hosts})
    # The lock makes claims for one host queue up, so that the second counts the first.
    rows = connection.execute(_LOCK_HOSTS if polite else _HOSTS, {"hosts": hosts}).mappings()
    known = {row["host"]: _Host(dict(row)) for row in rows}
    if concurrency:
        for row in connection.execute(_RUNNING, {"hosts": hosts, "mine": list(mine)}):
            known[row.host].running = row.running
    admissions = [
        known[candidate.host].admit(candidate, interval, concurrency) if candidate.host in known else Admission()
        for candidate in candidates
    ]
    visited = [name for name, host in known.items() if host.admitted and (interval or host.row["was_open"])]
    if visited:
        connection.execute(_VISITED, {"hosts": visited, "interval": interval, "probe": PROBE_SECONDS})
    return admissions


class _Host:
    """A host, while its candidates of one transaction are let in one after the other."""

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
        if row["wait"] > 0:
            return Admission(wait=float(row["wait"]))
        if concurrency and self.running >= concurrency:
            return Admission(wait=max(interval, 1.0))
        self.running += 1
        self.admitted = True
        probes = row["was_open"] and not row["is_open"]
        # As the row is for who comes next.
        row["wait"] = interval
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
    """Whether it would look so if our own network, name server, clock or list of authorities were at fault."""
    return not outcome.hops and (outcome.cause in (Cause.UNREACHABLE, Cause.TLS) or outcome.detail == "dns-not-found")


@dataclass(frozen=True)
class HostObservation:
    """What a visit told about its host.

    :ivar held: the failure may be our own: it does not count against the host
    :ivar probes: it tried a host that was down
    """

    host: str
    outcome: Outcome
    held: bool = False
    probes: bool = False


# Without politeness most results change nothing that matters here: then the row is left alone for a minute. A breaker
# that is open is opened again, for longer, by the visit that tried the host, not by those that were under way.
_LEAVE = sa.text("""
    WITH visit AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST(:visits AS json))
            AS v (host text, pause float8, failed bool, ours bool, held bool, probes bool, port int, hints jsonb)
    ), news AS MATERIALIZED (
        SELECT v.*, h.network_failures + 1 >= :threshold AND (h.open_until IS NULL OR v.probes) AS opens
        FROM archiver_host h JOIN visit v ON v.host = h.host
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
    SELECT host FROM visit WHERE NOT EXISTS (SELECT 1 FROM archiver_host h WHERE h.host = visit.host)
""")
# A hint only, so it waits for nobody.
_NOT_VISITED = sa.text("""
    UPDATE archiver_host SET bulk_at = now() WHERE host IN (
        SELECT host FROM archiver_host WHERE host = ANY(:hosts) AND bulk_at > now() FOR UPDATE SKIP LOCKED)
""")


def leave(visits: Sequence[HostObservation]) -> None:
    """Write down what visits told about their hosts, in the caller's transaction."""
    visited: list[HostObservation] = []
    not_visited: list[HostObservation] = []
    for visit in visits:
        if visit.host:
            was_there = visit.outcome.requests or may_be_ours(visit.outcome)
            (visited if was_there else not_visited).append(visit)
    connection = model.Session.connection()
    for told in _in_turn([_told(visit) for visit in visited]):
        new = set(_write(told))
        if new:
            connection.execute(_ADD, {"hosts": sorted(new)})
            _write([one for one in told if one["host"] in new])
    if not_visited:
        # Refused, or a name that does not exist: the next in line need not wait.
        connection.execute(_NOT_VISITED, {"hosts": [visit.host for visit in not_visited]})


def _write(told: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the hosts that have no row yet."""
    params = {
        "visits": json.dumps(told),
        "polite": bool(config.host_interval() or config.host_concurrency()),
        "threshold": config.breaker_failures(),
        "pause_first": BREAKER_PAUSE,
        "pause_longest": BREAKER_LONGEST,
    }
    return list(model.Session.connection().execute(_LEAVE, params).scalars())


def _told(visit: HostObservation) -> dict[str, Any]:
    outcome, failed = visit.outcome, is_network_failure(visit.outcome)
    # A name that does not exist was not visited: the next in line need not wait.
    pause = config.host_interval() if outcome.requests or failed else 0
    return {
        "host": visit.host,
        "pause": max(pause, float(outcome.retry_after or 0)),
        "failed": failed,
        "ours": may_be_ours(outcome),
        "held": visit.held,
        "probes": visit.probes,
        "port": _port(outcome.url) if failed else None,
        "hints": dict(outcome.hints),
    }


def _in_turn(told: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Each host once in a statement: what a host was told about next goes into the next one. Good news is told once."""
    turns: list[list[dict[str, Any]]] = []
    count: Counter[str] = Counter()
    last: dict[str, dict[str, Any]] = {}
    for one in told:
        host, before = one["host"], last.get(one["host"])
        last[host] = one
        if before == one and not one["failed"]:
            continue
        if count[host] == len(turns):
            turns.append([])
        turns[count[host]].append(one)
        count[host] += 1
    return turns


@dataclass(frozen=True)
class OutageCheck:
    """How the hosts visited lately answered, leaving out those that were known to be down before."""

    seen: int
    failed: int

    @property
    def is_outage(self) -> bool:
        """So many hosts fail at once that the fault must be ours (or our network's)."""
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


def check_outage(visits: Sequence[HostObservation] = ()) -> OutageCheck:
    """Look at the hosts that were visited within ``outage_minutes``.

    :param visits: what was just seen, and is not written down yet
    """
    failed = {visit.host: may_be_ours(visit.outcome) for visit in visits if visit.host}
    params = {"hosts": list(failed), "failed": list(failed.values()), "minutes": config.outage()[2]}
    seen, bad = model.Session.connection().execute(_OUTAGE, params).one()
    return OutageCheck(seen, bad)
