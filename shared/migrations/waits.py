"""The wait of a migration for a table that others use.

A statement that waits for a table's exclusive lock holds up everyone who comes after it, readers too. Behind a backup
that would be hours without an answer. So such a statement gives up after LOCK_SECONDS, and `migrate` tries the revision
again.
"""

from __future__ import annotations

from alembic import op
from psycopg2 import errors
from sqlalchemy.exc import OperationalError

LOCK_SECONDS = 2.0


def limit_lock_waits() -> None:
    """Limit the waits for locks in the rest of this transaction."""
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS:g}s'")


def is_in_the_way(error: OperationalError) -> bool:
    """Whether somebody else's lock made a statement of a migration fail."""
    return isinstance(error.orig, errors.LockNotAvailable | errors.DeadlockDetected)
