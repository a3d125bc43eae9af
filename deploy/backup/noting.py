"""Notes in the record of events that a backup was made or restored."""

from __future__ import annotations

from shared import audit
from shared.audit import Kind
from shared.audit.acting import TERMINAL
from shared.postgres.database import make_plain_engine, transaction


def note(url: str, kind: Kind, backup: str) -> None:
    """Record the event in the database at `url`. Raises Unavailable, and SQLAlchemyError where there is no record."""
    engine = make_plain_engine(url)
    try:
        with audit.acting(TERMINAL), transaction(engine) as connection:
            audit.record(connection, kind, backup=backup)
    finally:
        engine.dispose()
