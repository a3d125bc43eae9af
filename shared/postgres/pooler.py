"""A transaction pooler in front of Postgres, such as PgBouncer: how to tell, and how the time limits hold behind it.

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
from shared.postgres import hosts
from shared.settings import Settings

UNDECLARED = (
    "DATABASE_URL leads to a pooler such as PgBouncer. Set NARU_LISTEN_DATABASE_URL to the address of Postgres itself: "
    "LISTEN does not work through a transaction pooler."
)


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
    with link.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (served_by,) = cursor.fetchone() or (None,)
    return bool(served_by != link.info.backend_pid)


def refuse_undeclared(settings: Settings) -> None:
    """Raise SettingsError when DATABASE_URL leads to a pooler and no address for LISTEN is set.

    Returns at once where one is set, and when Postgres does not answer: Naru starts without it.
    """
    if not settings.listen_database_url and leads_to_pooler(settings.database_url):
        raise SettingsError(UNDECLARED)


def leads_to_pooler(url: str) -> bool:
    """Whether a pooler answers at this address; False when nobody does."""
    try:
        with closing(hosts.connect(url, connect_timeout=3, application_name="naru-start")) as link:
            return is_pooled(link)
    except psycopg2.OperationalError:
        return False
