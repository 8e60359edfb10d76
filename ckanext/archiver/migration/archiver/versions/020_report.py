"""Give the Broken Links report what it filters and sorts by, and its own tables

Revision ID: archiver_020
Revises: archiver_010
Create Date: 2026-11-26 00:00:00
"""

from __future__ import annotations

from alembic import op

from ckanext.archiver.migration.archiver import online

revision = "archiver_020"
down_revision = "archiver_010"
branch_labels = None
depends_on = None

HOST = r"""
    left(coalesce(rtrim(substring(lower({url}) from
    '^\s*[a-z][a-z0-9+.-]*:[/\\]*(?:[^/?#\\]*@)?(\[[^]/?#]*\]|[^]:/?#\\\s[]*)(?=[:/?#\\]|\s*$)'), '.'), ''), 255)
"""
TRIGGER = f"""
    CREATE OR REPLACE FUNCTION archival_host() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.host := {HOST.format(url="NEW.source_url")}; RETURN NEW; END
    $$
"""

TABLES = {
    "archiver_link_count": """
        organization_id TEXT NOT NULL,
        day DATE NOT NULL,
        verdict TEXT NOT NULL,
        cause TEXT NOT NULL,
        links INTEGER NOT NULL,
        datasets INTEGER NOT NULL,
        PRIMARY KEY (organization_id, day, verdict, cause)
    """,
    "archiver_snooze": """
        resource_id TEXT PRIMARY KEY,
        until DATE NOT NULL,
        reason TEXT NOT NULL,
        user_id TEXT NOT NULL,
        created_at TIMESTAMPTZ NOT NULL DEFAULT now()
    """,
    "archiver_action": """
        id BIGSERIAL PRIMARY KEY,
        at TIMESTAMPTZ NOT NULL DEFAULT now(),
        user_id TEXT NOT NULL,
        user_name TEXT NOT NULL,
        kind TEXT NOT NULL,
        selection JSONB NOT NULL DEFAULT '{}',
        note TEXT NOT NULL DEFAULT '',
        links INTEGER NOT NULL
    """,
    "archiver_action_link": """
        action_id BIGINT NOT NULL REFERENCES archiver_action (id) ON DELETE CASCADE,
        resource_id TEXT NOT NULL,
        old_url TEXT,
        new_url TEXT,
        undone_at TIMESTAMPTZ,
        PRIMARY KEY (action_id, resource_id)
    """,
}

INDEXES = {
    "archival_broken_idx": "archival (broken_since NULLS FIRST, resource_id) WHERE is_broken",
    "archival_failing_idx": "archival (failing_since NULLS FIRST, resource_id) WHERE verdict = 'failing'",
    "archival_moved_idx": "archival (resource_id) WHERE permanent_url IS NOT NULL",
    "archival_repaired_idx": "archival (repaired_at) WHERE repaired_at IS NOT NULL",
    "archival_host_idx": "archival (host, resource_id)",
    "archiver_link_count_day_idx": "archiver_link_count (day)",
    "archiver_action_at_idx": "archiver_action (at)",
    "archiver_action_link_resource_idx": "archiver_action_link (resource_id)",
}


def upgrade() -> None:
    """Add the columns, tables and indexes that are missing. At 1,000,000 rows about a minute.

    A trigger sets the host, so that it is right whichever code writes the row.
    """
    online.alter(
        "ALTER TABLE archival ADD COLUMN IF NOT EXISTS repaired_at TIMESTAMP",
        "ALTER TABLE archival ADD COLUMN IF NOT EXISTS permanent_seen INTEGER",
        "ALTER TABLE archival ADD COLUMN IF NOT EXISTS host TEXT",
        TRIGGER,
        "DROP TRIGGER IF EXISTS archival_host ON archival",
        "CREATE TRIGGER archival_host BEFORE INSERT OR UPDATE OF source_url ON archival "
        "FOR EACH ROW EXECUTE FUNCTION archival_host()",
    )
    host = HOST.format(url="a.source_url").replace(":", r"\:")
    online.fill(f"host = {host}", "a.host IS NULL")
    for name, columns in TABLES.items():
        op.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
    for name, what in INDEXES.items():
        online.create_index(name, what)


def downgrade() -> None:
    """Remove them: the daily counts, what is snoozed, and the record of what was done."""
    for name in INDEXES:
        op.execute(f"DROP INDEX IF EXISTS {name}")
    for name in reversed(TABLES):
        op.execute(f"DROP TABLE IF EXISTS {name}")
    op.execute("DROP TRIGGER IF EXISTS archival_host ON archival")
    op.execute("DROP FUNCTION IF EXISTS archival_host")
    for column in ("host", "permanent_seen", "repaired_at"):
        op.execute(f"ALTER TABLE archival DROP COLUMN IF EXISTS {column}")
