"""Let the index of messages by queue serve its own statements only

Revision ID: archiver_080
Revises: archiver_070
Create Date: 2026-11-26 19:12:00

While another session holds a transaction open, the index has an entry for each message since, and statistics count the
live ones. So the planner read all of it to find the messages of one host.
"""

from __future__ import annotations

from ckanext.archiver.migration.archiver.online import create_index, drop_index

revision = "archiver_080"
down_revision = "archiver_070"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the new index, then drop the old one."""
    condition = "sent_until IS NOT NULL AND attempts >= 0"
    create_index("archiver_request_window_idx", f"archiver_request (queue, sent_until) WHERE {condition}")
    drop_index("archiver_request_room_idx")


def downgrade() -> None:
    """Make the old index again."""
    create_index("archiver_request_room_idx", "archiver_request (queue, sent_until) WHERE sent_until IS NOT NULL")
    drop_index("archiver_request_window_idx")
