"""Record when the dispatcher considers a host next

Revision ID: archiver_006
Revises: archiver_005
Create Date: 2026-11-23 15:50:00
"""

from __future__ import annotations

from alembic import op

revision = "archiver_006"
down_revision = "archiver_005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add three columns and their indexes. Takes a moment on tables of any size.

    The workers find hosts that already have requests within a minute.
    """
    op.execute("ALTER TABLE archiver_host ADD COLUMN IF NOT EXISTS bulk_at TIMESTAMPTZ")
    op.execute("ALTER TABLE archiver_host ADD COLUMN IF NOT EXISTS opened_at TIMESTAMPTZ")
    op.execute("ALTER TABLE archiver_request ADD COLUMN IF NOT EXISTS held TEXT")
    op.execute("DROP INDEX IF EXISTS archiver_host_next_idx")
    op.execute("DROP INDEX IF EXISTS archiver_request_sent_idx")
    op.execute("CREATE INDEX IF NOT EXISTS archiver_host_bulk_idx ON archiver_host (bulk_at) WHERE bulk_at IS NOT NULL")
    op.execute(
        "CREATE INDEX IF NOT EXISTS archiver_request_sent_idx ON archiver_request (host, queue, sent_until) "
        "WHERE sent_until IS NOT NULL"
    )


def downgrade() -> None:
    """Restore the columns and indexes of 005."""
    op.execute("DROP INDEX IF EXISTS archiver_request_sent_idx")
    op.execute("DROP INDEX IF EXISTS archiver_host_bulk_idx")
    op.execute(
        "CREATE INDEX IF NOT EXISTS archiver_request_sent_idx ON archiver_request (sent_until) "
        "WHERE sent_until IS NOT NULL"
    )
    op.execute("CREATE INDEX IF NOT EXISTS archiver_host_next_idx ON archiver_host (next_at)")
    op.execute("ALTER TABLE archiver_request DROP COLUMN IF EXISTS held")
    op.execute("ALTER TABLE archiver_host DROP COLUMN IF EXISTS opened_at")
    op.execute("ALTER TABLE archiver_host DROP COLUMN IF EXISTS bulk_at")
