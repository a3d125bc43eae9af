"""What became of a question that the browser sent and heard nothing of: stored or not, by its idempotency key.

Not here: storing it (`shared/lifecycle`), putting it back where it was typed (`live/sent.js`).
"""

from __future__ import annotations

from sqlalchemy import Engine, select

from shared.people import Owner
from shared.postgres.database import statement
from shared.tables import chat_request


def is_stored(engine: Engine, *, owner: Owner, key: str) -> bool:
    """Whether this owner's question with this key was accepted. Raises Unavailable."""
    asked = select(chat_request.c.id).where(chat_request.c.owner_id == owner.key, chat_request.c.idempotency_key == key)
    with statement(engine) as connection:
        return connection.execute(asked).first() is not None
