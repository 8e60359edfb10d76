"""Create the table of what an operator has paused

Revision ID: archiver_060
Revises: archiver_050
Create Date: 2026-11-26 10:40:00
"""

from __future__ import annotations

from alembic import op

revision = "archiver_060"
down_revision = "archiver_050"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute("""
        CREATE TABLE IF NOT EXISTS archiver_pause (
            queue TEXT NOT NULL,
            host TEXT NOT NULL,
            paused_by TEXT NOT NULL,
            reason TEXT NOT NULL DEFAULT '',
            paused_at TIMESTAMPTZ NOT NULL DEFAULT now(),
            PRIMARY KEY (queue, host)
        )
    """)


def downgrade() -> None:
    """Everything goes on."""
    op.execute("DROP TABLE IF EXISTS archiver_pause")
