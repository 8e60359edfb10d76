"""Note since when resources with a copy are deleted

Revision ID: archiver_070
Revises: archiver_060
Create Date: 2026-11-26 14:40:00
"""

from __future__ import annotations

from ckanext.archiver.migration.archiver import online

revision = "archiver_070"
down_revision = "archiver_060"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column, and an index for the few rows that use it."""
    online.alter("ALTER TABLE archival ADD COLUMN IF NOT EXISTS deleted_since TIMESTAMP")
    online.create_index("archival_deleted_idx", "archival (deleted_since) WHERE deleted_since IS NOT NULL")


def downgrade() -> None:
    """Copies of deleted resources stay until they are orphans."""
    # The index goes with it.
    online.alter("ALTER TABLE archival DROP COLUMN IF EXISTS deleted_since")
