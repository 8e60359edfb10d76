"""The tables of release 2.x through all migrations, while another session writes to them."""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from portal import parser, report
from sqlalchemy.pool import NullPool

MOST_SECONDS = 120
MOST_BLOCKED = 1.0
WRITE_EVERY = 0.05

TABLES = """
    CREATE TABLE resource (id TEXT PRIMARY KEY, url TEXT, url_type TEXT);
    CREATE TABLE archival (
        id TEXT PRIMARY KEY, package_id TEXT NOT NULL, resource_id TEXT NOT NULL, resource_timestamp TIMESTAMP,
        status_id INTEGER, is_broken BOOLEAN, reason TEXT, url_redirected_to TEXT,
        cache_filepath TEXT, cache_url TEXT, size BIGINT, mimetype TEXT, hash TEXT,
        first_failure TIMESTAMP, last_success TIMESTAMP, failure_count INTEGER, created TIMESTAMP, updated TIMESTAMP
    )
"""
# One in twenty is broken, and one in fifty has a URL without a scheme.
FILL = """
    INSERT INTO resource SELECT 'r' || n,
        CASE WHEN n % 50 = 0 THEN '' ELSE 'http://' END || 'host-' || n % 3000 || '.example/data/' || n || '.csv'
    FROM generate_series(1, :rows) AS n;
    INSERT INTO archival SELECT gen_random_uuid()::text, 'p' || n / 5, 'r' || n, NULL,
        CASE WHEN n % 20 = 0 THEN 11 ELSE 0 END, n % 20 = 0, '', '',
        '/archive/' || n || '/file.csv', 'http://portal.example/' || n || '/file.csv', 10000, 'text/csv', md5(n::text),
        CASE WHEN n % 20 = 0 THEN now() - interval '9 days' END, now() - n * interval '1 second', n % 3,
        now() - interval '1 year', now() - n * interval '1 second'
    FROM generate_series(1, :rows) AS n
"""
INDEXES = """
    CREATE INDEX ix_archival_package_id ON archival (package_id);
    CREATE INDEX ix_archival_resource_id ON archival (resource_id);
    ANALYZE resource; ANALYZE archival
"""


class Writer(threading.Thread):
    """Updates one row every 50 ms, as a page of CKAN might, and notes how long each took."""

    def __init__(self, engine: sa.engine.Engine) -> None:
        super().__init__(daemon=True)
        self.engine, self.seconds, self.ended = engine, [0.0], threading.Event()

    def run(self) -> None:
        number = 0
        while not self.ended.wait(WRITE_EVERY):
            number += 7919
            started = time.monotonic()
            with self.engine.begin() as connection:
                connection.execute(
                    sa.text("UPDATE archival SET mimetype = 'text/csv' WHERE resource_id = :id"),
                    {"id": f"r{number % 1000 + 1}"},
                )
            self.seconds.append(time.monotonic() - started)


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--rows", type=int, default=1_000_000)
    options = arguments.parse_args()
    schema = f"upgrade_{uuid.uuid4().hex[:8]}"
    plain = sa.engine.make_url(os.environ["CKAN_SQLALCHEMY_URL"])
    home = sa.create_engine(plain, poolclass=NullPool)
    with home.begin() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {schema}"))
    url = plain.set(query={"options": f"-csearch_path={schema}"})
    engine = sa.create_engine(url, poolclass=NullPool)
    try:
        return _measure(engine, url, options.rows, options.json)
    finally:
        with home.begin() as connection:
            connection.execute(sa.text(f"DROP SCHEMA {schema} CASCADE"))


def _measure(engine: sa.engine.Engine, url: sa.engine.URL, rows: int, json: Path | None) -> int:
    with engine.begin() as connection:
        for text in (*TABLES.split(";"), *FILL.split(";"), *INDEXES.split(";")):
            connection.execute(sa.text(text), {"rows": rows} if ":rows" in text else {})
    started = time.monotonic()
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE bare AS SELECT * FROM archival"))
    bare = time.monotonic() - started
    import ckan.cli

    # The migrations import the model, which needs CKAN's configuration.
    from ckan.config.middleware import make_app

    make_app(ckan.cli.load_config(os.environ["CKAN_INI"]))
    from ckanext.archiver import model

    config = Config(str(Path(model.__file__).parent / "migration" / "archiver" / "alembic.ini"))
    config.set_main_option("sqlalchemy.url", url.render_as_string(hide_password=False).replace("%", "%%"))
    writer = Writer(engine)
    writer.start()
    started = time.monotonic()
    command.upgrade(config, "head")
    seconds = time.monotonic() - started
    writer.ended.set()
    writer.join()
    blocked = max(writer.seconds)
    return report(
        f"{rows:,} archivals of release 2.x through all migrations",
        [
            ("a bare copy of the table", bare, "s", "", None),
            ("all migrations", seconds, "s", f"{MOST_SECONDS} or less", seconds <= MOST_SECONDS),
            ("writes of another session", len(writer.seconds), "", "", None),
            ("longest write of another session", blocked, "s", f"{MOST_BLOCKED:g} or less", blocked <= MOST_BLOCKED),
        ],
        json,
    )


if __name__ == "__main__":
    sys.exit(main())
