"""Alembic's environment: how CKAN runs our migrations.

It differs from what `ckan generate migration` writes:

* Our tables are those of the model, not those with a prefix: ``archival`` does not start with ``archiver``.
* Each migration runs in a transaction of its own, so that the short ones that lock ``archival`` do not keep it
  locked while the long one fills it.
* The logging of the calling process is not reconfigured.
* One process at a time: where several containers start together, the others wait and then find nothing to do.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context
from alembic.util.exc import CommandError
from sqlalchemy import engine_from_config, pool

from ckanext.archiver import model

ONE_AT_A_TIME = 0x6172_636D  # "arcm"

config = context.config
OURS = {table.name for table in model.TABLES}


def include_object(object: Any, name: str | None, type_: str, reflected: bool, compare_to: Any) -> bool:
    """Whether a comparison of the database with the model considers an object."""
    table = object if type_ == "table" else getattr(object, "table", None)
    return table is None or table.name in OURS


def run_migrations() -> None:
    """Run the migrations on a connection of our own."""
    engine = engine_from_config(
        config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.", poolclass=pool.NullPool
    )
    # The lock has a connection of its own, because it outlasts each migration's transaction; and a transaction of its
    # own, because behind PgBouncer (transaction mode) the lock of a session would outlast this process.
    with engine.begin() as lock, engine.connect() as connection:
        lock.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        lock.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": ONE_AT_A_TIME})
        context.configure(
            connection=connection,
            target_metadata=model.Archival.metadata,
            version_table="archiver_alembic_version",
            include_object=include_object,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    raise CommandError("These migrations read the database, so they cannot be written out as SQL.")
run_migrations()
