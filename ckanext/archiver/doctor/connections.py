"""Checks of what the workers take from the database server."""

from __future__ import annotations

from collections.abc import Iterator

from ckanext.archiver import config
from ckanext.archiver.doctor.finding import Finding, ok, problem, warning
from ckanext.archiver.queue import sql
from ckanext.archiver.worker.database import BACKGROUND_CONNECTIONS, SPARE_CONNECTIONS
from ckanext.archiver.worker.run import DEFAULT_CONCURRENCY

PER_WORKER = DEFAULT_CONCURRENCY["threads"] + BACKGROUND_CONNECTIONS + 2 * SPARE_CONNECTIONS
"""Connections that a worker with the default number of threads may open."""


def connections() -> Iterator[Finding]:
    """Whether the server allows as many connections as the workers may open."""
    allowed = sql.run(
        "SELECT CAST(current_setting('max_connections') AS int) "
        "- CAST(current_setting('superuser_reserved_connections') AS int)"
    ).scalar()
    used = sql.run("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'").scalar()
    workers = sql.run(
        f"SELECT count(*) FROM archiver_worker w WHERE {sql.WORKER_IS_ALIVE}",  # noqa: S608 - a constant
        dead=config.worker_dead_seconds(),
    ).scalar()
    needed = workers * PER_WORKER
    remedy = f"max_connections = {max(2 * needed, allowed + 100)} in postgresql.conf, or PgBouncer in front of it."
    if used >= 0.8 * allowed:
        yield (problem if used >= 0.9 * allowed else warning)(
            f"{used} of the {allowed} connections of PostgreSQL are in use.", remedy
        )
    elif needed > allowed:
        yield warning(f"{workers} workers may open {needed} connections, and PostgreSQL allows {allowed}.", remedy)
    else:
        yield ok(f"PostgreSQL allows {allowed} connections; {used} are in use.")


CHECKS = {"connections": connections}
