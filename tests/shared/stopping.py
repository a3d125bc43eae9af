"""Stops a process halfway: before one of its statements, or before it commits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event


class StoppedError(Exception):
    """Raised where the process stops."""


@contextmanager
def stopping_after(engine: Engine, statements: int) -> Iterator[None]:
    """Stop the process before one of its statements, or before it commits.

    In autocommit, where each statement is a transaction, it stops before the first one.
    """
    left = [statements]

    def stop(connection: Connection, *_: Any) -> None:
        left[0] -= 1
        if left[0] <= 0 or getattr(connection.connection.driver_connection, "autocommit", False):
            raise StoppedError

    def stop_before_commit(_: Any) -> None:
        raise StoppedError

    event.listen(engine, "before_cursor_execute", stop)
    event.listen(engine, "commit", stop_before_commit)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", stop)
        event.remove(engine, "commit", stop_before_commit)
