"""The tables of the queue. Their times are aware: ``timestamptz``, the database's.

Other extensions read the tables of :mod:`ckanext.archiver.model`; these are this extension's own.
"""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB


def _moment(**kwargs: Any) -> sa.Column:
    return sa.Column(sa.DateTime(timezone=True), **kwargs)


class ArchiverRequest(tk.BaseModel):
    """The queue itself, one row per resource; the broker only carries ids."""

    __tablename__ = "archiver_request"

    resource_id = sa.Column(sa.UnicodeText, primary_key=True)
    package_id = sa.Column(sa.UnicodeText, nullable=False, index=True)
    queue = sa.Column(sa.UnicodeText, nullable=False)
    host = sa.Column(sa.UnicodeText, nullable=False)
    """Lower-case host name of the URL; empty for uploads and for URLs without one."""
    reason = sa.Column(sa.UnicodeText, nullable=False)
    """Why it was put: a value of ``queue.types.Reason``, whose members are documented there."""
    requested_at = _moment(nullable=False, server_default=sa.func.now())
    not_before = _moment(nullable=False, server_default=sa.func.now())
    attempts = sa.Column(sa.Integer, nullable=False, server_default="0")
    """Failed tries since the request was put."""
    holds = sa.Column(sa.Integer, nullable=False, server_default="0")
    """Times it was held because of a fault of our own."""
    deaths = sa.Column(sa.Integer, nullable=False, server_default="0")
    """Workers that died while they held its lease."""
    again = sa.Column(sa.Boolean, nullable=False, server_default=sa.false())
    """Requested once more while a worker held its lease."""
    sent_until = _moment()
    """Until when the broker is assumed to hold a message for it."""
    lease_token = sa.Column(sa.UnicodeText)
    leased_by = sa.Column(sa.UnicodeText)
    leased_until = _moment()
    held = sa.Column(sa.UnicodeText)
    """Why the last run took no verdict (a detail, or "outage"); empty when it was not held."""

    __table_args__ = (
        # The dispatcher's question: the next due request of a host.
        sa.Index("archiver_request_due_idx", "queue", "host", "not_before"),
        # How many messages of a queue the broker may still get. Its condition makes it useless to all statements but
        # those that say ``sql.IN_WINDOW``.
        sa.Index(
            "archiver_request_window_idx",
            "queue",
            "sent_until",
            postgresql_where=sa.text("sent_until IS NOT NULL AND attempts >= 0"),
        ),
        sa.Index(
            "archiver_request_sent_idx",
            "host",
            "queue",
            "sent_until",
            postgresql_where=sa.text("sent_until IS NOT NULL"),
        ),
        sa.Index(
            "archiver_request_lease_idx", "host", "leased_until", postgresql_where=sa.text("lease_token IS NOT NULL")
        ),
    )


class ArchiverHost(tk.BaseModel):
    """A host: when it may be asked again, and whether it answers at all."""

    __tablename__ = "archiver_host"

    host = sa.Column(sa.UnicodeText, primary_key=True)
    next_at = _moment(nullable=False, server_default=sa.func.now())
    network_failures = sa.Column(sa.Integer, nullable=False, server_default="0")
    """Network failures in a row."""
    open_until = _moment()
    """The breaker: no request goes to the host before this time."""
    opened = sa.Column(sa.Integer, nullable=False, server_default="0")
    """How often in a row the breaker opened; each time doubles the pause."""
    failing_since = _moment()
    hints = sa.Column(JSONB, nullable=False, server_default="{}")
    last_checked_at = _moment()
    last_failed = sa.Column(sa.Boolean, nullable=False, server_default=sa.false())
    """The last request failed in a way that our own network could have caused."""

    bulk_at = _moment()
    """When the dispatcher considers it next for the queue bulk; empty while nothing waits there."""
    failed_port = sa.Column(sa.Integer)
    """The port of the last network failure: another port may answer."""
    wait_until = _moment()
    """Until when the server asked us to stay away (Retry-After); empty or past where it did not."""

    address = sa.Column(sa.UnicodeText)
    """One of its IP addresses: hosts with the same one are on one server."""
    address_at = _moment()
    """When the address was looked up."""

    __table_args__ = (
        sa.Index("archiver_host_bulk_idx", "bulk_at", postgresql_where=sa.text("bulk_at IS NOT NULL")),
        sa.Index("archiver_host_address_idx", "address"),
    )


class ArchiverNotice(tk.BaseModel):
    """An event that subscribers must still hear. Written with the archival, deleted when delivered."""

    __tablename__ = "archiver_notice"

    id = sa.Column(sa.BigInteger, primary_key=True)
    operation = sa.Column(sa.UnicodeText, nullable=False)
    """"archived", "package-archived", or ours: "purged" and "dropped" (the copy must go)."""
    package_id = sa.Column(sa.UnicodeText)
    resource_id = sa.Column(sa.UnicodeText)
    queue = sa.Column(sa.UnicodeText)
    cache_filepath = sa.Column(sa.UnicodeText)
    created_at = _moment(nullable=False, server_default=sa.func.now())
    lease_token = sa.Column(sa.UnicodeText)
    leased_by = sa.Column(sa.UnicodeText)
    leased_until = _moment()
    attempts = sa.Column(sa.Integer, nullable=False, server_default="0")
    """Times it was taken again because the worker that held it did not deliver it."""

    __table_args__ = (sa.Index("archiver_notice_lease_idx", "lease_token"),)


class ArchiverDataset(tk.BaseModel):
    """What the search index is to know of a dataset (``worst_link.FACET_SQL``), and what it has."""

    __tablename__ = "archiver_dataset"

    package_id = sa.Column(sa.UnicodeText, primary_key=True)
    facet = sa.Column(sa.UnicodeText)
    indexed_facet = sa.Column(sa.UnicodeText)

    __table_args__ = (
        sa.Index(
            "archiver_dataset_stale_idx", "package_id", postgresql_where=sa.text("facet IS DISTINCT FROM indexed_facet")
        ),
    )


class ArchiverWorker(tk.BaseModel):
    """A worker that is alive, or was until lately."""

    __tablename__ = "archiver_worker"

    worker_id = sa.Column(sa.UnicodeText, primary_key=True)
    hostname = sa.Column(sa.UnicodeText, nullable=False)
    pid = sa.Column(sa.Integer, nullable=False)
    queues = sa.Column(sa.UnicodeText, nullable=False)
    started_at = _moment(nullable=False, server_default=sa.func.now())
    seen_at = _moment(nullable=False, server_default=sa.func.now())
    polls_since = _moment()
    """Since when the worker takes requests from the table, because its broker is away."""


class ArchiverPause(tk.BaseModel):
    """What an operator has paused: everything, a queue, a host, or a host on one queue."""

    __tablename__ = "archiver_pause"

    queue = sa.Column(sa.UnicodeText, primary_key=True)
    """Empty for both queues."""
    host = sa.Column(sa.UnicodeText, primary_key=True)
    """Empty for all hosts."""
    paused_by = sa.Column(sa.UnicodeText, nullable=False)
    reason = sa.Column(sa.UnicodeText, nullable=False, server_default="")
    paused_at = _moment(nullable=False, server_default=sa.func.now())


class ArchiverState(tk.BaseModel):
    """Single facts: the round that is going on and the last one ("round"), how often subscribers raised
    ("subscriber_failures"), when a periodic chore last ran on any worker ("turn:…")."""

    __tablename__ = "archiver_state"

    key = sa.Column(sa.UnicodeText, primary_key=True)
    value = sa.Column(JSONB, nullable=False)
    updated_at = _moment(nullable=False, server_default=sa.func.now())


class ArchiverSelection(tk.BaseModel):
    """The resources that a command or the schedule has selected, until their requests are put."""

    __tablename__ = "archiver_selection"

    run = sa.Column(sa.UnicodeText, primary_key=True)
    number = sa.Column(sa.BigInteger, primary_key=True)
    id = sa.Column(sa.UnicodeText, nullable=False)
    package_id = sa.Column(sa.UnicodeText, nullable=False)
    host = sa.Column(sa.UnicodeText, nullable=False)
    selected_at = _moment(nullable=False, server_default=sa.func.now())

    __table_args__ = {"prefixes": ["UNLOGGED"]}


class ArchiverCounter(tk.BaseModel):
    """Sums over all workers of what they count for Prometheus (see :mod:`ckanext.archiver.counters`)."""

    __tablename__ = "archiver_counter"

    name = sa.Column(sa.UnicodeText, primary_key=True)
    labels = sa.Column(sa.UnicodeText, primary_key=True)
    value = sa.Column(sa.Float(53), nullable=False)
