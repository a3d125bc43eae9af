"""Tests of `shared.postgres.database`: round trips, and descriptors above the limit of select()."""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg2.extensions
import pytest
from sqlalchemy import Engine, text

from shared.postgres import connections
from shared.postgres.database import statement, transaction
from tests.patience import patient

# Runs in a new process: in pytest's, a socket that is collected before the connect could free a low descriptor.
CROWDED = """
import os, resource
from sqlalchemy import text
from shared.postgres.database import make_engine, statement
from shared.settings import load_settings

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
engine = make_engine(load_settings({"DATABASE_URL": os.environ["DATABASE_URL"]}), name="late")
for _ in range(2):
    with statement(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
        print(connection.connection.driver_connection.fileno())
"""


def test_connection_with_a_high_descriptor_works(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", CROWDED],
        env=os.environ | {"DATABASE_URL": url, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=patient(60),
    )
    assert done.returncode == 0, done.stderr
    descriptors = [int(line) for line in done.stdout.split()]
    assert len(descriptors) == 2
    assert min(descriptors) > 1023


def test_statement_is_one_round_trip_on_any_connection(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[object] = []

    def wait(connection: psycopg2.extensions.connection) -> None:
        waits.append(connection)
        connections.wait_for_server(connection)

    def round_trips() -> int:
        waits.clear()
        with statement(engine) as connection:
            connection.execute(text("SELECT 1"))
        return len(waits)

    psycopg2.extensions.set_wait_callback(wait)
    try:
        round_trips()  # the first one connects
        assert round_trips() == 1
        with transaction(engine.execution_options(isolation_level="REPEATABLE READ")) as connection:
            assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == "repeatable read"
        assert round_trips() == 1
        with transaction(engine) as connection:
            assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == "read committed"
            connection.execute(text("CREATE TEMPORARY TABLE undone (id int)"))
            connection.rollback()
        assert round_trips() == 1
        with transaction(engine) as connection:
            gone = connection.execute(text("SELECT to_regclass('undone')")).scalar_one()
        assert gone is None, "the rollback undid the statement"
    finally:
        psycopg2.extensions.set_wait_callback(connections.wait_for_server)
