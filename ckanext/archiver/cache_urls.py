"""The public URLs of copies follow ``cache_url_root`` and ``ckan.site_url``, without a download."""

from __future__ import annotations

import json
import logging

from ckanext.archiver import compat, config
from ckanext.archiver.queue import sql

log = logging.getLogger(__name__)

BATCH = 10_000

# As urllib.parse.quote() does it.
_QUOTED_NAME = r"""
    (SELECT string_agg(CASE WHEN c ~ '^[A-Za-z0-9_.~-]$' THEN c
            ELSE regexp_replace(upper(encode(convert_to(c, 'UTF8'), 'hex')), '(..)', '%\1', 'g') END, ''
            ORDER BY number)
     FROM regexp_split_to_table(substring(a.cache_filepath from '[^/]*$'), '') WITH ORDINALITY AS t (c, number))
"""
_TAIL = "left(a.resource_id, 2) || '/' || a.resource_id || '/'"
_UPDATE = f"""
    WITH batch AS MATERIALIZED (
        SELECT a.resource_id, CASE WHEN :root <> '' THEN :root || '/' || {_TAIL} || {_QUOTED_NAME}
            ELSE :site || '/dataset/' || a.package_id || '/resource/' || a.resource_id || '/cached' END AS url
        FROM archival a
        WHERE a.resource_id > :last AND position('/' || {_TAIL} in a.cache_filepath) > 0
        ORDER BY a.resource_id LIMIT :batch
    ), updated AS (
        UPDATE archival a SET cache_url = batch.url FROM batch
        WHERE a.resource_id = batch.resource_id AND a.cache_url IS DISTINCT FROM batch.url RETURNING 1
    )
    SELECT (SELECT max(resource_id) FROM batch) AS last, (SELECT count(*) FROM updated) AS updated
"""  # noqa: S608 - constants only

_KNOWN = "SELECT value FROM archiver_state WHERE key = 'cache_urls'"
# The root before stays on record: the web server may go on serving it.
_NOTE = """
    INSERT INTO archiver_state AS s (key, value) VALUES ('cache_urls', CAST(:base AS jsonb))
    ON CONFLICT (key) DO UPDATE SET updated_at = now(), value = EXCLUDED.value || jsonb_build_object('root_before',
        coalesce(nullif(s.value->>'root', EXCLUDED.value->>'root'), s.value->>'root_before'))
"""


def follow_options() -> int:
    """Rewrite the URLs of all copies where the options that they are made of have changed; each batch is a transaction.

    :returns: how many have changed
    """
    root, site = config.cache_url_root() or "", config.site_url()
    base = {"root": root, "site": site}
    with sql.transaction():
        known = sql.run(_KNOWN).scalar()
    before = compat.parsed_json(known) or {}
    if base.items() <= before.items():
        return 0
    count = 0
    last: str | None = ""
    while last is not None:
        with sql.transaction():
            row = sql.run(_UPDATE, root=root, site=site, last=last, batch=BATCH).one()
        count, last = count + row.updated, row.last
    with sql.transaction():
        sql.run(_NOTE, base=json.dumps(base))
    if count:
        log.info("The URLs of %s copies follow a changed option", count)
    return count
