"""One restore of a proved backup, top-down: load beside the old data, count, bring up to date, swap; and the way back.

Until the last step nothing touches Naru's database. Whatever fails before it leaves the data as it was; what was loaded
so far is dropped, at the latest by the next restore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg2
from sqlalchemy.exc import SQLAlchemyError

from deploy.backup import swap, verify
from deploy.backup.chain import Chain, Program
from deploy.backup.problem import BackupProblem, of_disk
from deploy.backup.programs import Tools, cipher_program, postgres_program, tools_for
from deploy.backup.server import Server, one, reason_of
from deploy.backup.source import Source
from shared.errors import NaruError
from shared.lifecycle import end_restored
from shared.migrations.__main__ import migrate
from shared.postgres.database import make_plain_engine

#: The first PostgreSQL with this setting; pg_restore since then sets it on every server.
KNOWS_TRANSACTION_TIMEOUT = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How it is loaded. `grants` are the rights of other roles, which must exist then."""

    seconds: float
    grants: bool
    say: Callable[[str], None]


def restore(server: Server, source: Source, load: Load) -> str:
    """Put `source` in the place of Naru's database; returns the name of the old one, empty when there was none."""
    with swap.alone(server) as cursor:
        for left in swap.beside(cursor, server.database, "restoring"):
            load.say(f"  removing {left}, which a restore that was broken off left")
            swap.drop(cursor, left)
        with loaded(server, cursor, source, load, kind="restoring") as new:
            ended = bring_up_to_date(server, new)
            if ended:
                load.say(f"  {ended} answers were under way in the backup: ended as failed, to be asked again by hand")
            shown = verify.check_reading(server, new)
            load.say(f"  verified: counts as in the manifest; the newest conversation shows {shown} messages")
            kept = swap.name_of(server.database, "before")
            there = swap.take_over(server, cursor, new=new, old_becomes=kept)
    return kept if there else ""


def go_back(server: Server, name: str) -> tuple[str, str]:
    """Put the database `name` (or the newest kept one) in its old place; it, and what the present one is now called."""
    with swap.alone(server) as cursor:
        kept = swap.beside(cursor, server.database, "before", "undone")
        found = kept[0] if kept and not name else name
        if found not in kept:
            there = ", ".join(kept) or "none"
            raise BackupProblem(f"there is no kept database {name or 'here'}. Kept: {there}.")
        becomes = swap.name_of(server.database, "undone")
        swap.take_over(server, cursor, new=found, old_becomes=becomes)
    return found, becomes


def forget(server: Server, name: str) -> None:
    """Drop a database that a restore has kept. Raises BackupProblem for any other name."""
    with swap.alone(server) as cursor:
        if name not in swap.beside(cursor, server.database, "before", "undone"):
            raise BackupProblem(f"{name} is no database that a restore has kept: nothing was dropped.")
        swap.drop(cursor, name)


@contextmanager
def loaded(server: Server, cursor: Any, source: Source, load: Load, *, kind: str) -> Iterator[str]:
    """A new database with the backup in it, proved; dropped when anything within the block fails.

    Also where the block ends well: whoever wants to keep it has renamed it.
    """
    found, new = source.found, swap.name_of(server.database, kind)
    try:
        major = int(one(cursor, "SHOW server_version_num")) // 10_000
        if major < found.postgres_major:
            raise BackupProblem(
                f"the backup is of PostgreSQL {found.postgres_major}, and this server is older ({major}): use a newer."
            )
        swap.create(cursor, new, like=server.database)
        load.say(f"  loading {found.name} ({found.size / 1e6:.1f} MB) into {new}")
        _pour(server, new, source, load, major=major)
        verify.check_counts(server, new, found)
        yield new
    except OSError as error:
        raise of_disk(error, where=source.file) from None
    except psycopg2.Error as error:
        raise BackupProblem(f"Postgres failed while it restored: {reason_of(error)}") from None
    except (SQLAlchemyError, NaruError) as error:
        raise BackupProblem(f"the restored tables could not be brought up to date ({type(error).__name__}).") from None
    finally:
        with suppress(psycopg2.Error, BackupProblem):  # a server that is gone: the next restore drops it
            swap.drop(cursor, new)


def _pour(server: Server, database: str, source: Source, load: Load, *, major: int) -> None:
    """The file → openssl → pg_restore → the database."""
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
                    f"{error}\n      Make that role first, or leave all rights out: --no-grants."
                ) from None
            raise


def _loading(tools: Tools, url: str, load: Load, *, major: int) -> list[Program]:
    """pg_restore, or what comes to the same on a server that is too old for what this one says first."""
    words = ["--no-owner", *([] if load.grants else ["--no-privileges"])]
    if tools.major < KNOWS_TRANSACTION_TIMEOUT or major >= KNOWS_TRANSACTION_TIMEOUT:
        return [postgres_program(tools, "pg_restore", "--exit-on-error", "--no-password", *words, url=url)]
    script = postgres_program(tools, "pg_restore", "--file=-", *words)
    # In the script's first lines only: no row stands there.
    without = ["sed", "-u", "1,40{/^SET transaction_timeout = /d}"]
    options = ("--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1")
    return [
        script,
        Program(name="sed", argv=without, environ=script.environ),
        postgres_program(tools, "psql", *options, url=url),
    ]


def bring_up_to_date(server: Server, database: str) -> int:
    """Migrate to this version, end what was under way, let the planner know the tables; how many were ended."""
    url = server.url_of(database)
    migrate(url, patience_seconds=10)
    engine = make_plain_engine(url)
    try:
        with engine.begin() as connection:
            ended = end_restored(connection)
    finally:
        engine.dispose()
    with server.connected(database) as connection, connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return ended
