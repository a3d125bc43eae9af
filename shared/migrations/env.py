"""Alembic's environment: uses the connection from `migrate`, or the server's address when run by Alembic's own CLI."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from shared.postgres.database import make_plain_engine
from shared.settings import load_settings
from shared.tables import metadata


def _run(connection: Connection) -> None:
    # One transaction each: a revision that builds an index concurrently commits what was before it.
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
    given.commit()
else:
    settings = load_settings()
    with make_plain_engine(settings.listen_database_url or settings.database_url).connect() as own:
        _run(own)
        own.commit()
