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
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import config
from ckanext.archiver.engine.outcome import Cause, Outcome

BREAKER_PAUSE = 15 * 60
"""Seconds for which a host is left alone the first time; doubles each time it fails again."""

BREAKER_LONGEST = 24 * 3600
PROBE_SECONDS = 20 * 60
"""How long other requests wait for the one that tries a host again."""

FRESH_SECONDS = 3600
"""How long a failed visit speaks for the host's other links."""

FRESH_SQL = f"(h.last_failed AND h.last_checked_at > now() - interval '{FRESH_SECONDS} seconds')"


@dataclass(frozen=True)
class Gate:
    """May we go to this host now?

    :ivar wait: seconds until we may; 0 for now
    :ivar down_since: the host does not answer, since then; no request is made
    """

    wait: float = 0
    down_since: datetime | None = None
    hints: Mapping[str, bool] = field(default_factory=dict)


_HOST = """
    SELECT extract(epoch FROM next_at - clock_timestamp()) AS wait, open_until > now() AS is_open,
           extract(epoch FROM open_until - clock_timestamp()) AS pause, open_until IS NOT NULL AS was_open,
           {fresh} AS fresh, failing_since, hints
    FROM archiver_host h WHERE host = :host
"""


def enter(host: str, *, urgent: bool = False) -> Gate:
    """Enter a host's gate, in the caller's transaction; it must have claimed its request before.

    :param urgent: somebody waits: go and see, if what we know of a host that was down is not fresh
    """
    if not host:
        return Gate()
    connection = model.Session.connection()
    interval, concurrency = config.host_interval(), config.host_concurrency()
    polite = bool(interval or concurrency)
    if polite:
        connection.execute(sa.text("INSERT INTO archiver_host (host) VALUES (:host) ON CONFLICT DO NOTHING"),
                           {"host": host})  # fmt: skip
    # The lock makes two claims for one host queue up, so that the second counts the first.
    statement = _HOST.format(fresh=FRESH_SQL) + (" FOR UPDATE" if polite else "")
    row = connection.execute(sa.text(statement), {"host": host}).mappings().first()
    if row is None:
        return Gate()
    if row["is_open"] and row["fresh"]:
        return Gate(down_since=row["failing_since"])
    if row["is_open"] and not urgent:
        return Gate(wait=max(float(row["pause"]), 1.0))
    if row["wait"] > 0:
        return Gate(wait=float(row["wait"]))
    if concurrency and _running(host) > concurrency:
        return Gate(wait=max(interval, 1.0))
    if interval or row["was_open"]:
        connection.execute(
            sa.text("""
                UPDATE archiver_host SET next_at = now() + :interval * interval '1 second',
                    open_until = CASE WHEN open_until IS NOT NULL THEN now() + :probe * interval '1 second' END
                WHERE host = :host
            """),
            {"host": host, "interval": interval, "probe": PROBE_SECONDS},
        )
    return Gate(hints=row["hints"])


def _running(host: str) -> int:
    statement = sa.text("""
        SELECT count(*) FROM archiver_request
        WHERE host = :host AND lease_token IS NOT NULL AND leased_until > now()
    """)
    return int(model.Session.connection().execute(statement, {"host": host}).scalar() or 0)


def is_network_failure(outcome: Outcome) -> bool:
    """Whether the host itself did not answer."""
    return outcome.cause is Cause.UNREACHABLE


_LEAVE = """
    INSERT INTO archiver_host AS h (host, next_at, network_failures, failing_since, hints, last_checked_at,
                                    last_failed)
    VALUES (:host, now() + :pause * interval '1 second', CASE WHEN :failed AND NOT :held THEN 1 ELSE 0 END,
            CASE WHEN :failed AND NOT :held THEN now() END, CAST(:hints AS jsonb), now(), :failed)
    ON CONFLICT (host) DO UPDATE SET
        next_at = greatest(h.next_at, EXCLUDED.next_at),
        bulk_at = CASE WHEN h.bulk_at IS NOT NULL THEN greatest(h.next_at, EXCLUDED.next_at) END,
        hints = h.hints || EXCLUDED.hints,
        last_checked_at = now(),
        last_failed = :failed,
        network_failures = CASE WHEN :held THEN h.network_failures WHEN :failed THEN h.network_failures + 1 ELSE 0 END,
        failing_since = CASE WHEN :held THEN h.failing_since WHEN :failed THEN coalesce(h.failing_since, now()) END,
        opened = CASE WHEN :held THEN h.opened WHEN NOT :failed THEN 0
                      WHEN {opens} THEN least(h.opened + 1, 12) ELSE h.opened END,
        opened_at = CASE WHEN :failed AND NOT :held AND {opens} THEN now() ELSE h.opened_at END,
        open_until = CASE WHEN :held OR NOT :failed THEN NULL
                          WHEN {opens}
                          THEN now() + least(:pause_first * power(2, h.opened), :pause_longest) * interval '1 second'
                          ELSE h.open_until END
"""
# Visits that were under way when the breaker opened do not open it again.
_OPENS = """
    (h.network_failures + 1 >= :threshold
     AND (h.opened_at IS NULL OR h.open_until IS NULL OR h.opened_at < now() - :seconds * interval '1 second'))
"""
# Without politeness most results change nothing that matters here: then the row is left alone for a minute.
_ONLY_NEWS = """
    WHERE :polite OR :failed OR h.last_failed OR h.open_until IS NOT NULL OR h.network_failures > 0
        OR NOT h.hints @> EXCLUDED.hints OR coalesce(h.last_checked_at < now() - interval '1 minute', true)
"""


_LEAVE_HOST = sa.text(_LEAVE.format(opens=_OPENS) + _ONLY_NEWS)


def leave(host: str, outcome: Outcome, *, held: bool = False) -> None:
    """Write down what a visit told about the host, in the caller's transaction.

    :param held: the failure may be our own: it does not count against the host
    """
    if not host:
        return
    if not outcome.requests and not is_network_failure(outcome):
        # It was not visited (refused, or a name that does not exist): the next in line need not wait.
        model.Session.connection().execute(
            sa.text("UPDATE archiver_host SET bulk_at = now() WHERE host = :host AND bulk_at > now()"),
            {"host": host},
        )
        return
    interval, concurrency = config.host_interval(), config.host_concurrency()
    params = {
        "host": host,
        "pause": max(interval, float(outcome.retry_after or 0)),
        "failed": is_network_failure(outcome),
        "held": held,
        "hints": json.dumps(dict(outcome.hints)),
        "threshold": config.breaker_failures(),
        "pause_first": BREAKER_PAUSE,
        "pause_longest": BREAKER_LONGEST,
        "seconds": outcome.seconds,
        "polite": bool(interval or concurrency or outcome.retry_after),
    }
    model.Session.connection().execute(_LEAVE_HOST, params)


@dataclass(frozen=True)
class Weather:
    """How the hosts visited lately answered, leaving out those that were known to be down before."""

    seen: int
    failed: int

    @property
    def stormy(self) -> bool:
        """So many hosts fail at once that the fault must be ours (or our network's)."""
        hosts, percent, _ = config.outage()
        return self.seen >= hosts and self.failed * 100 > percent * self.seen

    @property
    def some_worked(self) -> bool:
        """Whether any host answered."""
        return self.seen > self.failed


def weather() -> Weather:
    """Look at the hosts that were visited within ``outage_minutes``."""
    row = model.Session.connection().execute(
        sa.text("""
            SELECT count(*) AS seen, count(*) FILTER (WHERE last_failed) AS failed FROM archiver_host
            WHERE last_checked_at > now() - :minutes * interval '1 minute'
              AND (failing_since IS NULL OR failing_since > now() - :minutes * interval '1 minute')
        """),
        {"minutes": config.outage()[2]},
    )
    seen, failed = row.one()
    return Weather(seen, failed)
