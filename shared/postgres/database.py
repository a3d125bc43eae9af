"""The door to Postgres: engines, transactions, and the one translation of "it does not answer".

No query lives here. Nothing is created at import.
"""

from __future__ import annotations

import functools
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import psycopg2.extensions
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from shared.errors import Unavailable, Unsure
from shared.postgres import prepared
from shared.settings import Settings

#: Bounds of one connection: connecting, one statement, waiting for a lock, an abandoned transaction. TCP keep-alives
#: and the user timeout end a connection whose other side is gone without a word (a failed-over or cut-off server).
_CONNECT = {
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 8000,
}
#: A prepared statement has its one plan from its first run; by default the server plans the first five runs anew.
_SESSION = (
    "-c statement_timeout=5000 -c lock_timeout=2000 -c idle_in_transaction_session_timeout=5000 "
    "-c timezone=UTC -c jit=off -c plan_cache_mode=force_generic_plan"
)


#: The bounds above are the server's and the kernel's. A server that is frozen (stopped, swapped out, its disk gone)
#: keeps neither: this one is ours, for every statement and connection of the process.
PATIENCE_SECONDS = 8.0
#: A connection that was used within this time is used again unasked, unless the server has closed it. Asking costs a
#: round trip in each transaction; after this long a way between may have gone without a word.
TRUSTED_SECONDS = 10.0


def _wait(connection: psycopg2.extensions.connection) -> None:
    """What psycopg2 calls to wait for the server; raises OperationalError when it is silent for too long."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        flag = select.POLLIN if state == psycopg2.extensions.POLL_READ else select.POLLOUT
        if not _is_ready(connection, flag, seconds=max(limit - time.monotonic(), 0.0)):
            raise psycopg2.OperationalError("the server is silent")


def _is_ready(connection: psycopg2.extensions.connection, flag: int, *, seconds: float) -> bool:
    # Not select(): it knows no descriptor above 1023, and a process that carries hundreds of streams has those.
    poller = select.poll()
    poller.register(connection.fileno(), flag)
    return bool(poller.poll(seconds * 1000))


def driver_url(url: str) -> str:
    """The URL as SQLAlchemy with psycopg2 wants it; accepts postgres:// and postgresql://."""
    for scheme in ("postgres://", "postgresql://"):
        if url.startswith(scheme):
            return "postgresql+psycopg2://" + url.removeprefix(scheme)
    return url


def libpq_url(url: str) -> str:
    """The URL as libpq (psycopg2.connect) wants it."""
    return "postgresql://" + driver_url(url).removeprefix("postgresql+psycopg2://")


def make_engine(settings: Settings, *, name: str, pool: int | None = None) -> Engine:
    """An engine with a fixed pool; `name` is what pg_stat_activity shows.

    A connection is looked at before use, so a restarted server costs nobody an error.
    """
    psycopg2.extensions.set_wait_callback(_wait)
    engine = create_engine(
        driver_url(settings.database_url),
        pool_size=pool or settings.database_pool,
        max_overflow=0,
        # The connection that was used last: its plans and the server's caches for it are warm.
        pool_use_lifo=True,
        pool_timeout=5,
        pool_recycle=1800,
        # An error must not carry a question into the log.
        hide_parameters=True,
        connect_args={**_CONNECT, "application_name": name, "options": _SESSION},
    )
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", functools.partial(_look_at, engine))
    # Where LISTEN has an address of its own, this one is a pooler's: what a connection has prepared is not there when
    # the next transaction gets another one.
    if not settings.listen_database_url:
        prepared.install(engine)
    return engine


def _note_use(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _look_at(
    engine: Engine, connection: psycopg2.extensions.connection, record: ConnectionPoolEntry, _proxy: object
) -> None:
    """Before each use: ping a connection that rested for long, or on which the server said something unasked; and undo
    what its last user made of it. An isolation level that is not the server's own, SQLAlchemy leaves one, would cost
    each statement that is its own transaction a round trip."""
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


def make_listening_engine(settings: Settings, *, name: str) -> Engine:
    """An engine of one connection that commits each statement by itself, for a thread that listens.

    It goes to `listen_database_url` where that is set: LISTEN does not live in a pooler's shared connection. Its
    statements are cut off sooner than others: who holds a lease must not wait for long.
    """
    return create_engine(
        driver_url(settings.listen_database_url or settings.database_url),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        connect_args={
            **_CONNECT,
            "application_name": name,
            "options": "-c statement_timeout=2000 -c lock_timeout=1000 -c timezone=UTC -c jit=off",
        },
    )


#: A primary that became a standby refuses writes so until the address leads to the new one.
READ_ONLY = "25006"


def is_outage(error: BaseException) -> bool:
    """Whether `error` says that Postgres is away or its connection broke, rather than that a statement is wrong.

    A restart in the middle of a statement shows as psycopg2's bare DatabaseError, not as OperationalError: so the
    connection's own mark is asked too.
    """
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout | psycopg2.OperationalError):
        return True
    if not isinstance(error, DBAPIError):
        return isinstance(error, psycopg2.InterfaceError)
    return error.connection_invalidated or getattr(error.orig, "pgcode", None) == READ_ONLY


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction: committed at the end, rolled back on an error.

    Raises Unavailable when Postgres is away; Unsure when it went away in COMMIT, of which nobody knows what became.
    """
    is_committing = False
    try:
        with engine.begin() as connection:
            yield connection
            is_committing = True
    except Exception as error:
        if is_outage(error):
            raise (Unsure if is_committing else Unavailable) from error
        raise


@contextmanager
def statement(engine: Engine) -> Iterator[Connection]:
    """A statement, or several sent together, as their own transaction: two round trips fewer than `transaction`.

    Raises Unavailable when Postgres is away; Unsure when it went away before it said what became of the statement.
    """
    is_open = False
    try:
        with engine.connect() as connection:
            # Not by SQLAlchemy's option, whose way back costs a round trip. The next user undoes it (`_look_at`).
            driver: psycopg2.extensions.connection = connection.connection.driver_connection  # type: ignore[assignment]
            driver.autocommit = is_open = True
            yield connection
    except Exception as error:
        if is_outage(error):
            raise (Unsure if is_open and not _is_refused(error) else Unavailable) from error
        raise


def _is_refused(error: BaseException) -> bool:
    """Whether Postgres has said that it undid the statement, on a connection that it went on to serve."""
    return (
        isinstance(error, DBAPIError)
        and not error.connection_invalidated
        and getattr(error.orig, "pgcode", None) is not None
    )
