"""Databases that take each other's name: the new one comes, the old one stays beside it, and the way back is the same.

Both renamings are one transaction, so there is no moment without Naru's database, also when we are killed in it. While
the transaction holds the names nobody can connect; whoever is connected is ended. Web and workers live through that as
they live through a restart of Postgres.
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

#: "naru" on a telephone's keys and 2: one restore at a time on a server.
ADVISORY_LOCK = 62782
LONGEST_NAME = 63
END_EVERY_SECONDS = 0.05
#: Settings that are lists: PostgreSQL keeps their values quoted already.
LISTS = {"search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries"}
_EXISTS = "SELECT 1 FROM pg_database WHERE datname = %s"
# Only those whom this user may end: one other would fail the statement for all. PostgreSQL ends vacuum by itself.
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
    """A name that says what it is and when it was made, as PostgreSQL can hold it."""
    now = datetime.now(UTC)
    tail = f"_{kind}_{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03}Z"
    return database[: LONGEST_NAME - len(tail)] + tail


def is_ours(name: str, database: str, *kinds: str) -> bool:
    """Whether `name_of` made this name for this very database: another Naru's may stand beside it."""
    tail = re.search(rf"_(?:{'|'.join(kinds)})_\d{{8}}T\d{{9}}Z$", name)
    return tail is not None and name == database[: LONGEST_NAME - len(tail[0])] + tail[0]


@contextmanager
def alone(server: Server) -> Iterator[Any]:
    """A cursor of the maintenance database, while nobody else restores on this server."""
    with server.connected(MAINTENANCE) as connection, connection.cursor() as cursor:
        if not one(cursor, "SELECT pg_try_advisory_lock(%s)", ADVISORY_LOCK):
            raise BackupProblem("another restore is under way on this server: wait for it.")
        yield cursor


def beside(cursor: Any, database: str, *kinds: str) -> list[str]:
    """Databases of these kinds that stand beside `database`, newest first."""
    cursor.execute("SELECT datname FROM pg_database")
    found = [name for (name,) in cursor.fetchall() if is_ours(name, database, *kinds)]
    return sorted(found, key=lambda name: name[-19:], reverse=True)


def create(cursor: Any, name: str, *, like: str) -> None:
    """A new, empty database with the locale of `like`, where that exists."""
    cursor.execute(_LOCALE, (like,))
    row = cursor.fetchone()
    locale = sql.SQL(" LC_COLLATE {} LC_CTYPE {}").format(*map(sql.Literal, row)) if row else sql.SQL("")
    made = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name))
    try:
        cursor.execute(made + locale)
    except psycopg2.errors.InsufficientPrivilege:
        raise BackupProblem("the user of DATABASE_URL may make no database: ALTER ROLE … CREATEDB lets it.") from None


def drop(cursor: Any, name: str) -> None:
    """Remove a database, whoever is still connected."""
    cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def take_over(server: Server, cursor: Any, *, new: str, old_becomes: str) -> bool:
    """`new` becomes Naru's database; what was that becomes `old_becomes`. False when there was none."""
    database = server.database
    there = one(cursor, _EXISTS, database) is not None
    if there:
        _carry_over(cursor, old=database, new=new)
    done = threading.Event()
    ending = threading.Thread(target=_end_others, args=(server, (database, new), done), name="end-others")
    ending.start()
    try:
        with server.connected(MAINTENANCE, autocommit=False) as connection, connection.cursor() as renaming:
            # Each waits up to 5 s for those who are connected to be gone; meanwhile nobody new gets in.
            if there:
                _rename(renaming, database, old_becomes)
            _rename(renaming, new, database)
            _commit(connection, old_becomes if there else new)
    except psycopg2.errors.ObjectInUse:
        raise BackupProblem(
            f"somebody is connected to {database} whom this user may not end: end those connections, then try again."
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
            "Postgres went away in the moment of the swap, so it may be done or not: either way all is whole.\n"
            f"      When the server is back, look at the names of its databases (psql -l) for {sign}."
        ) from None


def _rename(cursor: Any, old: str, new: str) -> None:
    cursor.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))


def _end_others(server: Server, databases: tuple[str, ...], done: threading.Event) -> None:
    """End the connections to `databases`, again and again: a pool opens new ones at once."""
    try:
        with server.connected(MAINTENANCE) as connection, connection.cursor() as cursor:
            while not done.wait(END_EVERY_SECONDS):
                for database in databases:
                    cursor.execute(_OTHERS, (database,))
    except (psycopg2.Error, BackupProblem):
        return  # the renaming says what is the matter


def _carry_over(cursor: Any, *, old: str, new: str) -> None:
    """What belongs to the database itself and is in no dump: its settings, and who may connect."""
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
