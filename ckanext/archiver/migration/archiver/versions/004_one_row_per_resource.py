"""Keep one row per resource

Revision ID: archiver_004
Revises: archiver_003
Create Date: 2026-11-23 15:00:00
"""

from __future__ import annotations

from alembic import op

from ckanext.archiver.migration.archiver import online

revision = "archiver_004"
down_revision = "archiver_003"
branch_labels = None
depends_on = None


_DUPLICATES = """
    DELETE FROM archival USING (
        SELECT id, row_number() OVER (
            PARTITION BY resource_id
            ORDER BY COALESCE(updated, created) DESC NULLS LAST, created DESC NULLS LAST, id
        ) AS place
        FROM archival
    ) AS ranked
    WHERE ranked.id = archival.id AND ranked.place > 1
"""
_USE_INDEX = """
    DO $$ BEGIN
        IF NOT EXISTS (
            SELECT FROM pg_constraint WHERE conrelid = 'archival'::regclass AND conname = 'archival_resource_id_key'
        ) THEN
            ALTER TABLE archival
                ADD CONSTRAINT archival_resource_id_key UNIQUE USING INDEX archival_resource_id_key;
        END IF;
    END $$
"""


def upgrade() -> None:
    """Remove all but the newest row of each resource, and add a unique constraint.

    Two workers of 2.x that archived a new resource at the same time left two rows. Where one does so after the
    duplicates were removed, the index fails, and the upgrade can be repeated.
    """
    op.execute(_DUPLICATES)
    online.create_index("archival_resource_id_key", "archival (resource_id)", unique=True)
    online.alter(
        _USE_INDEX,
        "DROP INDEX IF EXISTS ix_archival_resource_id",
        "ALTER TABLE archival DROP COLUMN IF EXISTS of_2x",
    )


def downgrade() -> None:
    """Allow several rows per resource again."""
    op.execute("ALTER TABLE archival DROP CONSTRAINT IF EXISTS archival_resource_id_key")
    op.execute("CREATE INDEX IF NOT EXISTS ix_archival_resource_id ON archival (resource_id)")
