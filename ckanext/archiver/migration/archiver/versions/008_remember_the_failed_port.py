"""Record which port of a host did not answer; drop the time at which its breaker opened, which nothing reads

Revision ID: archiver_008
Revises: archiver_007
Create Date: 2026-11-24 07:00:00
"""

from __future__ import annotations

from alembic import op

revision = "archiver_008"
down_revision = "archiver_007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add one column, drop the other."""
    op.execute("ALTER TABLE archiver_host ADD COLUMN IF NOT EXISTS failed_port INTEGER")
    op.execute("ALTER TABLE archiver_host DROP COLUMN IF EXISTS opened_at")


def downgrade() -> None:
    """Restore the columns of 007."""
    op.execute("ALTER TABLE archiver_host DROP COLUMN IF EXISTS failed_port")
    op.execute("ALTER TABLE archiver_host ADD COLUMN IF NOT EXISTS opened_at TIMESTAMPTZ")
