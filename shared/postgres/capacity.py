"""The number of connections that Postgres still gives us, checked at start: running out shows only under load."""

from __future__ import annotations

import logging

from sqlalchemy import Engine, text

from shared.errors import NaruError
from shared.postgres.database import statement
from shared.settings import Settings

log = logging.getLogger(__name__)

#: Free connections by the tightest of three limits: the server's, the database's and the role's. Without the privilege
#: to see other roles' sessions, `backend_type` is null, so sessions count by their database.
FREE_CONNECTIONS = """
    SELECT least(
        cast(current_setting('max_connections') AS int)
            - cast(current_setting('superuser_reserved_connections') AS int)
            - cast(coalesce(current_setting('reserved_connections', true), '0') AS int) - count(*),
        (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())
            - count(*) FILTER (WHERE datname = current_database()),
        (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)
            - count(*) FILTER (WHERE usename = current_user)
    ) FROM pg_stat_activity WHERE datname IS NOT NULL
"""


def warn_of_few_connections(engine: Engine, settings: Settings) -> None:
    """Log a warning if this process may need more connections than are free. Does nothing while Postgres is away.

    Behind a pooler the number of its clients says nothing about Postgres.
    """
    if settings.listen_database_url:
        return
    try:
        with statement(engine) as connection:
            free = connection.execute(text(FREE_CONNECTIONS)).scalar_one()
    except NaruError:
        return
    most = settings.database_pool + 1  # and the one that listens
    if free < most:
        log.warning(
            "Postgres has few connections left: raise its limit, lower NARU_DATABASE_POOL, or run fewer processes",
            extra={"free_connections": free, "connections_of_this_process": most},
        )
