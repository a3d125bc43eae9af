"""List, open, rename, tune and delete conversations.

Every function takes the owner and reaches only that owner's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Engine,
    Integer,
    Select,
    Text,
    bindparam,
    cast,
    func,
    literal,
    null,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared import audit
from shared.audit import Kind
from shared.errors import NotFound
from shared.lifecycle import stop, storable
from shared.lifecycle.branch import walk_from
from shared.messages import Message, RequestEnd, TextPart
from shared.people import Owner
from shared.postgres.database import transaction
from shared.postgres.prepared import prepared
from shared.tables import ACTIVE, Status, chat_request, conversation, message, reasoning
from shared.tuning import NO_TUNING, Tuning

MAX_TITLE_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationRow:
    """One line of the sidebar."""

    id: UUID
    title: str
    updated_at: datetime
    #: The model of its last question.
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveRequest:
    """The queued or running request of a conversation."""

    request_id: UUID
    status: Status
    attempt: int
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A conversation with the last messages of its branch, oldest first. `exists` is False until its first question."""

    id: UUID
    exists: bool
    title: str
    model: str | None
    messages: tuple[Message, ...]
    has_earlier: bool
    active: ActiveRequest | None
    tuning: Tuning = NO_TUNING


def list_conversations(
    engine: Engine, *, owner: Owner, after: ConversationRow | None = None, limit: int = 100
) -> list[ConversationRow]:
    """Return at most `limit` of the owner's conversations, newest first; with `after`, those that follow it.

    Conversations without a question are left out.
    """
    c = conversation.c
    listed = (
        select(c.id, c.title, c.updated_at, c.model)
        .where(c.owner_id == owner.key, c.deleted_at.is_(None), c.leaf_id.is_not(None))
        # The id orders conversations with equal times. The index lacks the id, so Postgres sorts those few.
        .order_by(c.updated_at.desc(), c.id.desc())
        .limit(limit)
    )
    if after is not None:
        listed = listed.where(tuple_(c.updated_at, c.id) < (after.updated_at, after.id))
    with transaction(engine) as connection:
        return [
            ConversationRow(id=row.id, title=row.title, updated_at=row.updated_at, model=row.model)
            for row in connection.execute(listed)
        ]


def open_conversation(engine: Engine, conversation_id: UUID, *, owner: Owner, limit: int = 30) -> Opened:
    """Return a conversation and the last `limit` messages of its branch.

    An unknown id gives an empty conversation, because the page makes the id before the first question. Raises NotFound
    if the conversation is deleted or another owner's.
    """
    # One snapshot for all three statements: an answer that ends between them would be neither active nor stored.
    with transaction(engine.execution_options(isolation_level="REPEATABLE READ")) as connection:
        row = _row_of(connection, conversation_id, owner=owner)
        if row is None:
            return Opened(
                id=conversation_id, exists=False, title="", model=None, messages=(), has_earlier=False, active=None
            )
        found = _branch(connection, row.leaf_id, limit=limit + 1)
        active = connection.execute(
            select(chat_request.c.id, chat_request.c.status, chat_request.c.attempt, chat_request.c.model).where(
                chat_request.c.conversation_id == conversation_id, chat_request.c.status.in_(ACTIVE)
            )
        ).one_or_none()
    return Opened(
        id=conversation_id,
        exists=True,
        title=row.title,
        model=row.model,
        messages=tuple(_message_of(each) for each in reversed(found[:limit])),
        has_earlier=len(found) > limit,
        active=active
        and ActiveRequest(
            request_id=active.id, status=Status(active.status), attempt=active.attempt, model=active.model
        ),
        tuning=Tuning.read(row.tuning),
    )


def check_owner(engine: Engine, conversation_id: UUID, *, owner: Owner) -> bool:
    """Whether the conversation exists. Raises NotFound if it is deleted or another owner's."""
    with transaction(engine) as connection:
        return _row_of(connection, conversation_id, owner=owner) is not None


def rename(engine: Engine, conversation_id: UUID, *, owner: Owner, title: str) -> None:
    """Set the title; an empty one changes nothing. Raises NotFound."""
    words = storable(" ".join(title.split()))[:MAX_TITLE_CHARACTERS]
    _change(engine, conversation_id, owner, {"title": words} if words else {"title": conversation.c.title})


def tune(engine: Engine, conversation_id: UUID, *, owner: Owner, tuning: Tuning) -> None:
    """Replace the conversation's tuning, for the answers that begin from now on. Raises NotFound."""
    stored = tuning.stored()
    _change(engine, conversation_id, owner, {"tuning": cast(literal(stored, Text), JSONB) if stored else null()})


def delete(engine: Engine, conversation_id: UUID, *, owner: Owner) -> None:
    """Hide the conversation from every view and stop its active request. Raises NotFound.

    Retention deletes the rows later.
    """
    _change(engine, conversation_id, owner, {"deleted_at": func.clock_timestamp()}, event=Kind.CONVERSATION_DELETED)
    with transaction(engine) as connection:
        running = connection.execute(
            select(chat_request.c.id).where(
                chat_request.c.conversation_id == conversation_id, chat_request.c.status.in_(ACTIVE)
            )
        ).scalar_one_or_none()
    if running is not None:
        stop(engine, running, owner=owner)


def _change(
    engine: Engine, conversation_id: UUID, owner: Owner, values: dict[str, Any], *, event: Kind | None = None
) -> None:
    c = conversation.c
    with transaction(engine) as connection:
        changed = connection.execute(
            update(conversation)
            .where(c.id == conversation_id, c.owner_id == owner.key, c.deleted_at.is_(None))
            .values(**values)
            .returning(c.id)
        ).one_or_none()
        if changed is None:
            raise NotFound
        if event is not None:
            audit.record(connection, event, subject=str(conversation_id), actor=owner.key)


def _row_of(connection: Connection, conversation_id: UUID, *, owner: Owner) -> Any:
    c = conversation.c
    row = connection.execute(
        select(c.owner_id, c.title, c.model, c.leaf_id, c.deleted_at, c.tuning).where(c.id == conversation_id)
    ).one_or_none()
    if row is not None and (row.owner_id != owner.key or row.deleted_at is not None):
        raise NotFound
    return row


def _branch_statement() -> Select[Any]:
    """Return the statement. It is built once, because building it takes longer than Postgres takes to run it."""
    m, r = message.c, chat_request.c
    walk = walk_from(bindparam("leaf_id", type_=m.id.type), limit=bindparam("depth_limit", type_=Integer))
    return prepared(
        select(
            *(m.id, m.role, m.content, m.created_at, m.request_id),
            *(r.status, r.error_code, r.finish, r.model, r.attempt, r.left_out, r.earlier_answer_at, r.output_tokens),
            *(r.asked_model, r.asked_code),
            reasoning.c.seconds.label("thought_seconds"),
            (reasoning.c.content != "").label("has_reasoning"),
        )
        .join(walk, m.id == walk.c.id)
        .outerjoin(chat_request, r.id == m.request_id)
        .outerjoin(reasoning, reasoning.c.request_id == m.request_id)
        .order_by(walk.c.depth)
    )


_BRANCH = _branch_statement()


def _branch(connection: Connection, leaf_id: UUID | None, *, limit: int) -> Sequence[Any]:
    """Return at most `limit` messages from the leaf up, newest first, each with the end of its request."""
    return connection.execute(_BRANCH, {"leaf_id": leaf_id, "depth_limit": limit}).all()


def _message_of(row: Any) -> Message:
    return Message(
        row.role,
        (TextPart(row.content),),
        _end_of(row) if row.status else None,
        id=row.id,
        created_at=row.created_at,
        request_id=row.request_id,
    )


def _end_of(row: Any) -> RequestEnd:
    return RequestEnd(
        status=Status(row.status),
        error_code=row.error_code,
        finish=row.finish,
        model=row.model,
        asked_model=row.asked_model,
        asked_code=row.asked_code,
        attempt=row.attempt,
        left_out=row.left_out,
        earlier_answer_at=row.earlier_answer_at,
        output_tokens=row.output_tokens,
        thought_seconds=row.thought_seconds,
        has_reasoning=bool(row.has_reasoning),
    )
