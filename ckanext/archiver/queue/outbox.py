"""Messages for edits: sent when the transaction that put the requests has been committed."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from ckan import model

from ckanext.archiver.queue import broker
from ckanext.archiver.queue.types import Queue

_PENDING = "archiver_requests_to_send"
_COMMITTED = "archiver_root_committed"

SEND_AT_ONCE = 100
"""Messages sent right after a commit; a larger edit leaves the rest to the dispatcher."""


def send_after_commit(session: Any, resource_id: str) -> None:
    """Send a message for this resource after the root commit of the session."""
    session.info.setdefault(_PENDING, set()).add(resource_id)


def listen_to_sessions() -> None:
    """Send messages whenever the root transaction of a session ends in a commit. Harmless to call twice.

    SQLAlchemy fires ``after_commit`` for a released SAVEPOINT as well, and CKAN 2.12 saves datasets inside one. So the
    commit is noted only outside a nested transaction, and messages are sent in ``after_transaction_end`` of the root,
    when the session may be used again.
    """
    for target in (model.Session, getattr(model.meta, "create_local_session", None)):
        if target is not None and not sa.event.contains(target, "after_commit", _note_commit):
            sa.event.listen(target, "after_commit", _note_commit)
            sa.event.listen(target, "after_soft_rollback", _forget)
            sa.event.listen(target, "after_transaction_end", _send_pending)


def _note_commit(session: Any) -> None:
    if session.info.get(_PENDING) and not session.in_nested_transaction():
        session.info[_COMMITTED] = True


def _forget(session: Any, previous_transaction: Any) -> None:
    # After the rollback of a SAVEPOINT some requests may remain: the dispatcher finds those.
    session.info.pop(_PENDING, None)
    session.info.pop(_COMMITTED, None)


def _send_pending(session: Any, transaction: Any) -> None:
    if transaction.parent is not None or not session.info.get(_PENDING):
        return
    resource_ids = session.info.pop(_PENDING)
    if session.info.pop(_COMMITTED, False):
        broker.send_at_once(sorted(resource_ids)[:SEND_AT_ONCE], Queue.PRIORITY)
