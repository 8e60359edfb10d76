"""Which of the requests that a transaction has claimed may start now: the others are deferred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ckanext.archiver import config
from ckanext.archiver.archiving import record
from ckanext.archiver.archiving.types import ClaimedRequest, Delivery
from ckanext.archiver.queue import address_gate, claims, hosts
from ckanext.archiver.queue.types import Queue

SUSPECT_SECONDS = 2
"""How long a request on its last chance waits for another such."""

CROWDED_SECONDS = 2
"""How long an edit waits whose dataset has its share of the transfers under way."""


def admit(claimed: Sequence[tuple[claims.Claim, Delivery | None]], leaving: Sequence[str]) -> dict[str, ClaimedRequest]:
    """The claimed requests that may start now, by token; the others are deferred.

    :param leaving: the tokens of runs that end in this transaction
    """
    if not claimed:
        return {}
    links = record.load([claim.resource_id for claim, _ in claimed])
    # What makes no HTTP request (a deleted resource, one that is about to be set aside) needs no admission.
    fetching = [
        claim
        for claim, _ in claimed
        if not claim.at_once and claim.resource_id in links and claim.deaths < config.poison_deaths()
    ]
    suspects, crowded = claims.suspects_to_wait(fetching), claims.over_share(fetching)
    fetching = [claim for claim in fetching if claim.token not in suspects | crowded]
    candidates = [
        hosts.Candidate(claim.host, links[claim.resource_id].url, urgent=claim.queue == Queue.PRIORITY)
        for claim in fetching
    ]
    mine = [*leaving, *(claim.token for claim, _ in claimed)]
    entered = hosts.enter(candidates, mine)
    admissions = {claim.token: admission for claim, admission in zip(fetching, entered, strict=True)}
    admissions.update(_by_address(fetching, admissions, mine))
    admissions.update({token: hosts.Admission(wait=CROWDED_SECONDS) for token in crowded})
    admissions.update({token: hosts.Admission(wait=SUSPECT_SECONDS) for token in suspects})
    requests, deferrals = {}, []
    for claim, delivery in claimed:
        admission = admissions.get(claim.token, hosts.Admission())
        if admission.wait:
            deferrals.append(claims.Deferral(claim, admission.wait))
        else:
            notice_queue, edit_seconds = (delivery.notice_queue, delivery.edit_seconds) if delivery else ("", None)
            requests[claim.token] = ClaimedRequest(
                claim,
                links.get(claim.resource_id),
                admission,
                notice_queue,
                edit_seconds if claim.queue == Queue.PRIORITY else None,
            )
    if deferrals:
        claims.defer(deferrals)
    return requests


def _by_address(
    claimed: Sequence[claims.Claim], admissions: Mapping[str, hosts.Admission], mine: Sequence[str]
) -> dict[str, hosts.Admission]:
    """The admissions that the limit of an address changes."""
    going = [
        claim for claim in claimed if not admissions[claim.token].wait and admissions[claim.token].down_since is None
    ]
    waiting, unknown = address_gate.check(going, mine)
    changed = {token: hosts.Admission(wait=address_gate.WAIT_SECONDS) for token in waiting}
    changed.update({token: replace(admissions[token], looks_up=True) for token in unknown})
    return changed
