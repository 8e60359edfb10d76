"""Claiming requests, finishing them and giving them back.

A worker claims a request by a lease and presents its token with everything it writes back: a worker whose lease ran
out writes nothing. All times are the database's, so that a wrong clock on a worker cannot hurt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import config
from ckanext.archiver.queue import leases
from ckanext.archiver.queue.group_commit import CONTENDED, Contended

# -- claiming and giving back ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A request that this worker holds, until its lease runs out."""

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
    at_once: bool = False


@dataclass(frozen=True)
class Message:
    """What came by the broker: a resource to claim.

    :ivar queue: the queue it came by; a message of a queue the request has left does nothing. Empty for any
    """

    resource_id: str
    queue: str = ""


_CLAIMABLE = """
    unnest(CAST(:ids AS text[]), CAST(:queues AS text[]), CAST(:tokens AS text[])) AS m (resource_id, queue, token)
    JOIN archiver_request q ON q.resource_id = m.resource_id
    WHERE (m.queue = '' OR q.queue = m.queue)
        AND (q.lease_token IS NULL OR q.leased_until < now())
        AND (:at_once OR q.not_before <= now())
"""
_CLAIM = f"""
    WITH claimable AS MATERIALIZED (
        SELECT q.resource_id, m.token FROM {_CLAIMABLE} ORDER BY q.resource_id FOR UPDATE OF q %s
    )
    UPDATE archiver_request q SET
        lease_token = c.token, leased_by = :worker, leased_until = clock_timestamp() + :lease * interval '1 second',
        sent_until = NULL, again = false
    FROM claimable c WHERE q.resource_id = c.resource_id
    RETURNING q.lease_token AS token, q.resource_id, q.package_id, q.queue, q.host, q.reason, q.attempts, q.holds,
        q.deaths
"""  # noqa: S608 - constants only
_CLAIM_WAITING, _CLAIM_FREE = sa.text(_CLAIM % ""), sa.text(_CLAIM % "SKIP LOCKED")
_LOCKED_NOW = sa.text(f"SELECT m.token FROM {_CLAIMABLE}")  # noqa: S608 - constants only


def claim(
    messages: Sequence[Message], worker_id: str, *, at_once: bool = False, wait: bool = True
) -> list[Claim | None | Contended]:
    """Take requests, in the caller's transaction. The same message delivered twice takes nothing the second time.

    :param at_once: also when the request is to wait
    :param wait: wait for other transactions (an edit) that have a request locked; else ``CONTENDED`` stands for it
    :returns: for each message its claim, or None where there is nothing to do: no request, not due, or another worker
        has it. The caller drops the token of each claim (``leases.discard``) when it is done
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
            # What could be claimed and was not is locked; what was claimed just now cannot be any more.
            locked = connection.execute(_LOCKED_NOW, params).scalars().all()
            claims.update(dict.fromkeys(locked, CONTENDED))
    except BaseException:
        # What was claimed is undone with the caller's transaction.
        claims.clear()
        raise
    finally:
        for token in tokens:
            if not isinstance(claims.get(token), Claim):
                leases.discard(token)
    return [claims.get(token) for token in tokens]


_MINE = """unnest(CAST(:ids AS text[]), CAST(:tokens AS text[])) AS mine (resource_id, token)
    WHERE q.resource_id = mine.resource_id AND q.lease_token = mine.token"""
# With the locks, of two workers that finish a dataset's last two resources one sees that it was the last: they are a
# statement of their own, so that what follows sees what the other has committed. In one order, so that workers with
# several datasets do not wait for each other.
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
        lease_token = NULL, leased_by = NULL, leased_until = NULL, sent_until = NULL, again = false,
        attempts = 0, holds = 0, deaths = 0, held = NULL, not_before = now()
    FROM {_MINE} RETURNING mine.token
""")  # noqa: S608 - constants only


def finish(claims: Sequence[Claim]) -> dict[str, bool]:
    """Take requests off the table, in the caller's transaction; one that was put again meanwhile stays.

    :returns: the tokens of those that were still ours, and whether no open request of the dataset is left. For any
        other the caller must roll back and write nothing
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
    """A request that is given back for later.

    :ivar delay: seconds until it may be taken again; an edit made meanwhile makes it due at once
    :ivar attempts: failed tries so far, None to leave the number as it is
    :ivar held: why no verdict was taken, where the fault is our own: a detail, or "outage"
    """

    claim: Claim
    delay: float = 0
    attempts: int | None = None
    held: str = ""


_DEFER = sa.text("""
    UPDATE archiver_request q SET
        lease_token = NULL, leased_by = NULL, leased_until = NULL, sent_until = NULL, again = false,
        attempts = CASE WHEN again THEN 0 ELSE coalesce(back.attempts, q.attempts) END,
        holds = CASE WHEN again THEN 0 WHEN back.held = '' THEN holds ELSE holds + 1 END,
        held = nullif(back.held, ''),
        not_before = CASE WHEN again THEN now() ELSE now() + back.delay * interval '1 second' END
    FROM json_to_recordset(CAST(:back AS json))
        AS back (resource_id text, token text, delay float8, attempts int, held text)
    WHERE q.resource_id = back.resource_id AND q.lease_token = back.token
    RETURNING back.token
""")


def defer(returns: Sequence[Deferral]) -> set[str]:
    """Deferral requests for later, in the caller's transaction.

    :returns: the tokens of those that were still ours
    """
    back = [
        {
            "resource_id": one.claim.resource_id,
            "token": one.claim.token,
            "delay": one.delay,
            "attempts": one.attempts,
            "held": one.held,
        }
        for one in returns
    ]
    connection = model.Session.connection()
    return set(connection.execute(_DEFER, {"back": json.dumps(back)}).scalars())


# How long to wait for locks is said in the same trip: what it costs is mostly waiting for the answer.
_STILL_OURS = """
    SET LOCAL lock_timeout = '%ss';
    SELECT q.lease_token AS token, now() AS now, coalesce(r.url, '') AS url, coalesce(r.url_type, '') AS url_type,
           r.last_modified
    FROM archiver_request q
    LEFT JOIN (resource r JOIN package p ON p.id = r.package_id)
        ON r.id = q.resource_id AND r.state = 'active' AND p.state IN ('active', 'draft')
    WHERE q.resource_id = ANY(:ids) AND q.lease_token = ANY(:tokens) ORDER BY q.resource_id FOR UPDATE OF q %s
"""
LONG_WAIT, SHORT_WAIT = 5, 1
"""Seconds for which a transaction waits for a lock, and for which one does in which others have a part."""

_OURS_WAITING = sa.text(_STILL_OURS % (LONG_WAIT, ""))
_OURS_FREE = sa.text(_STILL_OURS % (SHORT_WAIT, "SKIP LOCKED"))


@dataclass(frozen=True)
class CurrentResource:
    """What a claimed resource is by now; empty where it is gone.

    :ivar now: by the database's clock, which all workers share (aware, UTC)
    """

    now: datetime
    url: str
    url_type: str
    timestamp: datetime | None


def still_ours(claims: Sequence[Claim], *, wait: bool = True) -> dict[str, CurrentResource]:
    """Which requests are still ours, by token. Locks their rows until the transaction ends, and says how long it may
    wait for locks, so it comes first, with no claims as well.

    :param wait: wait for other transactions (an edit) that have a row locked; else it is left out
    """
    params = {"ids": [claim.resource_id for claim in claims], "tokens": [claim.token for claim in claims]}
    rows = model.Session.connection().execute(_OURS_WAITING if wait else _OURS_FREE, params)
    return {
        row.token: CurrentResource(row.now.astimezone(timezone.utc), row.url, row.url_type, row.last_modified)
        for row in rows
    }


SUSPECTS_LOCK = 0x6172_6373  # "arcs"


def _last_chance() -> int:
    return max(config.poison_deaths() - 1, 1)


def lock_suspects(claims: Sequence[Claim]) -> None:
    """Where some of these requests are on their last chance, look for others one worker at a time, until the claims
    are committed: two that look together would not see each other. Before any host is locked: see ``_turn_all``."""
    if any(claim.deaths >= _last_chance() for claim in claims):
        statement = sa.text("SELECT pg_advisory_xact_lock(:lock)")
        model.Session.connection().execute(statement, {"lock": SUSPECTS_LOCK})


def suspects_to_wait(claims: Sequence[Claim]) -> set[str]:
    """The tokens of those requests, about to be set aside for killing workers, that have to wait for another such.

    What runs beside a resource that kills its worker dies with it. On its last chance each runs without the others,
    so that only the one that kills is set aside. After :func:`lock_suspects`.
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
"""How long the last of a message's resources may wait for its first ones, before it gets a message of its own."""


# Whoever holds several requests must not wait for another: an edit that has that one may come to these, and one of the
# two would be broken off. What an edit or a claim has locked needs no note: both make it themselves.
_UPDATE_FREE = """
    WITH free AS MATERIALIZED (SELECT resource_id FROM archiver_request WHERE {condition} FOR UPDATE SKIP LOCKED)
    UPDATE archiver_request SET {changes} WHERE resource_id IN (SELECT resource_id FROM free)
"""


def update_free(changes: str, condition: str) -> str:
    """A statement that changes the requests of a condition, but for those that another transaction has locked."""
    return _UPDATE_FREE.format(changes=changes, condition=condition)


def take_in_hand(resource_ids: Sequence[str]) -> None:
    """Note, in the caller's transaction, that the message for these resources has come: what is not claimed soon is
    sent again."""
    statement = update_free(
        "sent_until = now() + :seconds * interval '1 second'",
        "resource_id = ANY(:ids) AND sent_until IS NOT NULL AND lease_token IS NULL",
    )
    params = {"ids": list(resource_ids), "seconds": IN_HAND_SECONDS}
    model.Session.connection().execute(sa.text(statement), params)


def unsend(resource_ids: list[str]) -> None:
    """Forget, and commit, that messages were sent."""
    statement = sa.text(update_free("sent_until = NULL", "resource_id = ANY(:ids)"))
    model.Session.connection().execute(statement, {"ids": resource_ids})
    model.Session.commit()
