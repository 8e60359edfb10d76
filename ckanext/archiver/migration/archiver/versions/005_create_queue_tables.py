"""Create the tables of the queue, the hosts, the workers and the history

Revision ID: archiver_005
Revises: archiver_004
Create Date: 2026-11-23 15:00:00
"""

from __future__ import annotations

from alembic import op

revision = "archiver_005"
down_revision = "archiver_004"
branch_labels = None
depends_on = None

TABLES = {
    "archival_check": """
        id BIGSERIAL PRIMARY KEY,
        resource_id TEXT NOT NULL,
        checked_at TIMESTAMP NOT NULL,
        verdict TEXT NOT NULL,
        cause TEXT NOT NULL,
        detail TEXT,
        http_status INTEGER,
        size BIGINT,
        seconds DOUBLE PRECISION
    """,
    "archiver_request": """
        resource_id TEXT PRIMARY KEY,
        package_id TEXT NOT NULL,
        queue TEXT NOT NULL,
        host TEXT NOT NULL,
        reason TEXT NOT NULL,
        requested_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        not_before TIMESTAMPTZ NOT NULL DEFAULT now(),
        attempts INTEGER NOT NULL DEFAULT 0,
        deaths INTEGER NOT NULL DEFAULT 0,
        again BOOLEAN NOT NULL DEFAULT false,
        sent_until TIMESTAMPTZ,
        lease_token TEXT,
        leased_by TEXT,
        leased_until TIMESTAMPTZ
    """,
    "archiver_host": """
        host TEXT PRIMARY KEY,
        next_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        network_failures INTEGER NOT NULL DEFAULT 0,
        open_until TIMESTAMPTZ,
        opened INTEGER NOT NULL DEFAULT 0,
        failing_since TIMESTAMPTZ,
        hints JSONB NOT NULL DEFAULT '{}',
        last_checked_at TIMESTAMPTZ,
        last_failed BOOLEAN NOT NULL DEFAULT false
    """,
    "archiver_notice": """
        id BIGSERIAL PRIMARY KEY,
        operation TEXT NOT NULL,
        package_id TEXT,
        resource_id TEXT,
        queue TEXT,
        cache_filepath TEXT,
        created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        leased_until TIMESTAMPTZ
    """,
    "archiver_dataset": """
        package_id TEXT PRIMARY KEY,
        facet TEXT,
        indexed_facet TEXT
    """,
    "archiver_worker": """
        worker_id TEXT PRIMARY KEY,
        hostname TEXT NOT NULL,
        pid INTEGER NOT NULL,
        queues TEXT NOT NULL,
        started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        seen_at TIMESTAMPTZ NOT NULL DEFAULT now()
    """,
    "archiver_state": """
        key TEXT PRIMARY KEY,
        value JSONB NOT NULL,
        updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
    """,
}

INDEXES = {
    "archival_check_resource_idx": "archival_check (resource_id, checked_at)",
    "archival_check_time_idx": "archival_check (checked_at)",
    "ix_archiver_request_package_id": "archiver_request (package_id)",
    "archiver_request_due_idx": "archiver_request (queue, host, not_before)",
    "archiver_request_sent_idx": "archiver_request (sent_until) WHERE sent_until IS NOT NULL",
    "archiver_request_lease_idx": "archiver_request (host, leased_until) WHERE lease_token IS NOT NULL",
    "archiver_host_next_idx": "archiver_host (next_at)",
    "archiver_dataset_stale_idx": "archiver_dataset (package_id) WHERE facet IS DISTINCT FROM indexed_facet",
}


def upgrade() -> None:
    """Create the missing tables. Locks no table that is in use."""
    for name, columns in TABLES.items():
        op.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
    for name, what in INDEXES.items():
        op.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {what}")


def downgrade() -> None:
    """Drop the tables: open requests, the history of checks and what is known of the hosts."""
    for name in reversed(TABLES):
        op.execute(f"DROP TABLE IF EXISTS {name}")
