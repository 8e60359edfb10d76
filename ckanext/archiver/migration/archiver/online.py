"""Changes of large tables that are in use: no statement here keeps others waiting for more than a second.

Each runs in transactions of its own (Alembic's autocommit block), so an upgrade that is interrupted goes on where it
was: a migration that uses these can be run again.
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from alembic import op

ROWS = 5_000
"""Rows that one transaction changes; some tenths of a second."""

LOCK_SECONDS = 0.5
"""For which a change of a table's definition waits for others, who queue behind it as long as it waits."""

TRIES = 600


def alter(*statements: str) -> None:
    """Change the definition of a table, which takes a moment once no other transaction uses it.

    :raises sqlalchemy.exc.OperationalError: another transaction has used the table for ten minutes
    """
    with op.get_context().autocommit_block():
        for number in range(TRIES):
            try:
                # One text: the connection commits each statement by itself.
                _run(f"BEGIN; SET LOCAL lock_timeout = '{LOCK_SECONDS:g}s'; {'; '.join(statements)}; COMMIT")
            except sa.exc.OperationalError as e:
                _run("ROLLBACK")
                if getattr(e.orig, "pgcode", "") != "55P03" or number == TRIES - 1:  # lock_not_available
                    raise
                time.sleep(LOCK_SECONDS)
            else:
                return


def _run(text: str) -> None:
    op.get_bind().exec_driver_sql(text.replace("%", "%%"))


def fill(changes: str, where: str, *, source: str = "", **values: Any) -> None:
    """Change rows of ``archival`` in the order of their id, some thousands a transaction.

    :param changes: what stands after ``SET``; ``a`` is the row
    :param where: which rows
    :param source: further tables, what stands after ``FROM``
    """
    statement = sa.text(f"""
        WITH batch AS MATERIALIZED (SELECT id FROM archival WHERE id > :after ORDER BY id LIMIT :rows),
        changed AS (
            UPDATE archival a SET {changes} FROM batch{", " + source if source else ""}
            WHERE a.id = batch.id AND ({where})
        )
        SELECT max(id) FROM batch
    """)  # noqa: S608 - constants of migrations
    with op.get_context().autocommit_block():
        after = ""
        while after is not None:
            after = op.get_bind().execute(statement, {"after": after, "rows": ROWS, **values}).scalar()


def create_index(name: str, what: str, *, unique: bool = False) -> None:
    """Create an index on a large table, unless it is there and complete.

    :param what: what stands after ``ON``
    :raises sqlalchemy.exc.IntegrityError: rows are not unique
    """
    broken = sa.text("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")
    kind = "UNIQUE INDEX" if unique else "INDEX"
    with op.get_context().autocommit_block():
        bind = op.get_bind()
        # One that was interrupted.
        if bind.execute(broken, {"name": name}).scalar():
            bind.exec_driver_sql(f"DROP INDEX CONCURRENTLY {name}")
        bind.exec_driver_sql(f"CREATE {kind} CONCURRENTLY IF NOT EXISTS {name} ON {what}".replace("%", "%%"))


def drop_index(name: str) -> None:
    """Drop an index of a large table, if it is there."""
    with op.get_context().autocommit_block():
        op.get_bind().exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
