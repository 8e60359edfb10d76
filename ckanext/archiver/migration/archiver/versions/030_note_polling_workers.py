"""Let a worker say that it polls the table, and have tables of much change vacuumed often

Revision ID: archiver_030
Revises: archiver_020
Create Date: 2026-11-26 00:45:00
"""

from __future__ import annotations

from alembic import op

revision = "archiver_030"
down_revision = "archiver_020"
branch_labels = None
depends_on = None

# PostgreSQL waits until a fifth of a table is dead rows, and pauses at its work. A row of these is changed three or
# four times in each round, and the dispatcher reads past the dead ones until they are vacuumed.
VACUUM = {
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "1000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0.05",
}
TABLES = ("archiver_request", "archiver_host", "archiver_notice", "archiver_worker", "archiver_state")


def upgrade() -> None:
    """Add the column, and set the tables' storage parameters. Both take a moment on tables of any size."""
    op.execute("ALTER TABLE archiver_worker ADD COLUMN IF NOT EXISTS polls_since TIMESTAMPTZ")
    op.execute(
        "CREATE INDEX IF NOT EXISTS archiver_request_room_idx ON archiver_request (queue, sent_until) "
        "WHERE sent_until IS NOT NULL"
    )
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} SET ({', '.join(f'{name} = {value}' for name, value in VACUUM.items())})")


def downgrade() -> None:
    """Back to the server's own settings."""
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(VACUUM)})")
    op.execute("DROP INDEX IF EXISTS archiver_request_room_idx")
    op.execute("ALTER TABLE archiver_worker DROP COLUMN IF EXISTS polls_since")
