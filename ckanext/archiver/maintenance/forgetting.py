"""Forget links, or cached copies: the rows go, the files stay."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from ckan import model

from ckanext.archiver.worst_link import WITHOUT_COPY_SQL

BATCH = 10_000


def clean_status() -> int:
    """Forget the state and history of all links, in a transaction of its own; the files stay.

    :returns: the number of links
    """
    session = model.Session
    count = session.execute(sa.text("DELETE FROM archival")).rowcount
    # Not deleted: the difference from indexed_facet is what makes the search index forget as well.
    session.execute(sa.text("UPDATE archiver_dataset SET facet = NULL"))
    # The longest table. It is locked until the commit, so it comes last.
    session.execute(sa.text("TRUNCATE archival_check"))
    session.commit()
    return int(count)


def count_cached() -> int:
    """The number of archivals with a copy."""
    value = model.Session.execute(
        sa.text("SELECT count(*) FROM archival WHERE cache_url <> '' OR cache_filepath <> ''")
    ).scalar()
    model.Session.rollback()
    return int(value or 0)


def clean_cached_resources() -> Iterator[int]:
    """Forget the copies, but not the verdicts; the files stay. Commits each batch and yields its size."""
    last = ""
    while True:
        count, last = model.Session.execute(
            sa.text(
                """
                WITH batch AS (
                    SELECT id FROM archival WHERE id > :last AND (cache_url <> '' OR cache_filepath <> '')
                    ORDER BY id LIMIT :batch
                ), done AS (
                    UPDATE archival SET cache_url = NULL, cache_filepath = NULL, size = NULL, mimetype = NULL,
                        hash = NULL, sha256 = NULL, etag = NULL, last_modified = NULL, cached_at = NULL
                    WHERE id IN (SELECT id FROM batch)
                )
                SELECT count(*), max(id) FROM batch
                """
            ),
            {"last": last, "batch": BATCH},
        ).one()
        model.Session.commit()
        if not count:
            model.Session.execute(sa.text(WITHOUT_COPY_SQL))
            model.Session.commit()
            return
        yield int(count)
