"""Checks of the database: tables, clock, pooler, dead rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from alembic.script import ScriptDirectory
from ckan import model

from ckanext.archiver import clock
from ckanext.archiver.doctor.finding import Finding, ok, problem, warning
from ckanext.archiver.model import look_at_tables
from ckanext.archiver.queue import sql

MIGRATIONS = Path(__file__).resolve().parents[1] / "migration" / "archiver"

CLOCK_SECONDS = 5
"""Seconds that two clocks may differ."""

MANY_DEAD_ROWS = 100_000


def head_revision() -> str:
    """The newest migration of this release."""
    return str(ScriptDirectory(str(MIGRATIONS)).get_current_head())


def tables() -> Iterator[Finding]:
    """Whether the tables are those of this release."""
    remedy = "ckan archiver init"
    try:
        look_at_tables()
    except sa.exc.ProgrammingError as e:
        model.Session.rollback()
        reason = str(e.orig).splitlines()[0]
        yield problem(f"The tables are not those of this release: {reason}.", remedy, _migrate)
        return
    version = sql.run("SELECT version_num FROM archiver_alembic_version").scalar()
    if version != head_revision():
        yield problem(f"The tables are at migration {version}, this release has {head_revision()}.", remedy, _migrate)
    else:
        yield ok("The tables are up to date.")


def _migrate() -> None:
    # Imported here: it loads Alembic's environment and CKAN's web application, which no other check needs.
    from ckan.cli.db import _run_migrations

    _run_migrations("archiver", None)


def database_clock() -> Iterator[Finding]:
    """Whether this machine and the database agree about the time."""
    now = sql.run("SELECT clock_timestamp()").scalar()
    apart = abs((clock.utc() - now).total_seconds())
    if apart > CLOCK_SECONDS:
        yield problem(
            f"The clock of this machine and that of the database differ by {apart:,.0f} s.",
            "Have both keep time by NTP, for example: systemctl enable --now systemd-timesyncd",
        )
    else:
        yield ok("This machine and the database agree about the time.")


def pooler() -> Iterator[Finding]:
    """Whether connections go through PgBouncer in transaction mode, which keeps no state of a session."""
    with model.meta.engine.connect() as first, model.meta.engine.connect() as second:
        # In transaction mode a client that begins a transaction gets whichever server connection is free.
        pids = set()
        for _ in range(4):
            with first.begin():
                pids.add(first.execute(sa.text("SELECT pg_backend_pid()")).scalar())
                with second.begin():
                    second.execute(sa.text("SELECT 1"))
            with second.begin():
                second.execute(sa.text("SELECT pg_backend_pid()"))
                with first.begin():
                    pids.add(first.execute(sa.text("SELECT pg_backend_pid()")).scalar())
    if len(pids) > 1:
        yield ok(
            "A pooler in transaction mode is between CKAN and PostgreSQL. The archiver keeps no state in sessions, "
            "so this works."
        )
    else:
        yield ok("No pooler in transaction mode was noticed; one would do no harm.")


def dead_rows() -> Iterator[Finding]:
    """Whether autovacuum keeps up with the queue's tables."""
    rows = sql.run(
        "SELECT relname, n_dead_tup, n_live_tup FROM pg_stat_user_tables WHERE relname IN "
        "('archiver_request', 'archiver_host', 'archiver_notice', 'archival', 'archival_check') AND n_dead_tup > :many "
        "AND n_dead_tup > 2 * n_live_tup ORDER BY relname",
        many=MANY_DEAD_ROWS,
    ).all()
    for name, dead, live in rows:
        yield warning(
            f"The table {name} has {dead:,} dead rows beside {live:,} live ones: a long transaction, or a switched-off "
            "autovacuum, keeps PostgreSQL from removing them.",
            f"VACUUM ANALYZE {name};",
        )
    if not rows:
        yield ok("Autovacuum keeps up with the tables.")


def stale_leases() -> Iterator[Finding]:
    """Requests whose lease ran out and that no worker has released."""
    condition = "lease_token IS NOT NULL AND leased_until < now() - interval '5 minutes'"
    stale = sql.run(f"SELECT count(*) FROM archiver_request WHERE {condition}").scalar()  # noqa: S608 - a constant

    def release() -> None:
        with sql.transaction():
            sql.run(sql.update_unlocked(sql.RELEASE_LEASE, condition))

    if stale:
        yield warning(f"{stale:,} requests are held by workers that are gone.", "ckan archiver doctor --fix", release)
    else:
        yield ok("No request is held by a worker that is gone.")


CHECKS = {
    "tables": tables,
    "database clock": database_clock,
    "pooler": pooler,
    "dead rows": dead_rows,
    "leases": stale_leases,
}
