"""Add the columns that 3.0 needs to archival

Revision ID: archiver_002
Revises: 67818770e95f
Create Date: 2026-11-23 15:00:00
"""

from __future__ import annotations

from alembic import op

from ckanext.archiver.migration.archiver import online

revision = "archiver_002"
down_revision = "67818770e95f"
branch_labels = None
depends_on = None

NEW = {
    "source_url": "TEXT",
    "verdict": "TEXT",
    "cause": "TEXT",
    "detail": "TEXT",
    "facts": "JSONB",
    "not_sure_reason": "TEXT",
    "http_status": "INTEGER",
    "sha256": "TEXT",
    "failing_since": "TIMESTAMP",
    "broken_since": "TIMESTAMP",
    "checked_at": "TIMESTAMP",
    "changed_at": "TIMESTAMP",
    "cached_at": "TIMESTAMP",
    "next_check_at": "TIMESTAMP",
    "permanent_url": "TEXT",
    "certificate_expires": "TIMESTAMP",
}


def upgrade() -> None:
    """Add missing columns; mark the rows of older releases in a column ``of_2x``, which 004 drops.

    The mark makes 003 convert each row once, also when the migration is interrupted and repeated, and excludes the
    rows of a table that 3.0 made. No row is rewritten.
    """
    online.alter(
        """
        DO $$ BEGIN
            IF NOT EXISTS (
                SELECT FROM pg_attribute
                WHERE attrelid = 'archival'::regclass AND attname = 'verdict' AND NOT attisdropped
            ) THEN
                ALTER TABLE archival ADD COLUMN IF NOT EXISTS of_2x BOOLEAN DEFAULT true;
            END IF;
        END $$
        """,
        # The "archiver migrate" of a 2.x release made these two as VARCHAR; the change of type rewrites no row.
        *(f"ALTER TABLE archival ADD COLUMN IF NOT EXISTS {name} TEXT" for name in ("etag", "last_modified")),
        *(f"ALTER TABLE archival ALTER COLUMN {name} TYPE TEXT" for name in ("etag", "last_modified")),
        *(f"ALTER TABLE archival ADD COLUMN IF NOT EXISTS {name} {type_}" for name, type_ in NEW.items()),
    )
    online.create_index("ix_archival_package_id", "archival (package_id)")


def downgrade() -> None:
    """Drop the columns, with what 3.0 knows in them."""
    op.execute("DROP INDEX IF EXISTS archival_next_check_at_idx")
    for name in ("of_2x", *NEW):
        op.execute(f"ALTER TABLE archival DROP COLUMN IF EXISTS {name}")
