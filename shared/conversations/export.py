"""All conversations of one owner with all their messages, for a download."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, select, tuple_

from shared.people import Owner
from shared.postgres.database import transaction
from shared.tables import chat_request, conversation, message, reasoning

#: Messages in one read. An answer has a few kilobytes, its reasoning up to hundreds.
_PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedMessage:
    """A message, as its row has it. An answer also has the facts of its request."""

    id: UUID
    #: The message before it; None for the first. Answers to the same question have the same one.
    parent_id: UUID | None
    role: str
    content: str
    created_at: datetime
    model: str | None
    status: str | None
    error_code: str | None
    input_tokens: int | None
    output_tokens: int | None
    #: The model's reasoning; None if it did not think.
    reasoning: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedConversation:
    """A conversation; `leaf_id` is the newest message of the branch on display."""

    id: UUID
    title: str
    model: str | None
    created_at: datetime
    updated_at: datetime
    leaf_id: UUID | None
    #: Instructions, temperature and effort; None where the person set none.
    tuning: dict[str, object] | None


def exported_conversations(engine: Engine, *, owner: Owner) -> Iterator[ExportedConversation]:
    """Yield the owner's conversations, the oldest first; those deleted meanwhile are left out.

    Raises Unavailable, also between two conversations.
    """
    c = conversation.c
    mine = (c.owner_id == owner.key, c.deleted_at.is_(None), c.leaf_id.is_not(None))
    with transaction(engine) as connection:
        ids = connection.execute(select(c.id).where(*mine).order_by(c.created_at, c.id)).scalars().all()
    one = select(c.id, c.title, c.model, c.created_at, c.updated_at, c.leaf_id, c.tuning).where(*mine)
    for conversation_id in ids:
        with transaction(engine) as connection:
            row = connection.execute(one.where(c.id == conversation_id)).mappings().one_or_none()
        if row is not None:
            yield ExportedConversation(**row)


def exported_messages(engine: Engine, conversation_id: UUID, *, owner: Owner) -> Iterator[ExportedMessage]:
    """Yield all messages of the owner's conversation in the order of their times; none of another owner's.

    Raises Unavailable, also in between.
    """
    m, r, c = message.c, chat_request.c, conversation.c
    page = (
        select(
            *(m.id, m.parent_id, m.role, m.content, m.created_at),
            *(r.model, r.status, r.error_code, r.input_tokens, r.output_tokens),
            reasoning.c.content.label("reasoning"),
        )
        .join(conversation, c.id == m.conversation_id)
        .outerjoin(chat_request, r.id == m.request_id)
        .outerjoin(reasoning, reasoning.c.request_id == m.request_id)
        .where(c.id == conversation_id, c.owner_id == owner.key)
        .order_by(m.created_at, m.id)
        .limit(_PAGE)
    )
    following = page
    while True:
        with transaction(engine) as connection:
            rows = connection.execute(following).mappings().all()
        for row in rows:
            yield ExportedMessage(**row)
        if len(rows) < _PAGE:
            return
        following = page.where(tuple_(m.created_at, m.id) > (rows[-1]["created_at"], rows[-1]["id"]))
