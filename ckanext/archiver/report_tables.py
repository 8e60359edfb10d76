"""The tables of the Broken Links report: daily counts, snoozed links, and what was done from its pages."""

from __future__ import annotations

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from ckanext.archiver import links

WHOLE_PORTAL = "*"
"""Stands for all organizations together in ``archiver_link_count.organization_id``. The datasets without an
organization have the empty text there."""


HOST_TRIGGER = f"""
    CREATE OR REPLACE FUNCTION archival_host() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.host := {links.host_sql("NEW.source_url")}; RETURN NEW; END
    $$;
    DROP TRIGGER IF EXISTS archival_host ON archival;
    CREATE TRIGGER archival_host BEFORE INSERT OR UPDATE OF source_url ON archival
        FOR EACH ROW EXECUTE FUNCTION archival_host()
"""
"""Sets ``archival.host``, so that it is right whichever code writes the row. (A generated column would do the same, but
cannot be added without writing the table anew, in which time it cannot even be read.)"""


def archival_indexes() -> list[sa.Index]:
    """What the report's lists are sorted and searched by."""
    return [
        sa.Index("archival_host_idx", "host", "resource_id"),
        sa.Index("archival_moved_idx", "resource_id", postgresql_where=sa.text("permanent_url IS NOT NULL")),
        sa.Index("archival_repaired_idx", "repaired_at", postgresql_where=sa.text("repaired_at IS NOT NULL")),
        sa.Index(
            "archival_broken_idx",
            sa.text("broken_since NULLS FIRST"),
            "resource_id",
            postgresql_where=sa.text("is_broken"),
        ),
        sa.Index(
            "archival_failing_idx",
            sa.text("failing_since NULLS FIRST"),
            "resource_id",
            postgresql_where=sa.text("verdict = 'failing'"),
        ),
    ]


class ArchiverLinkCount(tk.BaseModel):
    """How many links of public datasets were in each state on a day, and why. Today's rows are the current state."""

    __tablename__ = "archiver_link_count"

    organization_id = sa.Column(sa.UnicodeText, primary_key=True)
    day = sa.Column(sa.Date, primary_key=True)
    """In UTC."""
    verdict = sa.Column(sa.UnicodeText, primary_key=True)
    """A verdict, or "snoozed", or "none" for links that were never checked, or "no-link"."""
    cause = sa.Column(sa.UnicodeText, primary_key=True)
    links = sa.Column(sa.Integer, nullable=False)
    datasets = sa.Column(sa.Integer, nullable=False)
    """Datasets whose worst link is in this state: each dataset is counted once a day and organization."""

    __table_args__ = (sa.Index("archiver_link_count_day_idx", "day"),)


class ArchiverSnooze(tk.BaseModel):
    """A link that is left alone until a date: shown as such, and not counted as broken."""

    __tablename__ = "archiver_snooze"

    resource_id = sa.Column(sa.UnicodeText, primary_key=True)
    until = sa.Column(sa.Date, nullable=False)
    """The first day, in UTC, on which it counts again."""
    reason = sa.Column(sa.UnicodeText, nullable=False)
    user_id = sa.Column(sa.UnicodeText, nullable=False)
    created_at = sa.Column(sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


class ArchiverAction(tk.BaseModel):
    """Something that a person did to links from the report: who, when, what."""

    __tablename__ = "archiver_action"

    id = sa.Column(sa.BigInteger, primary_key=True)
    at = sa.Column(sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
    user_id = sa.Column(sa.UnicodeText, nullable=False)
    user_name = sa.Column(sa.UnicodeText, nullable=False)
    kind = sa.Column(sa.UnicodeText, nullable=False)
    """"check", "redirect", "replace", "snooze", "wake" or "undo"."""
    selection = sa.Column(JSONB, nullable=False, server_default="{}")
    """The filter that selected the links, as the list page's parameters; empty for single links."""
    note = sa.Column(sa.UnicodeText, nullable=False, server_default="")
    links = sa.Column(sa.Integer, nullable=False)

    __table_args__ = (sa.Index("archiver_action_at_idx", "at"),)


class ArchiverActionLink(tk.BaseModel):
    """A link that an action was about, and the URLs before and after it where it changed them."""

    __tablename__ = "archiver_action_link"

    action_id = sa.Column(
        sa.BigInteger, sa.ForeignKey("archiver_action.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    resource_id = sa.Column(sa.UnicodeText, primary_key=True)
    old_url = sa.Column(sa.UnicodeText)
    new_url = sa.Column(sa.UnicodeText)
    undone_at = sa.Column(sa.DateTime(timezone=True))

    __table_args__ = (sa.Index("archiver_action_link_resource_idx", "resource_id"),)


CLASSES = (ArchiverLinkCount, ArchiverSnooze, ArchiverAction, ArchiverActionLink)
