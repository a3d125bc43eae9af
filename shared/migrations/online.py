"""Changes of tables that others use meanwhile.

A statement that waits for a table's exclusive lock holds up everyone who comes after it, readers too. Behind a backup
that would be hours without an answer. So such a statement gives up after LOCK_SECONDS, and `migrate` repeats the
revision later. An index is built concurrently, which holds up nobody, and once: a revision that is repeated keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence

from alembic import op
from psycopg2 import errors
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

#: Shorter than the waits of the renewals behind it (shared/postgres/database.py), so that no lease runs out.
LOCK_SECONDS = 0.5

_IS_VALID = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


def limit_lock_waits() -> None:
    """Limit the waits for locks in the rest of this transaction."""
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS:g}s'")


def build_index(name: str, table: str, columns: Sequence[str], condition: str, *, unique: bool = False) -> None:
    """Build a partial index concurrently, in an autocommit block. One that an interrupted build left is built anew."""
    if op.get_bind().execute(_IS_VALID, {"name": name}).scalar_one_or_none():
        return
    op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)
    op.create_index(name, table, columns, unique=unique, postgresql_where=text(condition), postgresql_concurrently=True)


def is_lock_conflict(error: OperationalError) -> bool:
    """Whether somebody else's lock made a statement of a migration fail."""
    return isinstance(error.orig, errors.LockNotAvailable | errors.DeadlockDetected)
