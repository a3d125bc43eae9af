"""Restore a proved backup, top-down: load beside the old data, count, migrate, swap; and the way back.

Nothing touches Naru's database until the last step. A failure before it leaves the data as it was. The half-loaded
database is dropped, by the next restore at the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg2
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from deploy.backup import noting, swap, verify
from deploy.backup.chain import Chain, Program
from deploy.backup.problem import BackupProblem, of_disk
from deploy.backup.programs import Tools, cipher_program, postgres_program, tools_for
from deploy.backup.server import Server, one, reason_of
from deploy.backup.source import Source
from shared.audit import Kind
from shared.errors import NaruError
from shared.lifecycle import end_restored
from shared.migrations.__main__ import migrate
from shared.postgres.database import make_plain_engine
from shared.tables import guest_link, link, session

#: The first PostgreSQL with this setting. pg_restore has set it on every server since.
KNOWS_TRANSACTION_TIMEOUT = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The options of loading a backup. `grants` restores the rights of other roles, which must exist."""

    seconds: float
    grants: bool
    say: Callable[[str], None]


def restore(server: Server, source: Source, load: Load) -> str:
    """Replace Naru's database with `source`; return the name that the old one now has, empty if there was none."""
    with swap.alone(server) as cursor:
        for left in swap.beside(cursor, server.database, "restoring"):
            load.say(f"  removing {left}, which an interrupted restore left behind")
            swap.drop(cursor, left)
        with loaded(server, cursor, source, load, kind="restoring") as new:
            ended = bring_up_to_date(server, new)
            if ended:
                load.say(
                    f"  {ended} answers were in progress in the backup. They are marked as failed; people can ask again"
                )
            shown = verify.check_reading(server, new)
            load.say(f"  verified: all counts match the manifest; the newest conversation shows {shown} messages")
            noting.note(server.url_of(new), Kind.BACKUP_RESTORED, source.found.name)
            kept = swap.name_of(server.database, "before")
            there = swap.take_over(server, cursor, new=new, old_becomes=kept)
    return kept if there else ""


def go_back(server: Server, name: str) -> tuple[str, str]:
    """Make `name` (or the newest kept database) Naru's again; return its name, and the present one's new name."""
    with swap.alone(server) as cursor:
        kept = swap.beside(cursor, server.database, "before", "undone")
        found = kept[0] if kept and not name else name
        if found not in kept:
            there = ", ".join(kept) or "none"
            raise BackupProblem(f"there is no kept database{f' called {name}' if name else ''}. Kept: {there}.")
        becomes = swap.name_of(server.database, "undone")
        swap.take_over(server, cursor, new=found, old_becomes=becomes)
    with suppress(SQLAlchemyError, NaruError):  # an older version's data has no record of events
        noting.note(server.url, Kind.BACKUP_RESTORED, found)
    return found, becomes


def forget(server: Server, name: str) -> None:
    """Drop a database that a restore has kept. Raises BackupProblem for any other name."""
    with swap.alone(server) as cursor:
        if name not in swap.beside(cursor, server.database, "before", "undone"):
            raise BackupProblem(f"{name} is not a database that a restore has kept. Nothing was dropped.")
        swap.drop(cursor, name)


@contextmanager
def loaded(server: Server, cursor: Any, source: Source, load: Load, *, kind: str) -> Iterator[str]:
    """Load the backup into a new database, prove it and yield its name.

    The database is dropped at the end of the block. To keep it, rename it within the block.
    """
    found, new = source.found, swap.name_of(server.database, kind)
    try:
        major = int(one(cursor, "SHOW server_version_num")) // 10_000
        if major < found.postgres_major:
            raise BackupProblem(
                f"the backup is from PostgreSQL {found.postgres_major}, but this server is older ({major}). "
                "Use a newer one."
            )
        swap.create(cursor, new, like=server.database)
        load.say(f"  loading {found.name} ({found.size / 1e6:.1f} MB) into {new}")
        _pour(server, new, source, load, major=major)
        verify.check_counts(server, new, found)
        yield new
    except OSError as error:
        raise of_disk(error, where=source.file) from None
    except psycopg2.Error as error:
        raise BackupProblem(f"Postgres failed during the restore: {reason_of(error)}") from None
    except (SQLAlchemyError, NaruError) as error:
        raise BackupProblem(f"the restored tables could not be migrated ({type(error).__name__}).") from None
    finally:
        with suppress(psycopg2.Error, BackupProblem):  # if the server is gone, the next restore drops it
            swap.drop(cursor, new)


def _pour(server: Server, database: str, source: Source, load: Load, *, major: int) -> None:
    """Load the file through openssl and pg_restore into the database."""
    loading = _loading(tools_for(max(major, source.found.pg_dump)), server.url_of(database), load, major=major)
    with (
        source.file.open("rb") as file,
        Chain(cipher_program(source.key, decrypt=True), *loading, source=file, seconds=load.seconds) as chain,
    ):
        chain.out.read()
        try:
            chain.finish()
        except BackupProblem as error:
            if 'role "' in str(error) and "does not exist" in str(error):
                raise BackupProblem(
                    f"{error}\n      Create that role first, or leave out the rights of other roles: --no-grants."
                ) from None
            raise


def _loading(tools: Tools, url: str, load: Load, *, major: int) -> list[Program]:
    """Prepare pg_restore, or its equivalent for a server that does not know a setting of this pg_restore."""
    words = ["--no-owner", *([] if load.grants else ["--no-privileges"])]
    if tools.major < KNOWS_TRANSACTION_TIMEOUT or major >= KNOWS_TRANSACTION_TIMEOUT:
        return [postgres_program(tools, "pg_restore", "--exit-on-error", "--no-password", *words, url=url)]
    script = postgres_program(tools, "pg_restore", "--file=-", *words)
    # Only in the first lines of the script, which hold no rows.
    without = ["sed", "-u", "1,40{/^SET transaction_timeout = /d}"]
    options = ("--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1")
    return [
        script,
        Program(name="sed", argv=without, environ=script.environ),
        postgres_program(tools, "psql", *options, url=url),
    ]


def bring_up_to_date(server: Server, database: str) -> int:
    """Migrate, end the requests that were in progress and all sessions, and run ANALYZE; return the ended requests.

    A session that ended after the backup would be valid again, as would a used link.
    """
    url = server.url_of(database)
    migrate(url, patience_seconds=10)
    engine = make_plain_engine(url)
    try:
        with engine.begin() as connection:
            ended = end_restored(connection)
            for table in (session, link, guest_link):
                connection.execute(delete(table))
    finally:
        engine.dispose()
    with server.connected(database) as connection, connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return ended
