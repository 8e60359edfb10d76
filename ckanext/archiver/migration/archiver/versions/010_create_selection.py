"""Create the table of selections; record the address of a host; vacuum the tables that change most more often

The table has what a command or the schedule selects.

An ordinary table instead of a temporary one, which belongs to a session: behind PgBouncer in transaction mode each
transaction may have another session.

Revision ID: archiver_010
Revises: archiver_009
Create Date: 2026-11-26 00:40:00
"""

from __future__ import annotations

from alembic import op

revision = "archiver_010"
down_revision = "archiver_009"
branch_labels = None
depends_on = None

# Every request is inserted, changed some five times and deleted: by default PostgreSQL vacuums when a fifth of a table
# is dead, which at 1,000,000 requests is after 200,000.
VACUUM = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0"


def upgrade() -> None:
    """Create one table without a log (it lasts for a command), add the address of a host, set options of vacuum."""
    op.execute("""
        CREATE UNLOGGED TABLE IF NOT EXISTS archiver_selection (
            run TEXT NOT NULL,
            number BIGINT NOT NULL,
            id TEXT NOT NULL,
            package_id TEXT NOT NULL,
            host TEXT NOT NULL,
            selected_at TIMESTAMPTZ NOT NULL DEFAULT now(),
            PRIMARY KEY (run, number)
        )
    """)
    op.execute("ALTER TABLE archiver_host ADD COLUMN IF NOT EXISTS address TEXT")
    op.execute("ALTER TABLE archiver_host ADD COLUMN IF NOT EXISTS address_at TIMESTAMPTZ")
    op.execute("CREATE INDEX IF NOT EXISTS archiver_host_address_idx ON archiver_host (address)")
    for table in ("archiver_request", "archiver_host"):
        op.execute(f"ALTER TABLE {table} SET ({VACUUM})")


def downgrade() -> None:
    """Remove the table, the columns and the options."""
    op.execute("DROP TABLE IF EXISTS archiver_selection")
    op.execute("ALTER TABLE archiver_host DROP COLUMN IF EXISTS address, DROP COLUMN IF EXISTS address_at")
    names = ", ".join(option.partition(" ")[0] for option in VACUUM.split(", "))
    for table in ("archiver_request", "archiver_host"):
        op.execute(f"ALTER TABLE {table} RESET ({names})")
