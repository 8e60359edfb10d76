"""Create the table archival as releases 2.x made it

Revision ID: 67818770e95f
Revises:
Create Date: 2026-01-09 13:19:51

The revision is the one that late 2.x releases recorded, so a database that has it continues with 002. Most
databases of 2.x have the table without any recorded revision (``archiver init`` made it from the model): for them
this does nothing.
"""

from __future__ import annotations

from alembic import op

revision = "67818770e95f"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table if it is missing. Takes a moment."""
    op.execute(
        """
        CREATE TABLE IF NOT EXISTS archival (
            id TEXT PRIMARY KEY,
            package_id TEXT NOT NULL,
            resource_id TEXT NOT NULL,
            resource_timestamp TIMESTAMP,
            status_id INTEGER,
            is_broken BOOLEAN,
            reason TEXT,
            url_redirected_to TEXT,
            cache_filepath TEXT,
            cache_url TEXT,
            size BIGINT,
            mimetype TEXT,
            hash TEXT,
            etag TEXT,
            last_modified TEXT,
            first_failure TIMESTAMP,
            last_success TIMESTAMP,
            failure_count INTEGER,
            created TIMESTAMP,
            updated TIMESTAMP
        )
        """
    )


def downgrade() -> None:
    """Drop the table, with everything that is known of the links."""
    op.execute("DROP TABLE archival")
