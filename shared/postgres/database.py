"""Engines, transactions, the probe, and the only place that translates an outage of Postgres into our errors.

No query lives here. Nothing is created at import.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool

from shared.errors import NaruError, Unavailable, Unsure
from shared.postgres import connections, hosts, notices, notify, pooler, prepared
from shared.postgres.urls import driver_url
from shared.settings import Settings

#: Limits of one connection. TCP keep-alives and the user timeout end a connection whose peer vanished without a packet
#: (a failover, a cut network). `connections.py` limits the waits.
_CONNECT = {
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 8000,
}
#: Time limits of a statement, a wait for a lock and an abandoned transaction, in milliseconds.
LIMITS = {"statement_timeout": "5000", "lock_timeout": "2000", "idle_in_transaction_session_timeout": "5000"}
_EACH_TRANSACTION = {**LIMITS, "timezone": "UTC", "jit": "off"}
#: `force_generic_plan` keeps a prepared statement's plan from its first run; by default the server plans the first five
#: runs anew.
_SESSION = " ".join(
    f"-c {name}={value}" for name, value in {**_EACH_TRANSACTION, "plan_cache_mode": "force_generic_plan"}.items()
)


def make_engine(settings: Settings, *, name: str, pool: int | None = None) -> Engine:
    """Return an engine with a fixed pool of `pool` (or NARU_DATABASE_POOL) connections.

    `name` appears in pg_stat_activity. A connection is checked before use, so a restart of the server raises no error.
    """
    connections.limit_waits()
    # A separate address for LISTEN means that this one is a pooler: the next transaction may run on another server
    # connection, which has neither the options of this one nor its prepared statements.
    is_pooled = bool(settings.listen_database_url)
    session = {} if is_pooled else {"options": _SESSION}
    engine = create_engine(
        driver_url(settings.database_url),
        pool_size=pool or settings.database_pool,
        max_overflow=0,
        # Reuse the most recent connection: its plans and the server's caches for it are warm.
        pool_use_lifo=True,
        pool_timeout=5,
        pool_recycle=1800,
        # Keep questions out of logged errors.
        hide_parameters=True,
        creator=_connecting(settings.database_url, **_CONNECT, application_name=name, **session),
    )
    connections.reset_on_checkout(engine)
    connections.discard_refusing(engine)
    if is_pooled:
        pooler.limit_transactions(engine, _EACH_TRANSACTION)
    else:
        prepared.install(engine)
    notices.send_behind(engine, lambda: make_listening_engine(settings, name=f"{name}-notices"))
    return engine


def make_listening_engine(settings: Settings, *, name: str) -> Engine:
    """Return an engine without a pool that commits each statement, for a thread that listens and holds a lease.

    It connects to `listen_database_url` where that is set, because LISTEN does not work through a transaction pooler.
    """
    connections.limit_waits()
    url = settings.listen_database_url or settings.database_url
    return create_engine(
        driver_url(url),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        creator=_connecting(url, **_CONNECT, application_name=name, options=pooler.LISTENING_SESSION),
    )


def make_plain_engine(url: str) -> Engine:
    """Return an engine without a pool and without bounds: migrations and backups run statements that take long."""
    return create_engine(driver_url(url), poolclass=NullPool, hide_parameters=True, creator=_connecting(url))


def _connecting(url: str, **options: Any) -> Callable[[], Any]:
    return functools.partial(hosts.connect, url, **options)


def is_outage(error: BaseException) -> bool:
    """Whether `error` says that Postgres is away or its connection broke, rather than that a statement is wrong.

    A restart during a statement raises psycopg2's bare DatabaseError, so the connection's own state counts too.
    """
    is_away = isinstance(error, OperationalError | InterfaceError | PoolTimeout | psycopg2.OperationalError)
    if is_away or prepared.is_unprepared(error):
        return True
    if not isinstance(error, DBAPIError):
        return isinstance(error, psycopg2.InterfaceError)
    return error.connection_invalidated or _code_of(error) == connections.READ_ONLY


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Run one transaction: commit at the end, then send its notices; roll back on an error.

    Raises Unavailable when Postgres is away, and Unsure when it went away during COMMIT: the outcome is unknown then.
    """
    is_committing = False
    try:
        with engine.begin() as connection:
            notify.take_noted(connection)  # those of a transaction that was rolled back
            yield connection
            noted = notify.take_noted(connection)
            is_committing = True
    except Exception as error:
        if is_outage(error):
            # Unsure also where the same transaction succeeds at once on another connection: submit tries again then.
            raise (Unsure if is_committing or prepared.is_unprepared(error) else Unavailable) from error
        raise
    notices.send(engine, noted)


@contextmanager
def statement(engine: Engine) -> Iterator[Connection]:
    """Run one statement, or one batch, as its own transaction: two round trips fewer than `transaction`.

    Raises Unavailable when Postgres is away, and Unsure when it went away before it reported the outcome.
    """
    is_open = False
    try:
        with engine.connect() as connection:
            connections.commit_each_statement(connection)
            notify.take_noted(connection)
            is_open = True
            yield connection
            noted = notify.take_noted(connection)
    except Exception as error:
        if is_outage(error):
            raise (Unsure if is_open and not _is_refused(error) else Unavailable) from error
        raise
    notices.send(engine, noted)


def _is_refused(error: BaseException) -> bool:
    """Whether Postgres certainly rolled the statement back: it said so, and did not end the connection itself."""
    if not isinstance(error, DBAPIError) or _code_of(error) is None:
        return False
    return not error.connection_invalidated or _code_of(error) == connections.READ_ONLY


def _code_of(error: DBAPIError) -> str | None:
    """Return the SQLSTATE, or None when the error came from the connection and not from the server."""
    return getattr(error.orig, "pgcode", None)


def ping(engine: Engine) -> None:
    """Run SELECT 1. Raises Unavailable when Postgres does not answer."""
    with transaction(engine) as connection:
        connection.execute(text("SELECT 1"))


def answers(engine: Engine) -> bool:
    """Whether Postgres runs SELECT 1."""
    try:
        ping(engine)
    except NaruError:
        return False
    return True
