"""Swaps databases by renaming them. The old one stays beside the new one, and going back is the same swap.

Both renames are one transaction, so Naru's database always exists, even if the process is killed meanwhile. While the
transaction holds the names, nobody can connect and open connections are ended. Web and workers survive that as they
survive a restart of Postgres.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg2
from psycopg2 import sql

from deploy.backup.problem import BackupProblem, Unsure
from deploy.backup.server import MAINTENANCE, Server, one, reason_of

#: Allows one restore at a time on a server. The number is "naru" on a telephone keypad, and 2.
ADVISORY_LOCK = 62782
LONGEST_NAME = 63
END_EVERY_SECONDS = 0.05
#: Settings that hold a list: PostgreSQL stores their values already quoted.
LISTS = {"search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries"}
_EXISTS = "SELECT 1 FROM pg_database WHERE datname = %s"
# Only connections that this user may end: any other would fail the whole statement. PostgreSQL ends vacuum itself.
_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity JOIN pg_roles ON pg_roles.oid = usesysid
     WHERE datname = %s AND pid <> pg_backend_pid()
       AND (pg_has_role(usesysid, 'USAGE') OR NOT rolsuper AND pg_has_role('pg_signal_backend', 'USAGE'))
"""
_LOCALE = "SELECT datcollate, datctype FROM pg_database WHERE datname = %s AND datlocprovider = 'c'"
_CONFIGURED = """
    SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase
     WHERE datname = %s AND setrole = 0
"""
_GRANTS = """
    SELECT privilege_type, CASE WHEN grantee = 0 THEN NULL ELSE pg_get_userbyid(grantee) END, is_grantable
      FROM pg_database, aclexplode(datacl) WHERE datname = %s
"""


def name_of(database: str, kind: str) -> str:
    """Make a database name from a kind and the current time, short enough for PostgreSQL."""
    now = datetime.now(UTC)
    tail = f"_{kind}_{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03}Z"
    return database[: LONGEST_NAME - len(tail)] + tail


def is_ours(name: str, database: str, *kinds: str) -> bool:
    """Return whether `name_of` made this name for this database, not for another Naru's on the same server."""
    tail = re.search(rf"_(?:{'|'.join(kinds)})_\d{{8}}T\d{{9}}Z$", name)
    return tail is not None and name == database[: LONGEST_NAME - len(tail[0])] + tail[0]


@contextmanager
def alone(server: Server) -> Iterator[Any]:
    """Yield a cursor of the maintenance database and keep other restores off this server meanwhile."""
    with server.connected(MAINTENANCE) as connection, connection.cursor() as cursor:
        if not one(cursor, "SELECT pg_try_advisory_lock(%s)", ADVISORY_LOCK):
            raise BackupProblem("another restore is in progress on this server. Wait for it.")
        yield cursor


def beside(cursor: Any, database: str, *kinds: str) -> list[str]:
    """Return the databases of these kinds that belong to `database`, newest first."""
    cursor.execute("SELECT datname FROM pg_database")
    found = [name for (name,) in cursor.fetchall() if is_ours(name, database, *kinds)]
    return sorted(found, key=lambda name: name[-19:], reverse=True)


def create(cursor: Any, name: str, *, like: str) -> None:
    """Create an empty database with the locale of `like`, if that exists."""
    cursor.execute(_LOCALE, (like,))
    row = cursor.fetchone()
    locale = sql.SQL(" LC_COLLATE {} LC_CTYPE {}").format(*map(sql.Literal, row)) if row else sql.SQL("")
    made = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name))
    try:
        cursor.execute(made + locale)
    except psycopg2.errors.InsufficientPrivilege:
        raise BackupProblem("the user of DATABASE_URL may not create databases. Run ALTER ROLE … CREATEDB.") from None


def drop(cursor: Any, name: str) -> None:
    """Drop a database, even if somebody is connected to it."""
    cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def take_over(server: Server, cursor: Any, *, new: str, old_becomes: str) -> bool:
    """Make `new` Naru's database and rename the old one to `old_becomes`. Returns False if there was no old one."""
    database = server.database
    there = one(cursor, _EXISTS, database) is not None
    if there:
        _carry_over(cursor, old=database, new=new)
    done = threading.Event()
    ending = threading.Thread(target=_end_others, args=(server, (database, new), done), name="end-others")
    ending.start()
    try:
        with server.connected(MAINTENANCE, autocommit=False) as connection, connection.cursor() as renaming:
            # Each rename waits up to 5 s for connections to end; meanwhile nobody new can connect.
            if there:
                _rename(renaming, database, old_becomes)
            _rename(renaming, new, database)
            _commit(connection, old_becomes if there else new)
    except psycopg2.errors.ObjectInUse:
        raise BackupProblem(
            f"this user may not end all connections to {database}. End them yourself, then try again."
        ) from None
    except psycopg2.errors.InsufficientPrivilege as error:
        raise BackupProblem(f"the user of DATABASE_URL may not rename the database: {reason_of(error)}") from None
    finally:
        done.set()
        ending.join()
    return there


def _commit(connection: Any, sign: str) -> None:
    try:
        connection.commit()
    except psycopg2.OperationalError:
        raise Unsure(
            "Postgres went away during the swap, which may or may not be done. Either way no data is lost.\n"
            f"      When the server is back, look at the names of its databases (psql -l) for {sign}."
        ) from None


def _rename(cursor: Any, old: str, new: str) -> None:
    cursor.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))


def _end_others(server: Server, databases: tuple[str, ...], done: threading.Event) -> None:
    """Keep ending the connections to `databases`, because a pool opens new ones at once."""
    try:
        with server.connected(MAINTENANCE) as connection, connection.cursor() as cursor:
            while not done.wait(END_EVERY_SECONDS):
                for database in databases:
                    cursor.execute(_OTHERS, (database,))
    except (psycopg2.Error, BackupProblem):
        return  # the rename reports the problem


def _carry_over(cursor: Any, *, old: str, new: str) -> None:
    """Copy what no dump contains: the settings of the database itself, and the rights to connect to it."""
    name = sql.Identifier(new)
    cursor.execute(_CONFIGURED, (old,))
    for (line,) in cursor.fetchall():
        key, _, value = line.partition("=")
        given = sql.SQL(value) if key in LISTS else sql.Literal(value)
        cursor.execute(sql.SQL("ALTER DATABASE {} SET {} TO {}").format(name, sql.Identifier(key), given))
    cursor.execute(_GRANTS, (old,))
    grants = cursor.fetchall()
    if grants:
        cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    for privilege, grantee, grantable in grants:
        to = sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee)
        cursor.execute(
            sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                sql.SQL(privilege), name, to, sql.SQL(" WITH GRANT OPTION" if grantable else "")
            )
        )
