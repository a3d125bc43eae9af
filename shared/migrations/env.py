"""Alembic's environment: runs on the connection it is given, or on DATABASE_URL when called by Alembic's own CLI."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from shared.postgres.database import driver_url
from shared.settings import load_settings
from shared.tables import metadata


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
    given.commit()
else:
    with create_engine(driver_url(load_settings().database_url), poolclass=NullPool).connect() as own:
        _run(own)
        own.commit()
