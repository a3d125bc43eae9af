"""Tests of `shared.postgres`: round trips, limits of waits, discarded connections, and the check of free ones."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack

import psycopg2.extensions
import pytest
from psycopg2 import sql
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from shared.errors import Unavailable
from shared.postgres import capacity, connections
from shared.postgres.database import make_engine, make_listening_engine, statement, transaction
from shared.settings import Settings, load_settings
from tests.patience import patient
from tests.stack import Stack, wait_until

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


ADD = text("INSERT INTO reconciler_tick (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET gap_seconds = 0")


def set_database(stack: Stack, change: str) -> None:
    """Change this test's database for sessions to come."""
    name = sql.Identifier(stack.database_url.rpartition("/")[2])
    stack.servers.execute(sql.SQL("ALTER DATABASE {} " + change).format(name))


def fill_pool(engine: Engine, number: int) -> list[int]:
    """Open this many connections in the pool; return their processes in Postgres."""
    with ExitStack() as stack:
        opened = [stack.enter_context(statement(engine)) for _ in range(number)]
        return [pid_of(each) for each in opened]


def pid_of(connection: Connection) -> int:
    return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


def test_read_only_connection_is_discarded_with_its_pool(stack: Stack, engine: Engine) -> None:
    set_database(stack, "SET default_transaction_read_only = on")
    old = fill_pool(engine, 3)
    set_database(stack, "RESET default_transaction_read_only")
    with pytest.raises(Unavailable), statement(engine) as connection:
        connection.execute(ADD)
    with transaction(engine) as connection:
        connection.execute(ADD)
    assert not set(old) & set(fill_pool(engine, 3)), "all connections are new ones"


def test_server_that_ends_a_session_discards_the_pool(engine: Engine) -> None:
    old = fill_pool(engine, 3)
    with pytest.raises(Unavailable), statement(engine) as connection:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert not set(old) & set(fill_pool(engine, 3))


def test_waits_for_a_silent_server_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the limits of a connect and of a thread, each of them would take PATIENCE_SECONDS."""
    monkeypatch.setattr(connections, "PATIENCE_SECONDS", 10_000.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://x:y@127.0.0.1:{silent.getsockname()[1]}/z"
        lease = make_listening_engine(load_settings({"DATABASE_URL": url}), name="silent")
        raised: list[BaseException | None] = []

        def connect() -> None:
            try:
                lease.connect()
            except OperationalError as error:
                raised.append(error.orig)

        def connect_within(seconds: float) -> None:
            connections.limit_waits_of_this_thread(seconds)
            connect()

        monkeypatch.setattr(connections, "CONNECT_SECONDS", 0.2)
        connect()
        monkeypatch.setattr(connections, "CONNECT_SECONDS", 10_000.0)
        thread = threading.Thread(target=connect_within, args=(0.2,), daemon=True)
        thread.start()
        wait_until(lambda: len(raised) == 2, what="both have given up")
    assert [type(each) for each in raised] == [connections.ServerSilent] * 2


def test_statement_of_a_limited_thread_gives_up_early(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE_SECONDS", 10_000.0)
    raised: list[BaseException | None] = []

    def sleep() -> None:
        connections.limit_waits_of_this_thread(0.2)
        try:
            with engine.connect() as connection:
                connection.execute(text("SELECT pg_sleep(60)"))
        except OperationalError as error:
            raised.append(error.orig)

    fill_pool(engine, 1)
    thread = threading.Thread(target=sleep, daemon=True)
    thread.start()
    wait_until(lambda: raised, what="the statement has given up")
    assert isinstance(raised[0], connections.ServerSilent)


@pytest.mark.parametrize(("limit", "warns"), [(2, True), (-1, False)])
def test_check_warns_of_few_connections(
    stack: Stack, settings: Settings, caplog: pytest.LogCaptureFixture, *, limit: int, warns: bool
) -> None:
    set_database(stack, f"CONNECTION LIMIT {limit}")
    made = make_engine(settings, name="check")
    try:
        capacity.warn_of_few_connections(made, settings)
    finally:
        made.dispose()
    assert ("few connections left" in caplog.text) == warns


def test_check_of_connections_ignores_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    settings = load_settings({"DATABASE_URL": "postgresql://x:y@127.0.0.1:1/z"})
    capacity.warn_of_few_connections(make_engine(settings, name="gone"), settings)
    assert not caplog.text
