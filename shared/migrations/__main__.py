"""`python -m shared.migrations`: migrate the database to the newest version, one process at a time."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from shared.errors import NaruError, SettingsError
from shared.migrations.online import is_lock_conflict
from shared.postgres.database import make_plain_engine
from shared.settings import load_settings

PATIENCE_SECONDS = 30.0
#: How long a locked table is waited for, and the pause between two attempts, in which the others go on.
LOCKED_SECONDS, PAUSE_SECONDS = 600.0, 1.0
#: A number that nothing else in the database uses: "naru" on a telephone's keys.
ADVISORY_LOCK = 6278
#: Alembic keeps its context in a module, so threads of one process migrate one after the other.
_one_thread = threading.Lock()


def config() -> Config:
    """Return Alembic's configuration, without an ini file."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return made


def migrate(database_url: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for the server and upgrade to head. A second process waits for the first. Raises SettingsError."""
    engine = make_plain_engine(database_url)
    _await_server(engine, patience_seconds)
    with _one_thread, engine.connect() as lock, engine.connect() as connection:
        _take_lock(lock)
        settings = config()
        settings.attributes["connection"] = connection
        _upgrade(settings, connection)


def _upgrade(settings: Config, connection: Connection) -> None:
    """Upgrade to head; try again while somebody else locks a table. Raises SettingsError after LOCKED_SECONDS."""
    refused_at: float | None = None
    while True:
        try:
            command.upgrade(settings, "head")
        except OperationalError as error:
            connection.rollback()
            if not is_lock_conflict(error):
                raise
            refused_at = refused_at or time.monotonic()
            if time.monotonic() >= refused_at + LOCKED_SECONDS:
                raise SettingsError(
                    f"Another session, perhaps a backup, has locked a table for {LOCKED_SECONDS / 60:g} minutes. "
                    "Migrate again when it has ended."
                ) from None
            time.sleep(PAUSE_SECONDS)
        else:
            return


def _take_lock(connection: Connection) -> None:
    """Wait until no other process migrates.

    The lock ends with the transaction of its connection: behind a pooler, a session's lock would stay for good. This
    process asks again and again, because a statement that waits would hold up the other one, whose indexes wait for all
    statements that began before them.
    """
    while not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK}).scalar_one():
        connection.rollback()
        time.sleep(0.2)


def _await_server(engine: Engine, patience_seconds: float) -> None:
    limit = time.monotonic() + patience_seconds
    while True:
        try:
            engine.connect().close()
            return
        except OperationalError as error:
            if time.monotonic() > limit:
                reason = str(error.orig).strip().splitlines()[0]
                raise SettingsError(f"Postgres did not answer for {patience_seconds:g} s: {reason}") from None
            time.sleep(0.2)


def main() -> int:
    """Run the command; on failure print one sentence and return 1."""
    try:
        settings = load_settings()
        settings.need("database_url")
        migrate(settings.listen_database_url or settings.database_url)
    except NaruError as error:
        sys.stderr.write(f"migrate: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
