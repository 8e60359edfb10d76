"""Create the table of the workers' counters

Revision ID: archiver_050
Revises: archiver_030
Create Date: 2026-11-26 10:45:00
"""

from __future__ import annotations

from alembic import op

revision = "archiver_050"
down_revision = "archiver_030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE IF NOT EXISTS archiver_counter (
            name TEXT NOT NULL, labels TEXT NOT NULL, value DOUBLE PRECISION NOT NULL, PRIMARY KEY (name, labels)
        ) WITH (fillfactor = 50)
    """)


def downgrade() -> None:
    op.execute("DROP TABLE IF EXISTS archiver_counter")
