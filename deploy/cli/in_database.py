"""Commands that work in the database: the way to it, and the words for its failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from deploy.backup.locate import server_at
from deploy.backup.problem import BackupProblem
from deploy.backup.server import reason_of
from deploy.embedded.data import DataProblem
from deploy.embedded.locate import check_options
from shared import audit
from shared.audit.acting import TERMINAL
from shared.errors import NaruError
from shared.postgres.database import make_plain_engine
from shared.settings import Settings, load_settings

#: The errors of such a command; `sentence_of` has their words.
FAILURES = (BackupProblem, DataProblem, NaruError, psycopg2.Error, SQLAlchemyError)


@contextmanager
def database_at(data: Path) -> Iterator[tuple[Engine, Settings]]:
    """Yield an engine for the database of this data folder, and the settings. Its changes are the terminal's.

    Raises FAILURES.
    """
    settings = load_settings()
    check_options(settings)
    with server_at(data, settings) as server, audit.acting(TERMINAL):
        engine = make_plain_engine(server.url)
        try:
            yield engine, settings
        finally:
            engine.dispose()


def sentence_of(error: Exception) -> str:
    """Say what went wrong, and what to do."""
    if isinstance(error, psycopg2.Error):
        return f"Postgres failed: {reason_of(error)}"
    if isinstance(error, SQLAlchemyError):
        return f"Postgres failed ({type(error).__name__}). Is Naru's newest version running? Start it once."
    return str(error)
