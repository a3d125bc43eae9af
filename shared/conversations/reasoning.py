"""The reasoning of an answer, for its owner. It is read only when somebody opens it."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Engine, func, select

from shared.errors import NotFound
from shared.people import Owner
from shared.postgres.database import statement
from shared.tables import chat_request, conversation, reasoning


def reasoning_of(engine: Engine, request_id: UUID, *, owner: Owner) -> str:
    """Return what the model thought for this request of the owner; empty if nothing is stored (yet).

    Raises NotFound for an unknown or deleted request and for another owner's, and Unavailable.
    """
    r, c = chat_request.c, conversation.c
    found = (
        select(func.coalesce(reasoning.c.content, ""))
        .select_from(chat_request)
        .join(conversation, c.id == r.conversation_id)
        .outerjoin(reasoning, reasoning.c.request_id == r.id)
        .where(r.id == request_id, c.owner_id == owner.key, c.deleted_at.is_(None))
    )
    with statement(engine) as connection:
        content: str | None = connection.execute(found).scalar_one_or_none()
    if content is None:
        raise NotFound
    return content
