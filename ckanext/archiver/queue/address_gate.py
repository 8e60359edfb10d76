"""Politeness by address: a thousand host names on one server (hosted GIS, a government's web farm) are one server.

What address a host has is learnt by a look-up before its first request, outside any transaction, and believed for a
day. A host's request is then admitted in the transaction that claims it, like the host itself
(:mod:`~ckanext.archiver.queue.hosts`): so the limit holds over all workers. The dispatcher sends no more messages than
an address admits, so that few are claimed in vain.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from ckanext.archiver import config
from ckanext.archiver.engine import addresses, urls
from ckanext.archiver.queue import sql
from ckanext.archiver.queue.claims import Claim

WAIT_SECONDS = 5
"""How long a request waits whose address has its limit of requests in flight."""

LOOKUP_SECONDS = 10

_KNOWN = """
    SELECT host, address FROM archiver_host
    WHERE host = ANY(:hosts) AND address IS NOT NULL AND address_at > now() - interval '1 day'
"""
# Of two transactions that count one address, the second sees what the first has admitted. In one order, after hosts.
_LOCK = """
    SELECT pg_advisory_xact_lock(hashtext('archiver-address'), key)
    FROM (SELECT DISTINCT hashtext(address) AS key FROM unnest(CAST(:addresses AS text[])) AS address ORDER BY key) keys
"""
_IN_FLIGHT = """
    SELECT h.address, count(*) FROM archiver_host h JOIN archiver_request q ON q.host = h.host
    WHERE h.address = ANY(:addresses) AND q.lease_token IS NOT NULL AND q.leased_until > now()
      AND q.lease_token <> ALL(:mine)
    GROUP BY h.address
"""
_NOTE = "UPDATE archiver_host SET address = :address, address_at = now() WHERE host = :host"


def limit() -> int:
    """Requests to one address at a time, 0 for no limit: nor is there one without a limit for a host."""
    return config.address_concurrency() if config.host_concurrency() else 0


def check(claims: Sequence[Claim], mine: Sequence[str]) -> tuple[set[str], set[str]]:
    """Admit claims whose hosts have admitted them, in the caller's transaction.

    :param mine: the tokens of all leases of this transaction; they do not count
    :returns: the tokens of claims that have to wait, and of those whose host's address is not known: see :func:`enter`
    """
    most = limit()
    if not most or not claims:
        return set(), set()
    hosts = sorted({claim.host for claim in claims if claim.host})
    known = dict(map(tuple, sql.run(_KNOWN, hosts=hosts)))
    in_flight = _in_flight(sorted(set(known.values())), mine)
    waiting: set[str] = set()
    for claim in claims:
        address = known.get(claim.host)
        if address is None:
            continue
        if in_flight[address] >= most:
            waiting.add(claim.token)
        in_flight[address] += 1
    return waiting, {claim.token for claim in claims if claim.host and claim.host not in known}


_LEASED = """
    SELECT h.address, count(*) FROM archiver_request q JOIN archiver_host h ON h.host = q.host
    WHERE q.lease_token IS NOT NULL AND q.leased_until > now() AND h.address IS NOT NULL GROUP BY h.address
"""
_SENT = f"""
    SELECT h.address, count(*) FROM archiver_request q JOIN archiver_host h ON h.host = q.host
    WHERE q.queue = 'bulk' AND {sql.IN_WINDOW} AND q.sent_until > now()
      AND q.sent_until >= coalesce(CAST(:oldest AS timestamptz), now())
      AND h.address IS NOT NULL
    GROUP BY h.address
"""  # noqa: S608 - constants only

_leased: tuple[float, Counter[str]] = (float("-inf"), Counter())
"""When the requests in flight are to be counted again, and how many there were."""


def taken(oldest_sent: datetime | None) -> Counter[str]:
    """How many requests of each address are in flight or have a message of ``bulk``, in the transaction of the
    dispatcher.

    While another session holds a transaction open, the index of leases keeps all that ended since. To count them then
    takes a tenth of the time at most; until the next count, more may be sent than the address admits.

    :param oldest_sent: until when the oldest message that may still be in the broker was sent, where that is known
    """
    global _leased
    now = time.monotonic()
    if now > _leased[0]:
        counted = Counter(dict(map(tuple, sql.run(_LEASED))))
        _leased = now + 10 * (time.monotonic() - now), counted
    return _leased[1] + Counter(dict(map(tuple, sql.run(_SENT, oldest=oldest_sent))))


def _in_flight(found: Sequence[str], mine: Sequence[str]) -> Counter[str]:
    if not found:
        return Counter()
    sql.run(_LOCK, addresses=list(found))
    return Counter(dict(map(tuple, sql.run(_IN_FLIGHT, addresses=list(found), mine=list(mine)))))


def look_up(url: str) -> str | None:
    """The address of a link's host, in no transaction; None where it has none, or is not ours to look up."""
    target = urls.normalise(url)
    if not isinstance(target, urls.Target) or config.proxy():
        return None
    try:
        answers = addresses.resolve(target.host, target.port, LOOKUP_SECONDS)
    except (OSError, ValueError):
        # The fetch meets it again, and has words for it.
        return None
    # Of several addresses always the same one, IPv4 first.
    found = sorted((family != socket.AF_INET, str(sockaddr[0])) for family, _, _, _, sockaddr in answers)
    return found[0][1] if found else None


def enter(claim: Claim, address: str) -> bool:
    """Note the address of a claimed request's host, in the caller's transaction; whether the request may go now."""
    # The host's row first, as everywhere.
    sql.run(_NOTE, host=claim.host, address=address)
    return _in_flight([address], [claim.token])[address] < limit()
