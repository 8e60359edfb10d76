"""The database connections of a worker process: one for each of its threads, and others for its background threads.

CKAN's own pool is made for a web process. In a worker it is too small (15 connections for 16 threads and four
background threads), and a pool that all of them share lets tasks that wait for the database stop the heartbeat, after
which the other workers take this one for dead.
"""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model

BACKGROUND_CONNECTIONS = 6
"""For the background threads, one each."""

SPARE_CONNECTIONS = 4
"""For other extensions that take a second connection, and for transfers that go on beside the threads."""

POOL_SECONDS = 10
"""Seconds that a thread waits for a connection; after that, the database counts as away."""

_POOL_OPTIONS = ("pool_size", "max_overflow", "pool_timeout", "poolclass", "pool_pre_ping")

READ_ONLY = "25006"
"""SQLSTATE of PostgreSQL's read_only_sql_transaction: the server is a standby, as during a failover."""

_background: sa.engine.Engine | None = None


def use_own_engines(threads: int) -> None:
    """Replace CKAN's engine in this process.

    :param threads: how many archivals run at a time
    """
    global _background
    model.Session.remove()
    model.meta.engine.dispose(close=False)
    engine = _engine(threads, SPARE_CONNECTIONS)
    model.meta.Session.configure(bind=engine)
    model.meta.create_local_session.configure(bind=engine)
    model.meta.engine = engine
    _background = _engine(BACKGROUND_CONNECTIONS, SPARE_CONNECTIONS)


def _engine(size: int, spare: int) -> sa.engine.Engine:
    options = {
        name: value
        for name, value in tk.config.items()
        if name.startswith("sqlalchemy.") and name.removeprefix("sqlalchemy.") not in _POOL_OPTIONS
    }
    engine = sa.engine_from_config(
        options,
        pool_size=size,
        max_overflow=spare,
        pool_timeout=POOL_SECONDS,
    )
    sa.event.listen(engine, "handle_error", _read_only_is_away)
    return engine


def _read_only_is_away(context: Any) -> Exception | None:
    """A server that only reads is one that is away: the connection is closed, and the next one may reach the new
    primary."""
    if getattr(context.original_exception, "pgcode", None) != READ_ONLY:
        return None
    context.is_disconnect = True
    return sa.exc.OperationalError(context.statement, context.parameters, context.original_exception)


def use_background_connection() -> None:
    """Have this thread's session use the connections of the background threads until it is removed."""
    if _background is not None:
        model.Session(bind=_background)
