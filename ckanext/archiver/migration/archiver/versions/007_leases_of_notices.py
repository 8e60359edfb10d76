"""Give notices a lease, and count our own faults apart from failed tries

Revision ID: archiver_007
Revises: archiver_006
Create Date: 2026-11-23 16:00:00
"""

from __future__ import annotations

from alembic import op

revision = "archiver_007"
down_revision = "archiver_006"
branch_labels = None
depends_on = None

COLUMNS = {
    "archiver_request": ("holds INTEGER NOT NULL DEFAULT 0",),
    "archiver_notice": ("lease_token TEXT", "leased_by TEXT", "attempts INTEGER NOT NULL DEFAULT 0"),
}
INDEXES = {
    "archiver_notice_lease_idx": "archiver_notice (lease_token)",
}


def upgrade() -> None:
    """Add the columns that are missing."""
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column}")
    for name, what in INDEXES.items():
        op.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {what}")


def downgrade() -> None:
    """Drop them."""
    for name in INDEXES:
        op.execute(f"DROP INDEX IF EXISTS {name}")
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} DROP COLUMN IF EXISTS {column.split()[0]}")
