"""Fill the new columns of 2.x's rows, and convert their times to UTC

Revision ID: archiver_003
Revises: archiver_002
Create Date: 2026-11-23 15:00:00

Releases 2.x wrote their times with ``datetime.now()``: naive, in the zone of the machine that ran the worker. The
zone of the machine (or the variable ``TZ``) that runs this migration is assumed to be the same; where they differ, run
it with ``TZ=Europe/Berlin ckan db upgrade -p archiver``. In a portal that runs in UTC no time changes. The hour that
occurs twice in autumn is read as standard time. ``resource_timestamp`` came from CKAN, which has always written UTC.
"""

from __future__ import annotations

import sqlalchemy as sa
import tzlocal
from alembic import op

from ckanext.archiver.migration.archiver import online

revision = "archiver_003"
down_revision = "archiver_002"
branch_labels = None
depends_on = None


_CHANGES = """
    of_2x = false,
    source_url = (SELECT url FROM resource WHERE resource.id = a.resource_id),
    verdict = CASE was.is_broken WHEN true THEN 'broken' WHEN false THEN 'ok' ELSE 'not-sure' END,
    cause = CASE a.status_id
        WHEN 0 THEN 'ok' WHEN 1 THEN 'ok'
        WHEN 10 THEN 'bad-url' WHEN 11 THEN 'unreachable' WHEN 12 THEN 'server-error'
        WHEN 21 THEN 'too-large' WHEN 22 THEN 'own-fault' WHEN 23 THEN 'own-fault'
    END,
    is_broken = was.is_broken,
    failure_count = CASE WHEN was.is_broken THEN GREATEST(a.failure_count, 1) ELSE 0 END,
    first_failure = CASE WHEN was.is_broken THEN was.first_failure END,
    failing_since = CASE WHEN was.is_broken THEN COALESCE(was.first_failure, was.updated) END,
    broken_since = CASE WHEN was.is_broken THEN COALESCE(was.first_failure, was.updated) END,
    created = was.created,
    updated = was.updated,
    checked_at = was.updated,
    last_success = was.last_success,
    cached_at = CASE WHEN a.cache_filepath <> '' THEN was.last_success END
"""
_WAS = """
    LATERAL (
        SELECT old.id,
            COALESCE(old.is_broken, CASE WHEN old.status_id < 10 THEN false WHEN old.status_id < 20 THEN true END)
                AS is_broken,
            old.created AT TIME ZONE :zone AT TIME ZONE 'UTC' AS created,
            old.updated AT TIME ZONE :zone AT TIME ZONE 'UTC' AS updated,
            old.first_failure AT TIME ZONE :zone AT TIME ZONE 'UTC' AS first_failure,
            old.last_success AT TIME ZONE :zone AT TIME ZONE 'UTC' AS last_success
        FROM archival old WHERE old.id = batch.id
    ) AS was
"""


def upgrade() -> None:
    """Fill the rows that 002 has marked. Stop the workers of the old release first: they would go on writing the times
    of their own zone.

    At 1,000,000 rows: about a minute, and about as much additional disk space as the table has, until the next vacuum.

    * ``source_url`` is the resource's current URL, as the best guess at what was last archived. Without it the next
      edit of a title would count as a new link.
    * The verdict is the old release's, until the next check. It counted files that were too large, and its own errors,
      as failures; those counts are dropped, or the next failure of such a link would make it broken at once.
    """
    if _has_mark(op.get_bind()):
        online.fill(_CHANGES, "a.of_2x", source=_WAS, zone=_zone())


def downgrade() -> None:
    """Convert the times back into this machine's zone, and mark every row as one of 2.x."""
    op.execute("ALTER TABLE archival ADD COLUMN IF NOT EXISTS of_2x BOOLEAN DEFAULT true")
    op.get_bind().execute(
        sa.text(
            """
            UPDATE archival SET
                of_2x = true,
                created = created AT TIME ZONE 'UTC' AT TIME ZONE :zone,
                updated = updated AT TIME ZONE 'UTC' AT TIME ZONE :zone,
                first_failure = first_failure AT TIME ZONE 'UTC' AT TIME ZONE :zone,
                last_success = last_success AT TIME ZONE 'UTC' AT TIME ZONE :zone
            """
        ),
        {"zone": _zone()},
    )


def _has_mark(bind: sa.engine.Connection) -> bool:
    return any(column["name"] == "of_2x" for column in sa.inspect(bind).get_columns("archival"))


def _zone() -> str:
    """The IANA name of this machine's time zone, which PostgreSQL knows too.

    :raises RuntimeError: the machine has no zone configured
    """
    name = tzlocal.get_localzone_name()
    if not name:
        raise RuntimeError("This machine has no time zone configured. Name it, as in TZ=Europe/Berlin, and run again.")
    return name
