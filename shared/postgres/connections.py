"""Tricks with psycopg2's connections that SQLAlchemy does not know of.

Each function names its gain, the library behaviour that it relies on, and the test that fails when that changes.
"""

from __future__ import annotations

import functools
import select
import threading
import time
from typing import cast

import psycopg2
import psycopg2.extensions
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from shared.postgres.hosts import limit_of_wait

#: Longest silence of the server in one statement. The server's own timeouts do not work while it is frozen (stopped,
#: swapped out, without its disk), and the kernel still acknowledges what we send.
PATIENCE_SECONDS = 8.0
#: Longest wait for a new connection. It replaces libpq's `connect_timeout`, which the wait callback switches off.
CONNECT_SECONDS = 3.0
#: A connection idle for longer is pinged before use: a firewall or a proxy may have dropped it silently.
TRUSTED_SECONDS = 10.0
#: SQLSTATE of a write to a server in recovery: a former primary refuses writes until the address leads to the new one.
READ_ONLY = "25006"
#: The SQLSTATEs of a server that shuts down, has crashed or does not accept connections yet begin with this.
SHUTTING_DOWN = "57P0"

#: `seconds`: the limit of one thread's waits.
_thread = threading.local()


class ServerSilent(psycopg2.OperationalError):
    """The server sent nothing within the limit of the wait."""


def limit_waits() -> None:
    """Limit every wait for Postgres in this process; a longer one raises ServerSilent.

    Gain: neither a frozen server nor a dark address can hold a thread for ever. Relies on psycopg2's wait callback,
    which replaces libpq's blocking wait in all connections of the process. Tests: tests/crash/test_postgres_away.py,
    tests/shared/test_database.py.
    """
    psycopg2.extensions.set_wait_callback(wait_for_server)


def limit_waits_of_this_thread(seconds: float) -> None:
    """Limit every wait for Postgres of the calling thread to `seconds`, where that is less than the usual limit."""
    _thread.seconds = seconds


def wait_for_server(connection: psycopg2.extensions.connection) -> None:
    """Drive the connection until it is open or its statement is done; psycopg2 calls this."""
    limit = time.monotonic() + _patience(connection)
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        flag = select.POLLIN if state == psycopg2.extensions.POLL_READ else select.POLLOUT
        if not _is_ready(connection, flag, seconds=max(limit - time.monotonic(), 0.0)):
            raise ServerSilent("the server is silent")


def _patience(connection: psycopg2.extensions.connection) -> float:
    is_connecting = connection.status == psycopg2.extensions.STATUS_SETUP
    usual = CONNECT_SECONDS if is_connecting else PATIENCE_SECONDS
    return min(limit_of_wait(usual), getattr(_thread, "seconds", usual))


def discard_refusing(engine: Engine) -> None:
    """Discard a connection whose server refuses writes or shuts down, and with it all others of this engine's pool.

    Gain: after a failover the next statement goes to the new primary. The old connection would answer a ping, so the
    pool would hand it out again and again. Relies on SQLAlchemy recycling every connection that was made before one
    that is disconnected. Test: tests/shared/test_database.py.
    """
    event.listen(engine, "handle_error", _disconnect_refusing)


def _disconnect_refusing(context: ExceptionContext) -> None:
    code = getattr(context.original_exception, "pgcode", None) or ""
    if code == READ_ONLY or code.startswith(SHUTTING_DOWN):
        context.is_disconnect = True


def reset_on_checkout(engine: Engine) -> None:
    """Run `reset_and_ping` on each connection that leaves this engine's pool."""
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", functools.partial(reset_and_ping, engine))


def _note_use(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def reset_and_ping(
    engine: Engine, connection: psycopg2.extensions.connection, record: ConnectionPoolEntry, _proxy: object
) -> None:
    """Restore autocommit and isolation level, and ping a connection that may be dead.

    A connection may be dead if it was idle for TRUSTED_SECONDS or if its socket has unread data, which the server
    sends as it closes. Gain: no round trip for a ping in most transactions, none to undo autocommit, and none in
    each statement for an isolation level that SQLAlchemy has left set. Relies on psycopg2 keeping both attributes on
    the client's side between transactions. Test: the round trips in tests/shared/test_database.py.
    """
    rested = time.monotonic() - record.info.get("used_at", time.monotonic())
    try:
        if connection.autocommit:
            connection.autocommit = False
        if connection.isolation_level is not None:
            connection.isolation_level = None
        if rested > TRUSTED_SECONDS or _is_ready(connection, select.POLLIN, seconds=0.0):
            engine.dialect.do_ping(connection)  # type: ignore[arg-type] # SQLAlchemy's protocol of the driver's class
    except psycopg2.Error as error:
        raise InvalidatePoolError from error


def commit_each_statement(connection: Connection) -> None:
    """Switch the driver's connection to autocommit until it returns to the pool.

    Gain: two round trips (BEGIN and COMMIT). SQLAlchemy's own option would cost one to switch back. Relies on
    `reset_and_ping`, which switches back, and on SQLAlchemy leaving BEGIN to psycopg2. Test: the round trips in
    tests/shared/test_database.py.
    """
    driver = cast("psycopg2.extensions.connection", connection.connection.driver_connection)
    driver.autocommit = True


def _is_ready(connection: psycopg2.extensions.connection, flag: int, *, seconds: float) -> bool:
    # poll() and not select(), which takes no descriptor above 1023: a process with hundreds of streams has those.
    poller = select.poll()
    poller.register(connection.fileno(), flag)
    return bool(poller.poll(seconds * 1000))
