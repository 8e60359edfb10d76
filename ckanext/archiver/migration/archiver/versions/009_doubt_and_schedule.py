"""Record doubtful answers and how long a server asked us to wait; schedule the rows of 2.x; links as CKAN shows them

Revision ID: archiver_009
Revises: archiver_008
Create Date: 2026-11-25 00:10:00
"""

from __future__ import annotations

from alembic import op

from ckanext.archiver.migration.archiver import online

revision = "archiver_009"
down_revision = "archiver_008"
branch_labels = None
depends_on = None

COLUMNS = {
    "archival": ("source_format TEXT", "doubt_detail TEXT", "doubt_since TIMESTAMP", "doubt_count INTEGER"),
    "archiver_host": ("wait_until TIMESTAMPTZ",),
}

# 2.x had no schedule. Over a week, so that the first day of this release does not download everything, the oldest
# first. Only rows of 2.x have no detail.
PLAN = """
    CREATE UNLOGGED TABLE IF NOT EXISTS archiver_plan AS
    SELECT id, percent_rank() OVER (ORDER BY updated NULLS FIRST, id) AS place
    FROM archival WHERE next_check_at IS NULL AND detail IS NULL
"""


def upgrade() -> None:
    """Add the columns, and fill what older rows lack. At 1,000,000 rows of 2.x: about a minute."""
    for table, columns in COLUMNS.items():
        online.alter(*(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column}" for column in columns))
    # CKAN shows a URL without a scheme as http://…, and that is the link. Such rows said "broken" of something else.
    online.fill(
        "source_url = 'http://' || ltrim(r.url, '/'), next_check_at = timezone('utc', now())",
        r"""
        r.id = a.resource_id AND a.source_url = r.url AND btrim(r.url) <> ''
        AND coalesce(to_jsonb(r) ->> 'url_type', '') <> 'upload' AND r.url !~* '^\s*[a-z][a-z0-9+.-]*\:'
        """,
        source="resource r",
    )
    op.execute(PLAN)
    op.execute("CREATE UNIQUE INDEX IF NOT EXISTS archiver_plan_id ON archiver_plan (id)")
    op.execute("ANALYZE archiver_plan")
    # The sentence was empty for a first download, and for some states of 2.x.
    online.fill(
        """
        next_check_at = coalesce(a.next_check_at, timezone('utc', now()) + plan.place * interval '7 days'),
        reason = CASE
            WHEN coalesce(a.reason, '') <> '' OR a.verdict IS NULL THEN a.reason
            WHEN a.verdict = 'ok' THEN 'The file was downloaded.'
            WHEN a.verdict = 'broken' THEN 'The link did not work at its last check.'
            ELSE 'At its last check it could not be determined whether the link works.' END
        """,
        "old.id = a.id AND (plan.place IS NOT NULL OR coalesce(a.reason, '') = '' AND a.verdict IS NOT NULL)",
        source="archival old LEFT JOIN archiver_plan plan ON plan.id = old.id",
    )
    op.execute("DROP TABLE IF EXISTS archiver_plan")
    # After the rows were written, which is faster.
    online.create_index("archival_next_check_at_idx", "archival (next_check_at)")


def downgrade() -> None:
    """Drop the columns. Schedule, links and sentences stay: 008 knows what to do with them."""
    op.execute("DROP INDEX IF EXISTS archival_next_check_at_idx")
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} DROP COLUMN IF EXISTS {column.split()[0]}")
