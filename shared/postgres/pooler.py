"""A transaction pooler in front of Postgres, such as PgBouncer: how to tell, and how the time limits hold there.

A pooler lends a server connection for one transaction. So it refuses or ignores the limits that a client sends as it
connects, and LISTEN and prepared statements do not work. `NARU_LISTEN_DATABASE_URL` declares it (docs/decisions/0038).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import psycopg2
import psycopg2.extensions
from sqlalchemy import Connection, Engine, event

from shared.errors import SettingsError
from shared.postgres import connections, hosts
from shared.settings import Settings

UNDECLARED = (
    "DATABASE_URL leads to a pooler such as PgBouncer. Set NARU_LISTEN_DATABASE_URL to the address of Postgres itself: "
    "LISTEN does not work through a transaction pooler."
)
LISTENING_IS_POOLED = (
    "NARU_LISTEN_DATABASE_URL leads to a pooler that does not keep a session for each client. Set it to the address of "
    "Postgres itself: LISTEN receives nothing there."
)
#: Options of the connection that listens: limits shorter than those of a transaction, because a lease that is renewed
#: late is lost.
LISTENING_SESSION = "-c statement_timeout=2000 -c lock_timeout=1000 -c timezone=UTC -c jit=off"
#: PgBouncer's words for a client that sends options which it can neither keep nor ignore.
_REFUSES_OPTIONS = "unsupported startup parameter"


def limit_transactions(engine: Engine, limits: Mapping[str, str]) -> None:
    """Set these settings of Postgres at the start of each transaction, for that transaction only.

    They travel in the message of the transaction's first statement, so they cost no round trip. Relies on Postgres
    running the statements of one message as one transaction, and starting a statement's clock when its turn comes.
    Test: tests/shared/test_pooler.py.
    """
    words = "".join(f"SET LOCAL {name} = '{value}'; " for name, value in limits.items())

    def prefix(_: Connection, cursor: Any, text: str, parameters: Any, *_rest: Any) -> tuple[str, Any]:
        is_first = cursor.connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE
        return (words + text if is_first else text), parameters

    event.listen(engine, "before_cursor_execute", prefix, retval=True)


def is_pooled(link: psycopg2.extensions.connection) -> bool:
    """Whether a pooler answers: the process that it names is not the one that serves the statement."""
    return _served_by(link) != link.info.backend_pid


def refuse_pooled_listening(settings: Settings) -> None:
    """Raise SettingsError when LISTEN would go through a transaction pooler, where no notification arrives.

    Passes what does not answer: Naru starts without Postgres.
    """
    if not settings.listen_database_url:
        if leads_to_pooler(settings.database_url):
            raise SettingsError(UNDECLARED)
    elif not keeps_sessions(settings.listen_database_url):
        raise SettingsError(LISTENING_IS_POOLED)


def leads_to_pooler(url: str) -> bool:
    """Whether a pooler answers at this address; False when nobody does."""
    try:
        with closing(_connect(url)) as link:
            return is_pooled(link)
    except psycopg2.OperationalError:
        return False


def keeps_sessions(url: str) -> bool:
    """Whether each client at this address keeps a server process of its own, as LISTEN needs.

    True for Postgres itself, for a pooler in session mode, and when nobody answers. A transaction pooler shows itself
    when two clients take turns: one process serves both, or two processes serve one. False also for a pooler that does
    not let the options of the listening connection pass.
    """
    if not leads_to_pooler(url):
        return True
    connections.limit_waits()  # a pooler in session mode may let the second client wait
    try:
        with (
            closing(_connect(url, options=LISTENING_SESSION)) as one,
            closing(_connect(url, options=LISTENING_SESSION)) as other,
        ):
            one.autocommit = other.autocommit = True
            # In this order also where the pooler lends its processes in turns, however many there are.
            first, second, third, fourth = (_served_by(link) for link in (one, other, other, one))
    except psycopg2.OperationalError as error:
        return _REFUSES_OPTIONS not in str(error)
    return first == fourth and second == third and first != second


def _connect(url: str, **options: Any) -> psycopg2.extensions.connection:
    return hosts.connect(url, connect_timeout=3, application_name="naru-start", **options)


def _served_by(link: psycopg2.extensions.connection) -> int | None:
    """Return the server process that serves this statement."""
    with link.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        row = cursor.fetchone()
    return None if row is None else int(row[0])
