"""Create the tables of the report: counts by cause and host, by organization, and by day

Revision ID: archiver_011
Revises: archiver_010
Create Date: 2026-11-26 00:10:00
"""

from __future__ import annotations

from alembic import op

revision = "archiver_011"
down_revision = "archiver_010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Three small tables, and an index over the links that do not work, in the order in which the report lists them.

    At 1,000,000 archivals the index takes about a second, in which they cannot be written.
    """
    op.execute(
        """
        CREATE TABLE IF NOT EXISTS archiver_summary (
            organization_id TEXT NOT NULL, verdict TEXT NOT NULL, cause TEXT NOT NULL, host TEXT NOT NULL,
            links INTEGER NOT NULL, datasets INTEGER NOT NULL, since TIMESTAMP,
            PRIMARY KEY (organization_id, verdict, cause, host)
        );
        CREATE TABLE IF NOT EXISTS archiver_summary_organization (
            organization_id TEXT PRIMARY KEY, datasets INTEGER NOT NULL, links INTEGER NOT NULL,
            broken_datasets INTEGER NOT NULL, broken_links INTEGER NOT NULL
        );
        CREATE TABLE IF NOT EXISTS archiver_daily (
            day DATE NOT NULL, organization_id TEXT NOT NULL, verdict TEXT NOT NULL, cause TEXT NOT NULL,
            links INTEGER NOT NULL, PRIMARY KEY (organization_id, day, verdict, cause)
        );
        CREATE INDEX IF NOT EXISTS archival_problem_idx ON archival
            (verdict, coalesce(broken_since, failing_since, checked_at, '-infinity'::timestamp), resource_id)
            WHERE verdict IN ('broken', 'failing', 'not-sure')
        """
    )


def downgrade() -> None:
    """Drop them. The worker counts them again, except the days."""
    op.execute(
        "DROP INDEX archival_problem_idx; DROP TABLE archiver_summary, archiver_summary_organization, archiver_daily"
    )
