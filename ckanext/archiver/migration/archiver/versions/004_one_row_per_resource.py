"""Keep one row per resource

Revision ID: archiver_004
Revises: archiver_003
Create Date: 2026-11-23 15:00:00
"""

from __future__ import annotations

from alembic import op

revision = "archiver_004"
down_revision = "archiver_003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Remove all but the newest row of each resource, and add a unique constraint.

    Two workers of 2.x that archived a new resource at the same time left two rows. At 1,000,000 rows: under ten
    seconds in which the table can be read but not written, then milliseconds in which it cannot be read either.
    """
    op.execute("LOCK TABLE archival IN SHARE ROW EXCLUSIVE MODE")
    op.execute(
        """
        DELETE FROM archival USING (
            SELECT id, row_number() OVER (
                PARTITION BY resource_id
                ORDER BY COALESCE(updated, created) DESC NULLS LAST, created DESC NULLS LAST, id
            ) AS place
            FROM archival
        ) AS ranked
        WHERE ranked.id = archival.id AND ranked.place > 1
        """
    )
    op.execute(
        """
        DO $$ BEGIN
            IF NOT EXISTS (
                SELECT FROM pg_constraint
                WHERE conrelid = 'archival'::regclass AND conname = 'archival_resource_id_key'
            ) THEN
                CREATE UNIQUE INDEX archival_resource_id_key ON archival (resource_id);
                ALTER TABLE archival
                    ADD CONSTRAINT archival_resource_id_key UNIQUE USING INDEX archival_resource_id_key;
            END IF;
        END $$
        """
    )
    op.execute("DROP INDEX IF EXISTS ix_archival_resource_id")
    op.execute("ALTER TABLE archival DROP COLUMN IF EXISTS of_2x")


def downgrade() -> None:
    """Allow several rows per resource again."""
    op.execute("ALTER TABLE archival DROP CONSTRAINT IF EXISTS archival_resource_id_key")
    op.execute("CREATE INDEX IF NOT EXISTS ix_archival_resource_id ON archival (resource_id)")
