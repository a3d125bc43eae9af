"""The Postgres server that is backed up or restored to: its addresses, its version and a snapshot of its data.

Connections are plain psycopg2, without the product's short timeouts: counting or indexing a large table takes long.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import parse_dsn

from deploy.backup.problem import BackupProblem
from shared.postgres import hosts
from shared.postgres.urls import libpq_url, with_database

MAINTENANCE = "postgres"
_SESSION = "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c lock_timeout=30000 -c timezone=UTC"
_COUNTED = """
    SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
     WHERE nspname = 'public' AND relkind = 'r' ORDER BY relname
"""


@dataclass(frozen=True, slots=True)
class Server:
    """One server, given by the URL of Naru's database on it."""

    url: str

    @property
    def database(self) -> str:
        """The name of Naru's database."""
        return str(parse_dsn(libpq_url(self.url)).get("dbname", ""))

    def url_of(self, database: str) -> str:
        """Return the address of another database on the same server."""
        return libpq_url(with_database(self.url, database))

    @contextmanager
    def connected(self, database: str = "", *, autocommit: bool = True) -> Iterator[Any]:
        """Connect for the length of the block. Raises BackupProblem if the server cannot be reached."""
        url = self.url_of(database) if database else self.url
        try:
            connection = hosts.connect(
                url, connect_timeout=10, options=_SESSION, application_name="naru-backup", keepalives_idle=30
            )
        except psycopg2.Error as error:
            raise BackupProblem(f"Postgres cannot be reached: {reason_of(error)}") from None
        connection.autocommit = autocommit
        try:
            yield connection
        finally:
            connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The contents of a database at one moment, and the snapshot id by which pg_dump sees the same moment."""

    id: str
    tables: dict[str, int]
    schema: str
    postgres: str

    @property
    def postgres_major(self) -> int:
        """The major version of the server."""
        return int(self.postgres.partition(".")[0])


@contextmanager
def inventory(server: Server) -> Iterator[Inventory]:
    """Take a snapshot, which lasts for the length of the block."""
    with server.connected(autocommit=False) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            tables = counts(cursor)
            if "alembic_version" not in tables:
                raise BackupProblem(f"the database {server.database} holds no tables of Naru. Check DATABASE_URL.")
            yield Inventory(
                id=str(one(cursor, "SELECT pg_export_snapshot()")),
                tables=tables,
                schema=schema_of(cursor),
                postgres=str(one(cursor, "SHOW server_version")).split()[0],
            )


def counts(cursor: Any) -> dict[str, int]:
    """Return the number of rows of every table."""
    cursor.execute(_COUNTED)
    names = [row[0] for row in cursor.fetchall()]
    return {name: one(cursor, sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(name))) for name in names}


def schema_of(cursor: Any) -> str:
    """Return the newest migration of the database."""
    return str(one(cursor, "SELECT version_num FROM alembic_version"))


def one(cursor: Any, question: str | sql.Composable, *values: object) -> Any:
    """Return the first column of the first row; None if there is no row."""
    cursor.execute(question, values or None)
    row = cursor.fetchone()
    return None if row is None else row[0]


def reason_of(error: psycopg2.Error) -> str:
    """Return the first line of the error. The lines after it may quote a row."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
