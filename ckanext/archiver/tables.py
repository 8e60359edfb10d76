"""Whether this extension's tables are there. The plugin may be enabled before they are made, or before those of an
older release were brought up to date: edits and pages of datasets go on without it then."""

from __future__ import annotations

import logging
import sys
import time
import uuid
from typing import Any

import ckan.plugins.toolkit as tk
import sqlalchemy as sa
from ckan import model

from ckanext.archiver.model import TABLES

log = logging.getLogger(__name__)

LOOK_SECONDS = 5
"""Seconds between two looks for tables that are missing."""

MAKES_TABLES = {"db", "archiver", "celeryd2"}
"""Commands of ``ckan`` that make the tables, or say themselves that they are missing."""

_found = False
_next_look = float("-inf")


def exist() -> bool:
    """Whether the tables of this release are there. Once they are, nothing is asked any more."""
    global _found, _next_look
    if not _found and time.monotonic() >= _next_look:
        missing = _what_is_missing()
        if missing is None:
            return True  # it is not known, and what needs them will say so
        _found = not missing
        if missing:
            if _next_look == float("-inf") and MAKES_TABLES.isdisjoint(sys.argv):
                log.error(
                    "The archiver's tables are missing, or are those of an older release (%s): no link is archived, "
                    "and pages say nothing about links. Bring them up to date: ckan db upgrade -p archiver",
                    missing,
                )
            _next_look = time.monotonic() + LOOK_SECONDS
    return _found


def refuse_without() -> None:
    """Answer 503 without the tables; to be called before each request of pages that need them."""
    if not exist():
        tk.abort(503, tk._("The report is not available: an operator has to bring the archiver's tables up to date."))


_PORTAL = """
    INSERT INTO archiver_state (key, value) VALUES ('portal', to_jsonb(CAST(:id AS text))) ON CONFLICT DO NOTHING
"""
_PORTAL_ID = "SELECT value #>> '{}' FROM archiver_state WHERE key = 'portal'"


def portal_id(connection: Any) -> str:
    """What tells this portal from others: made at the first call, in the transaction of a connection."""
    connection.execute(sa.text(_PORTAL), {"id": uuid.uuid4().hex})
    return str(connection.execute(sa.text(_PORTAL_ID)).scalar())


def _what_is_missing() -> str | None:
    """What the database says is missing; empty where nothing is, None where the database does not answer."""
    try:
        # Not the caller's connection: an error would end its transaction.
        with model.meta.engine.connect() as connection:
            for table in TABLES:
                connection.execute(sa.select(*table.columns).limit(0))
    except sa.exc.ProgrammingError as e:
        return str(e.orig).splitlines()[0]
    except sa.exc.SQLAlchemyError as e:
        log.debug("The tables could not be looked at: %s", e)
        return None
    return ""
