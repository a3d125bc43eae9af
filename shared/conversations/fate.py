"""Check whether a question was stored, for a browser that sent it and got no reply.

`shared/lifecycle/` stores questions; `live/sent.js` puts an unstored one back into the composer.
"""

from __future__ import annotations

from sqlalchemy import Engine, select

from shared.people import Owner
from shared.postgres.database import statement
from shared.tables import chat_request


def is_stored(engine: Engine, *, owner: Owner, key: str) -> bool:
    """Whether this owner's question with this idempotency key is stored. Raises Unavailable."""
    asked = select(chat_request.c.id).where(chat_request.c.owner_id == owner.key, chat_request.c.idempotency_key == key)
    with statement(engine) as connection:
        return connection.execute(asked).first() is not None
