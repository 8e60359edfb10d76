"""Claiming requests, finishing them and deferring them.

A worker claims a request by a lease and presents its token with everything it writes back: a worker whose lease ran
out writes nothing. All times are the database's, so that a wrong clock on a worker does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import config, links
from ckanext.archiver.queue import leases, sql
from ckanext.archiver.queue.group_commit import CONTENDED, Contended
from ckanext.archiver.queue.types import Queue

# -- claiming, finishing, deferring ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A request that this worker holds until its lease runs out.

    :ivar waited: seconds since the request was due
    :ivar at_once: a caller waits for the result: neither the host's interval nor a retry delays it
    """

    resource_id: str
    package_id: str
    queue: str
    host: str
    reason: str
    attempts: int
    holds: int
    deaths: int
    token: str
    worker_id: str
    waited: float = 0.0
    at_once: bool = False


@dataclass(frozen=True)
class Message:
    """A message of the broker: a resource to claim.

    :ivar queue: the queue that delivered it; a message of a queue that the request has left does nothing. Empty for any
    """

    resource_id: str
    queue: str = ""


_CLAIMABLE = f"""
    unnest(CAST(:ids AS text[]), CAST(:queues AS text[]), CAST(:tokens AS text[])) AS m (resource_id, queue, token)
    JOIN archiver_request q ON q.resource_id = m.resource_id
    WHERE (m.queue = '' OR q.queue = m.queue)
        AND (q.lease_token IS NULL OR q.leased_until < now())
        AND (:at_once OR q.not_before <= now())
        AND NOT {sql.is_paused("q.queue", "q.host")}
"""  # noqa: S608 - constants only
_CLAIM = f"""
    WITH claimable AS MATERIALIZED (
        SELECT q.resource_id, m.token FROM {_CLAIMABLE} ORDER BY q.resource_id FOR UPDATE OF q %s
    )
    UPDATE archiver_request q SET
        lease_token = c.token, leased_by = :worker, leased_until = clock_timestamp() + :lease * interval '1 second',
        sent_until = NULL, again = false
    FROM claimable c WHERE q.resource_id = c.resource_id
    RETURNING q.lease_token AS token, q.resource_id, q.package_id, q.queue, q.host, q.reason, q.attempts, q.holds,
        q.deaths,
        CAST(extract(epoch FROM clock_timestamp() - greatest(q.requested_at, q.not_before)) AS float8) AS waited
"""  # noqa: S608 - constants only
_CLAIM_WAITING, _CLAIM_FREE = sa.text(_CLAIM % ""), sa.text(_CLAIM % "SKIP LOCKED")
_LOCKED_NOW = sa.text(f"SELECT m.token FROM {_CLAIMABLE}")  # noqa: S608 - constants only


def claim(
    messages: Sequence[Message], worker_id: str, *, at_once: bool = False, wait: bool = True
) -> list[Claim | None | Contended]:
    """Claim requests, in the caller's transaction. The same message delivered twice claims nothing the second time.

    :param at_once: also a request that is not due yet
    :param wait: wait for other transactions (an edit) that have a request locked; else the result is ``CONTENDED``
    :returns: for each message its claim, or None where there is nothing to do: no request, not due, paused, or another
        worker holds it. The caller discards the token of each claim (``leases.discard``) when it is done
    """
    tokens = [leases.issue() for _ in messages]
    claims: dict[str, Claim | None | Contended] = {}
    try:
        params = {
            "ids": [message.resource_id for message in messages],
            "tokens": tokens,
            "at_once": at_once,
            "queues": [message.queue for message in messages],
        }
        connection = model.Session.connection()
        taken = connection.execute(
            _CLAIM_WAITING if wait else _CLAIM_FREE,
            {**params, "worker": worker_id, "lease": config.lease_seconds()},
        )
        claims.update({row["token"]: Claim(worker_id=worker_id, at_once=at_once, **row) for row in taken.mappings()})
        if not wait and len(claims) < len(messages):
            # What could be claimed and was not is locked; what was claimed just now is no longer claimable.
            locked = connection.execute(_LOCKED_NOW, params).scalars().all()
            claims.update(dict.fromkeys(locked, CONTENDED))
    except BaseException:
        # The claims are undone with the caller's transaction.
        claims.clear()
        raise
    finally:
        for token in tokens:
            if not isinstance(claims.get(token), Claim):
                leases.discard(token)
    return [claims.get(token) for token in tokens]


_MY_LEASES = "unnest(CAST(:ids AS text[]), CAST(:tokens AS text[])) AS mine (resource_id, token)"
# Not "=", which would let PostgreSQL read archiver_request_lease_idx from end to end instead of the requests' keys. To
# its planner that index is empty: statistics count the live entries, and leases are short. While another session holds
# a transaction open it has an entry for every lease since.
_IS_MINE = "q.resource_id = mine.resource_id AND q.lease_token IS NOT DISTINCT FROM mine.token"
_MINE = f"{_MY_LEASES} WHERE {_IS_MINE}"
# Because of the locks, one of two workers that finish a dataset's last two resources sees that it was the last. They
# are a statement of their own, so that the next one sees what the other worker has committed, and are taken in one
# order, so that workers with several datasets never wait in a circle.
_FINISH = sa.text(f"""
    SELECT pg_advisory_xact_lock(hashtext('archiver'), key)
    FROM (SELECT DISTINCT hashtext(id) AS key FROM unnest(CAST(:packages AS text[])) AS id ORDER BY key) AS keys;
    WITH gone AS (
        DELETE FROM archiver_request q USING {_MINE} AND NOT q.again
        RETURNING mine.token, q.resource_id, q.package_id
    )
    SELECT token, NOT EXISTS (
        SELECT 1 FROM archiver_request q
        WHERE q.package_id = gone.package_id AND q.resource_id NOT IN (SELECT resource_id FROM gone)) AS is_last
    FROM gone
""")  # noqa: S608 - constants only
_RUN_AGAIN = sa.text(f"""
    UPDATE archiver_request q SET
        {sql.RELEASE_LEASE}, attempts = 0, holds = 0, deaths = 0, held = NULL, not_before = now()
    FROM {_MINE} RETURNING mine.token
""")  # noqa: S608 - constants only


def finish(claims: Sequence[Claim]) -> dict[str, bool]:
    """Delete requests that are done, in the caller's transaction; one that was put again since its claim stays.

    The caller has locked the requests by :func:`still_ours` in the same transaction, so they are ours until its end.

    :returns: the tokens of the requests that were still ours, and whether no open request of the dataset is left
    """
    connection = model.Session.connection()
    params = {"ids": [claim.resource_id for claim in claims], "tokens": [claim.token for claim in claims]}
    packages = [claim.package_id for claim in claims]
    done = {row.token: row.is_last for row in connection.execute(_FINISH, {**params, "packages": packages})}
    if len(done) < len(claims):
        done.update(dict.fromkeys(connection.execute(_RUN_AGAIN, params).scalars(), False))
    return done


@dataclass(frozen=True)
class Deferral:
    """A claimed request that goes back to the table for later. The retry of an edit goes to ``bulk``: its first result
    is on the page, and other edits come first.

    :ivar delay: seconds until it may be claimed again; an edit since the claim makes it due at once
    :ivar attempts: failed tries so far, None to leave the number as it is
    :ivar held: why no verdict was taken, where the fault is our own: a detail, or "outage"
    :ivar to_bulk: the request goes to ``bulk`` in any case
    """

    claim: Claim
    delay: float = 0
    attempts: int | None = None
    held: str = ""
    to_bulk: bool = False

    @property
    def leaves_priority(self) -> bool:
        """Whether the request of an edit goes to ``bulk``."""
        return self.claim.queue == Queue.PRIORITY and (self.to_bulk or bool(self.attempts))


_DEFER = sa.text(f"""
    UPDATE archiver_request q SET
        {sql.RELEASE_LEASE},
        attempts = CASE WHEN again THEN 0 ELSE coalesce(mine.attempts, q.attempts) END,
        holds = CASE WHEN again THEN 0 WHEN mine.held = '' THEN holds ELSE holds + 1 END,
        held = nullif(mine.held, ''),
        queue = CASE WHEN (mine.attempts > 0 OR mine.to_bulk) AND NOT again THEN 'bulk' ELSE q.queue END,
        not_before = CASE WHEN again THEN now() ELSE now() + mine.delay * interval '1 second' END
    FROM json_to_recordset(CAST(:deferrals AS json))
        AS mine (resource_id text, token text, delay float8, attempts int, held text, to_bulk bool)
    WHERE {_IS_MINE}
    RETURNING mine.token
""")  # noqa: S608 - constants only
# The dispatcher looks at the host of such a retry when it is due. A hint, so it waits for no lock: a host that another
# transaction has locked is found by ``dispatch.wake_forgotten_hosts``.
_WAKE_LATER = """
    UPDATE archiver_host h SET bulk_at = least(h.bulk_at, w.due)
    FROM (SELECT k.host, now() + min(d.delay) * interval '1 second' AS due
          FROM unnest(CAST(:hosts AS text[]), CAST(:delays AS float8[])) AS d (host, delay)
          JOIN archiver_host k ON k.host = d.host GROUP BY k.host) w
    WHERE h.host IN (SELECT host FROM archiver_host WHERE host = ANY(:hosts) ORDER BY host FOR UPDATE SKIP LOCKED)
      AND h.host = w.host
"""


def defer(deferrals: Sequence[Deferral]) -> set[str]:
    """Release claimed requests for later, in the caller's transaction.

    :returns: the tokens of the requests that were still ours
    """
    rows = [
        {
            "resource_id": deferral.claim.resource_id,
            "token": deferral.claim.token,
            "delay": deferral.delay,
            "attempts": deferral.attempts,
            "held": deferral.held,
            "to_bulk": deferral.to_bulk,
        }
        for deferral in deferrals
    ]
    connection = model.Session.connection()
    ours = set(connection.execute(_DEFER, {"deferrals": json.dumps(rows)}).scalars())
    retries = [one for one in deferrals if one.leaves_priority]
    if retries:
        hosts, delays = [one.claim.host for one in retries], [one.delay for one in retries]
        sql.run(_WAKE_LATER, hosts=hosts, delays=delays)
    return ours


_EDITS_IN_FLIGHT = """
    SELECT package_id, count(*) FROM archiver_request
    WHERE package_id = ANY(:ids) AND queue = 'priority' AND lease_token IS NOT NULL AND leased_until > now()
    GROUP BY package_id
"""


def over_share(claims: Sequence[Claim]) -> set[str]:
    """The tokens of those edits, just claimed, whose dataset has its share of the transfers under way already."""
    edits = [claim for claim in claims if claim.queue == Queue.PRIORITY]
    places = leases.current().places
    if not edits or not places:
        return set()
    share = max(places // 2, 1)
    in_flight = dict(map(tuple, sql.run(_EDITS_IN_FLIGHT, ids=sorted({claim.package_id for claim in edits}))))
    over: set[str] = set()
    for claim in edits:
        if in_flight.get(claim.package_id, 0) > share:
            in_flight[claim.package_id] -= 1
            over.add(claim.token)
    return over


# The lock timeout goes with the statement, which saves a trip to the database.
_STILL_OURS = f"""
    SET LOCAL lock_timeout = '%ss';
    SELECT q.lease_token AS token, now() AS now, {links.URL_SQL} AS url, coalesce(r.url_type, '') AS url_type,
           r.last_modified
    FROM {_MY_LEASES} JOIN archiver_request q ON {_IS_MINE}
    LEFT JOIN (resource r JOIN package p ON p.id = r.package_id)
        ON r.id = q.resource_id AND r.state = 'active' AND p.state IN ('active', 'draft')
    ORDER BY q.resource_id FOR UPDATE OF q %s
"""  # noqa: S608 - constants only
LONG_WAIT, SHORT_WAIT = 5, 1
"""Lock timeout in seconds: for one thread's own transaction that waits for locked requests, and for a transaction that
leaves them out, such as one shared by several threads."""

_OURS_WAITING = sa.text(_STILL_OURS % (LONG_WAIT, ""))
_OURS_FREE = sa.text(_STILL_OURS % (SHORT_WAIT, "SKIP LOCKED"))


@dataclass(frozen=True)
class CurrentResource:
    """A claimed resource as it is now; empty where it is gone.

    :ivar now: the time by the database's clock, which all workers share (aware, UTC)
    """

    now: datetime
    url: str
    url_type: str
    timestamp: datetime | None


def still_ours(claims: Sequence[Claim], *, wait: bool = True) -> dict[str, CurrentResource]:
    """The resources of the requests that are still ours, by token.

    Locks the requests until the transaction ends, and sets the transaction's lock timeout: so it is called first, also
    without claims.

    :param wait: wait for other transactions (an edit) that have a request locked; else the request is left out
    """
    params = {"ids": [claim.resource_id for claim in claims], "tokens": [claim.token for claim in claims]}
    rows = model.Session.connection().execute(_OURS_WAITING if wait else _OURS_FREE, params)
    return {
        row.token: CurrentResource(row.now.astimezone(timezone.utc), row.url, row.url_type, row.last_modified)
        for row in rows
    }


def still_leased(claims: Sequence[Claim]) -> set[str]:
    """The tokens of the requests that are still ours, locked or not: as they were committed last."""
    if not claims:
        return set()
    statement = f"SELECT mine.token FROM archiver_request q, {_MINE}"  # noqa: S608 - constants only
    ids, tokens = [claim.resource_id for claim in claims], [claim.token for claim in claims]
    return set(sql.run(statement, ids=ids, tokens=tokens).scalars())


SUSPECTS_LOCK = 0x6172_6373  # "arcs"


def _last_chance() -> int:
    return max(config.poison_deaths() - 1, 1)


def lock_suspects(claims: Sequence[Claim]) -> None:
    """Where some of these requests are on their last chance, let one worker at a time look for others, until the claims
    are committed: two that look at the same time would not see each other. Called before any host is locked: the order
    of locks is that of ``archiving``'s transactions."""
    if any(claim.deaths >= _last_chance() for claim in claims):
        statement = sa.text("SELECT pg_advisory_xact_lock(:lock)")
        model.Session.connection().execute(statement, {"lock": SUSPECTS_LOCK})


def suspects_to_wait(claims: Sequence[Claim]) -> set[str]:
    """The tokens of the requests on their last chance that have to wait for another one.

    A resource that kills its worker takes the runs beside it with it. On their last chance suspects run one at a
    time, so that only the one that kills is set aside. Called after :func:`lock_suspects`.
    """
    last_chance = _last_chance()
    suspects = [claim for claim in claims if claim.deaths >= last_chance]
    if not suspects:
        return set()
    others = model.Session.connection().execute(
        sa.text("""
            SELECT 1 FROM archiver_request
            WHERE lease_token IS NOT NULL AND leased_until > now() AND deaths >= :last_chance
              AND resource_id <> ALL(:ids) LIMIT 1
        """),
        {"last_chance": last_chance, "ids": [claim.resource_id for claim in suspects]},
    )
    return {claim.token for claim in (suspects if others.first() else suspects[1:])}


IN_HAND_SECONDS = 60
"""Seconds that the last of a message's resources may wait for its first ones, before it gets a message of its own."""

_TAKE_IN_HAND = sql.update_unlocked(
    "sent_until = now() + :seconds * interval '1 second'",
    f"resource_id = ANY(:ids) AND {sql.WAS_SENT} AND lease_token IS NULL",
)


def take_in_hand(resource_ids: Sequence[str]) -> None:
    """Note, in the caller's transaction, that the message for these resources was received: what is not claimed soon is
    sent again."""
    sql.run(_TAKE_IN_HAND, ids=list(resource_ids), seconds=IN_HAND_SECONDS)


_UNSEND = sql.update_unlocked("sent_until = NULL", "resource_id = ANY(:ids)")


_PUT_BACK = sql.update_unlocked(
    "sent_until = NULL",
    f"""
        (resource_id, queue) IN (SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:queues AS text[])))
        AND lease_token IS NULL AND not_before <= now() AND {sql.WAS_SENT}
    """,  # noqa: S608 - constants only
)


def put_back(messages: Sequence[Message]) -> None:
    """Forget, in the caller's transaction, that messages were sent whose requests are due and could not be claimed:
    an operator has paused them. The dispatcher sends others when the pause has ended."""
    sql.run(
        _PUT_BACK,
        ids=[message.resource_id for message in messages],
        queues=[message.queue for message in messages],
    )


_SEND_AGAIN = (
    sql.update_unlocked("sent_until = NULL", "resource_id = ANY(:ids) AND lease_token IS NULL")
    + "RETURNING resource_id"
)


def send_contended_again() -> int:
    """Have messages sent again, in the caller's transaction, for the requests that were locked when theirs was received
    and are not locked any more.

    :returns: how many
    """
    contended = leases.current().contended
    ids = list(contended)
    if not ids:
        return 0
    unlocked = sql.run(_SEND_AGAIN, ids=ids).scalars().all()
    # Those that are gone, or that a worker has, need no message.
    waiting = "SELECT resource_id FROM archiver_request WHERE resource_id = ANY(:ids) AND lease_token IS NULL"
    still_locked = set(sql.run(waiting, ids=ids).scalars()) - set(unlocked)
    contended.difference_update(set(ids) - still_locked)
    return len(unlocked)


def unsend(resource_ids: Sequence[str]) -> None:
    """Forget, in the caller's transaction, that messages were sent: the dispatcher sends others."""
    sql.run(_UNSEND, ids=list(resource_ids))
