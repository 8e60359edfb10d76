"""Record doubtful answers and how long a server asked us to wait; schedule the rows of 2.x; links as CKAN shows them

Revision ID: archiver_009
Revises: archiver_008
Create Date: 2026-11-25 00:10:00
"""

from __future__ import annotations

from alembic import op

revision = "archiver_009"
down_revision = "archiver_008"
branch_labels = None
depends_on = None

COLUMNS = {
    "archival": ("source_format TEXT", "doubt_detail TEXT", "doubt_since TIMESTAMP", "doubt_count INTEGER"),
    "archiver_host": ("wait_until TIMESTAMPTZ",),
}

# CKAN shows a URL without a scheme as http://…, and that is the link. Such rows said "broken" of something else.
LINKS = r"""
    UPDATE archival a SET source_url = 'http://' || ltrim(r.url, '/'), next_check_at = timezone('utc', now())
    FROM resource r
    WHERE r.id = a.resource_id AND a.source_url = r.url AND btrim(r.url) <> ''
      AND coalesce(to_jsonb(r) ->> 'url_type', '') <> 'upload' AND r.url !~* '^\s*[a-z][a-z0-9+.-]*:'
"""

# 2.x had no schedule. Over a week, so that the first day of this release does not download everything, the oldest
# first. Only rows of 2.x have no detail.
SCHEDULE = """
    UPDATE archival a SET next_check_at = timezone('utc', now()) + planned.place * interval '7 days'
    FROM (
        SELECT id, percent_rank() OVER (ORDER BY updated NULLS FIRST, id) AS place
        FROM archival WHERE next_check_at IS NULL AND detail IS NULL
    ) AS planned
    WHERE planned.id = a.id
"""

# The sentence was empty for a first download, and for some states of 2.x.
REASONS = """
    UPDATE archival SET reason = CASE verdict
        WHEN 'ok' THEN 'The file was downloaded.'
        WHEN 'broken' THEN 'The link did not work at its last check.'
        ELSE 'At its last check it could not be determined whether the link works.' END
    WHERE coalesce(reason, '') = '' AND verdict IS NOT NULL
"""


def upgrade() -> None:
    """Add the columns, and fill what older rows lack. At 1,000,000 rows of 2.x: about a minute; the table can be read
    in between."""
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column}")
    for statement in (LINKS, SCHEDULE, REASONS):
        op.execute(statement)


def downgrade() -> None:
    """Drop the columns. Schedule, links and sentences stay: 008 knows what to do with them."""
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} DROP COLUMN IF EXISTS {column.split()[0]}")
