"""SQL that more than one statement needs, each piece under a name, and how statements are run.

Functions of ``queue/`` run in the caller's transaction and do not commit, with these exceptions:

* ``dispatch``: ``tick``, ``tick_priority`` and ``tick_bulk`` commit before they send messages;
* ``notices``: ``deliver`` and ``deliver_abandoned`` run other extensions' code between their transactions;
* ``rounds``: ``Selection`` puts requests in batches, and ``put_never_planned`` uses it;
* ``recovery``: ``forget_lost_messages`` asks the broker first, ``sweep`` walks through folders afterwards;
* ``names`` may be called in the middle of an edit's transaction.

``Selection`` and ``names`` use connections of their own. The others open each transaction with :func:`transaction`, as
most callers of the other functions do.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver import links

_text = functools.lru_cache(maxsize=256)(sa.text)


def run(statement: str, **parameters: Any) -> Any:
    """Run a statement in the transaction of this thread's session.

    :returns: SQLAlchemy's result
    """
    return model.Session.connection().execute(_text(statement), parameters)


@contextlib.contextmanager
def transaction() -> Iterator[None]:
    """A transaction of this thread's session: committed at the end, rolled back on an error."""
    try:
        yield
        model.Session.commit()
    except BaseException:
        model.Session.rollback()
        raise


HOST_OF_URL = f"CASE WHEN r.url_type = 'upload' THEN '' ELSE {links.host_sql(links.URL_SQL)} END"
"""The host of a resource's link (``r`` is the resource); empty for an upload and where there is none."""

RELEASE_LEASE = "lease_token = NULL, leased_by = NULL, leased_until = NULL, sent_until = NULL, again = false"
"""Sets the columns of a request that no worker holds any more."""

WAS_SENT = "coalesce(sent_until, '-infinity') > '-infinity'"
"""The broker was given a message for a request. Not "IS NOT NULL": see ``claims`` on ``archiver_request_lease_idx``."""

IN_WINDOW = "attempts >= 0"
"""Always true: a statement that asks for the messages of a whole queue says it, and may use the index for that. Other
statements ask for those of one host. To PostgreSQL's planner an index of few live entries is free to read, however
many dead ones it has, and it would rather read that one."""

WORKER_IS_ALIVE = "w.seen_at > now() - :dead * interval '1 second'"
"""Whether the worker ``w`` (archiver_worker) is alive. ``:dead`` is ``config.worker_dead_seconds()``."""

WAKE_HOST = """
    ON CONFLICT (host) DO UPDATE SET bulk_at = EXCLUDED.bulk_at WHERE h.bulk_at IS NULL OR h.bulk_at > now()
"""
"""Ends ``INSERT INTO archiver_host AS h (host, bulk_at) SELECT …, now()``: the dispatcher looks at these hosts next.
What is selected must be in the order of ``host``, so that two transactions that do it never wait in a circle."""


def is_paused(queue: str, host: str) -> str:
    """A condition: an operator has paused a request (see :mod:`~ckanext.archiver.queue.pauses`).

    :param queue: SQL of its queue
    :param host: SQL of its host
    """
    return f"EXISTS (SELECT 1 FROM archiver_pause p WHERE p.queue IN ('', {queue}) AND p.host IN ('', {host}))"  # noqa: S608


def update_unlocked(changes: str, condition: str) -> str:
    """A statement that changes requests, except those that another transaction has locked.

    A transaction that holds several requests must not wait for another one: an edit that holds that one may come to
    these, and PostgreSQL would break one of the two off. What an edit or a claim has locked needs no change: both
    make it themselves.

    :param changes: what stands after ``SET``
    :param condition: what stands after ``WHERE``
    """
    return f"""
        WITH unlocked AS MATERIALIZED (
            SELECT resource_id FROM archiver_request WHERE {condition} FOR UPDATE SKIP LOCKED
        )
        UPDATE archiver_request SET {changes} WHERE resource_id IN (SELECT resource_id FROM unlocked)
    """  # noqa: S608 - constants only
