"""The person's verbs: submit and stop."""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, case, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from shared import fleet, notify
from shared.database import transaction
from shared.errors import Empty, NotFound, NothingToAnswer, StillRunning, TooLong, UnknownModel
from shared.lifecycle.ending import NOW, Ending, end
from shared.lifecycle.values import Question, Submitted, storable
from shared.tables import ACTIVE, Status, chat_request, conversation, message

log = logging.getLogger(__name__)

TITLE_CHARACTERS = 60
_R = chat_request.c


def submit(engine: Engine, question: Question, *, deadline_seconds: float, max_characters: int) -> Submitted:
    """Store a question and its request, or find the request that the same key made before.

    Raises StillRunning, NotFound, Empty, TooLong, NothingToAnswer, UnknownModel (nothing is stored then) or
    Unavailable (whether it was stored is then unknown: the same key finds out).
    """
    text = _checked(question, max_characters)
    request_id, user_message_id = uuid4(), uuid4()
    with transaction(engine) as connection:
        leaf_id = _enter_conversation(connection, question, text)
        # Looked for before the insert, which would wait for a request that ends just now, while its end waits for
        # the conversation that is locked here.
        if (known := _known(connection, question)) is not None:
            return known
        if question.model and not fleet.may_offer(connection, question.model):
            raise UnknownModel
        if question.regenerate:
            user_message_id = _question_of(connection, leaf_id)
        # No conflict target: with one, a conflict on the other unique index would raise instead.
        stored = connection.execute(
            upsert(chat_request)
            .values(
                id=request_id,
                owner_id=question.owner_id,
                conversation_id=question.conversation_id,
                user_message_id=user_message_id,
                idempotency_key=question.idempotency_key,
                model=question.model,
                status=Status.QUEUED,
                deadline_at=NOW + timedelta(seconds=deadline_seconds),
                dispatched_at=NOW,
            )
            .on_conflict_do_nothing()
            .returning(_R.id)
        ).one_or_none()
        if stored is None:  # the same key was stored in another conversation meanwhile
            if (known := _known(connection, question)) is not None:
                return known
            raise StillRunning
        if not question.regenerate:
            _add_question(connection, question, user_message_id, leaf_id, text)
        _move_leaf(connection, question, user_message_id)
        notify.send(connection, notify.REQUEST, request_id, question.conversation_id)
    log.info("submitted", extra={"request_id": str(request_id), "conversation_id": str(question.conversation_id)})
    return Submitted(request_id=request_id, conversation_id=question.conversation_id, is_new=True)


def _checked(question: Question, max_characters: int) -> str:
    """The text as Postgres can hold it: no NUL, no half of a surrogate pair."""
    text = storable(question.text.strip())
    if not text and not question.regenerate:
        raise Empty
    if len(text) > max_characters:
        raise TooLong(len(text), max_characters)
    return text


def _enter_conversation(connection: Connection, question: Question, text: str) -> UUID | None:
    """Make the conversation with its first question; lock it; return the end of its branch."""
    connection.execute(
        upsert(conversation)
        .values(id=question.conversation_id, owner_id=question.owner_id, title=_title_of(text))
        .on_conflict_do_nothing()
    )
    row = connection.execute(
        select(conversation.c.leaf_id)
        .where(
            conversation.c.id == question.conversation_id,
            conversation.c.owner_id == question.owner_id,
            conversation.c.deleted_at.is_(None),
        )
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise NotFound
    leaf_id: UUID | None = row.leaf_id
    return leaf_id


def _title_of(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= TITLE_CHARACTERS else words[: TITLE_CHARACTERS - 1].rstrip() + "…"


def _question_of(connection: Connection, leaf_id: UUID | None) -> UUID:
    """The user's message that the branch's last answer replies to, or the last message itself."""
    row = connection.execute(
        select(case((message.c.role == "user", message.c.id), else_=message.c.parent_id)).where(message.c.id == leaf_id)
    ).scalar_one_or_none()
    if row is None:
        raise NothingToAnswer
    return UUID(str(row))


def _known(connection: Connection, question: Question) -> Submitted | None:
    """The request that the same key made before. Raises StillRunning where another one is under way here."""
    same = connection.execute(
        select(_R.id, _R.conversation_id).where(
            _R.owner_id == question.owner_id, _R.idempotency_key == question.idempotency_key
        )
    ).one_or_none()
    if same is not None:
        return Submitted(request_id=same.id, conversation_id=same.conversation_id, is_new=False)
    running = connection.execute(
        select(_R.id).where(_R.conversation_id == question.conversation_id, _R.status.in_(ACTIVE))
    ).scalar_one_or_none()
    if running is not None:
        raise StillRunning(running)
    return None


def _add_question(
    connection: Connection, question: Question, message_id: UUID, parent_id: UUID | None, text: str
) -> None:
    connection.execute(
        insert(message).values(
            id=message_id,
            conversation_id=question.conversation_id,
            parent_id=parent_id,
            role="user",
            content=text,
        )
    )


def _move_leaf(connection: Connection, question: Question, leaf_id: UUID) -> None:
    connection.execute(
        update(conversation)
        .where(conversation.c.id == question.conversation_id)
        .values(
            leaf_id=leaf_id,
            updated_at=NOW,
            model=func.coalesce(func.nullif(question.model, ""), conversation.c.model),
        )
    )


def stop(engine: Engine, request_id: UUID, *, owner_id: str) -> Status:
    """Stop a request: a queued one is cancelled here and now; of a running one the worker is asked.

    Returns the status after it: CANCELLED, RUNNING (asked), or the end that it had already come to. Raises NotFound.
    """
    this = _R.id == request_id
    with transaction(engine) as connection:
        # Locked first: between two looks a running request may be queued again, and the stop would be lost.
        row = connection.execute(
            select(_R.status, _R.conversation_id).where(this, _R.owner_id == owner_id).with_for_update()
        ).one_or_none()
        if row is None:
            raise NotFound
        if row.status == Status.QUEUED:
            end(connection, (this,), Ending(status=Status.CANCELLED, outcome=None))
            return Status.CANCELLED
        if row.status == Status.RUNNING:
            asked_at = func.coalesce(_R.stop_requested_at, NOW)
            connection.execute(update(chat_request).where(this).values(stop_requested_at=asked_at))
            notify.send(connection, notify.STOP, request_id, row.conversation_id)
            log.info("stop asked", extra={"request_id": str(request_id), "conversation_id": str(row.conversation_id)})
    return Status(row.status)
