"""The person's verbs: submit and stop."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    CTE,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Interval,
    Select,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.dialects.postgresql import insert as upsert

from shared import fleet
from shared.errors import Empty, NotFound, NothingToAnswer, StillRunning, TooLong, Unavailable, UnknownModel, Unsure
from shared.lifecycle.ending import NOW, Ending, end
from shared.lifecycle.owner_limits import MAY_ASK, refuse_over_limit, values_of
from shared.lifecycle.values import OwnerLimits, Question, Submitted, storable
from shared.people import Owner
from shared.postgres import notify
from shared.postgres.connections import PATIENCE_SECONDS
from shared.postgres.database import statement, transaction
from shared.postgres.prepared import Batch, prepared
from shared.tables import ACTIVE, Status, chat_request, conversation, message

log = logging.getLogger(__name__)

TITLE_CHARACTERS = 60
#: Between two tries to find out whether a question was stored.
LOOK_AGAIN_SECONDS = 0.25
_R = chat_request.c
_UNLIMITED = OwnerLimits()


def submit(
    engine: Engine,
    question: Question,
    *,
    deadline_seconds: float,
    max_characters: int,
    limits: OwnerLimits = _UNLIMITED,
) -> Submitted:
    """Store a question and its request, or find the request that the same key made before.

    Raises StillRunning, NotFound, Empty, TooLong, NothingToAnswer, UnknownModel, TooManyActive, OwnerTooFast or
    Unavailable: nothing is stored then, so nothing of it is answered later. Where the commit's outcome was lost, the
    same key finds it out at once, on another connection; Unsure when Postgres stays away for so long that it cannot.
    """
    text = _checked(question, max_characters)
    limit, is_unsure = time.monotonic() + PATIENCE_SECONDS, False
    while True:
        try:
            stored = _submit_once(engine, question, text, deadline_seconds=deadline_seconds, limits=limits)
            # Found by its key after a lost commit: it was this very call that stored it.
            return replace(stored, is_new=stored.is_new or is_unsure)
        except Unavailable as error:
            is_unsure = is_unsure or isinstance(error, Unsure)
            if not is_unsure:
                raise
            if time.monotonic() > limit:
                raise Unsure from error
            time.sleep(LOOK_AGAIN_SECONDS)


def _submit_once(
    engine: Engine, question: Question, text: str, *, deadline_seconds: float, limits: OwnerLimits
) -> Submitted:
    request_id = uuid4()
    values = {
        "q_request": request_id,
        "q_owner": question.owner.key,
        "q_conversation": question.conversation_id,
        "q_title": _title_of(text),
        "q_message": uuid4(),
        "q_text": text,
        "q_key": question.idempotency_key,
        "q_model": question.model,
        "q_deadline": timedelta(seconds=deadline_seconds),
        **values_of(limits),
    }
    if question.regenerate or not _is_stored_at_once(engine, values):
        with transaction(engine) as connection:
            if (known := _store_by_steps(connection, question, values, limits)) is not None:
                return known
    log.info("submitted", extra={"request_id": str(request_id), "conversation_id": str(question.conversation_id)})
    return Submitted(request_id=request_id, conversation_id=question.conversation_id, is_new=True)


def _is_stored_at_once(engine: Engine, values: dict[str, Any]) -> bool:
    """What nearly every question needs, in one round trip and a transaction of its own; False: nothing is stored."""
    with statement(engine) as connection:
        return _AT_ONCE.run(connection, values).first() is not None


def _store_by_steps(
    connection: Connection, question: Question, values: dict[str, Any], limits: OwnerLimits
) -> Submitted | None:
    """The same, and an answer once more, by steps that tell what is in the way: a request that the same key made, or
    an error. None: it is stored."""
    leaf_id = _enter_conversation(connection, values)
    if question.regenerate:
        if (known := _known(connection, question)) is not None:
            return known
        values = {**values, "q_message": _question_of(connection, leaf_id)}
    stored = connection.execute(_STORE_AGAIN if question.regenerate else _STORE, values).one_or_none()
    return _why_not(connection, question, limits) if stored is None else None


def _checked(question: Question, max_characters: int) -> str:
    """The text as Postgres can hold it: no NUL, no half of a surrogate pair."""
    text = storable(question.text.strip())
    if not text and not question.regenerate:
        raise Empty
    if len(text) > max_characters:
        raise TooLong(len(text), max_characters)
    return text


def _enter_conversation(connection: Connection, values: dict[str, Any]) -> UUID | None:
    """Make the conversation with its first question; lock it; return the end of its branch."""
    row = connection.execute(_ENTER, values).one_or_none()
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


def _why_not(connection: Connection, question: Question, limits: OwnerLimits) -> Submitted:
    """The request that stood in the way, when the same key made it.

    Raises StillRunning, UnknownModel, TooManyActive or OwnerTooFast.
    """
    if (known := _known(connection, question)) is not None:
        return known
    if question.model and not connection.execute(select(fleet.may_offer(literal(question.model)))).scalar_one():
        raise UnknownModel
    refuse_over_limit(connection, question.owner, limits)
    raise StillRunning  # the same key was stored in another conversation meanwhile, or a limit is free again


def _known(connection: Connection, question: Question) -> Submitted | None:
    """The request that the same key made before. Raises StillRunning where another one is under way here."""
    values = {
        "q_owner": question.owner.key,
        "q_key": question.idempotency_key,
        "q_conversation": question.conversation_id,
    }
    rows = connection.execute(_KNOWN, values).all()
    for row in rows:
        if row.is_same:
            return Submitted(request_id=row.id, conversation_id=row.conversation_id, is_new=False)
    if rows:
        raise StillRunning(rows[0].id)
    return None


# Statements that every question runs, built once. Their parameters are not named as columns are: SQLAlchemy would set
# those columns.
def _given(name: str, column: Column[Any]) -> BindParameter[Any]:
    return bindparam(f"q_{name}", type_=column.type)


_OWNER, _KEY = _given("owner", _R.owner_id), _given("key", _R.idempotency_key)
_CONVERSATION = _given("conversation", conversation.c.id)
_WITH_SAME_KEY = select(_R.id, _R.conversation_id).where(_R.owner_id == _OWNER, _R.idempotency_key == _KEY)
# In the text, not as parameters: the plan is made once, and must use the partial index.
_ACTIVE: list[ColumnElement[str]] = [literal_column(f"'{status.value}'") for status in ACTIVE]
_UNDER_WAY = select(_R.id, _R.conversation_id).where(_R.conversation_id == _CONVERSATION, _R.status.in_(_ACTIVE))
_KNOWN = union_all(_WITH_SAME_KEY.add_columns(literal(True).label("is_same")), _UNDER_WAY.add_columns(literal(False)))


_MODEL = _given("model", _R.model)
_IS_OFFERED = or_(_MODEL == "", fleet.may_offer(_MODEL))
_TITLE = _given("title", conversation.c.title)


def _enter_statement(*if_so: ColumnElement[bool]) -> Insert:
    """Make the conversation with its first question. One that is there is set to what it is: that locks it, and gives
    it back, in the same statement."""
    made = {"id": _CONVERSATION, "owner_id": _OWNER, "title": _TITLE}
    new = upsert(conversation).from_select(
        list(made), select(*(cast(value, conversation.c[name].type) for name, value in made.items())).where(*if_so)
    )
    return new.on_conflict_do_update(
        index_elements=[conversation.c.id],
        set_={"owner_id": conversation.c.owner_id},
        where=and_(conversation.c.owner_id == new.excluded.owner_id, conversation.c.deleted_at.is_(None)),
    )


_ENTER = prepared(_enter_statement().returning(conversation.c.leaf_id))


def _stored_statement(message_id: BindParameter[Any]) -> CTE:
    """The request; nothing in a conversation that this transaction has not entered."""
    values = {
        "id": _given("request", _R.id),
        "owner_id": _OWNER,
        "conversation_id": _CONVERSATION,
        "user_message_id": message_id,
        "idempotency_key": _KEY,
        "model": _MODEL,
        "status": literal(Status.QUEUED.value),
        "deadline_at": NOW + cast(bindparam("q_deadline"), Interval),
        "dispatched_at": NOW,
    }
    c = conversation.c
    is_entered = select(c.id).where(c.id == _CONVERSATION, c.owner_id == _OWNER, c.deleted_at.is_(None)).exists()
    # Looked for before the insert, which would wait for a request that ends just now, while its end waits for the
    # conversation that is locked here.
    is_free = and_(~_WITH_SAME_KEY.exists(), ~_UNDER_WAY.exists(), _IS_OFFERED, MAY_ASK)
    chosen = select(*(cast(value, _R[name].type) for name, value in values.items())).where(is_entered, is_free)
    made = upsert(chat_request).from_select(list(values), chosen)
    # No conflict target: with one, a conflict on the other unique index would raise instead.
    return made.on_conflict_do_nothing().returning(_R.id, _R.conversation_id).cte("stored")


def _store_statement(*, with_question: bool) -> Select[Any]:
    """The request first, then (unless it is asked again) its question, the branch's new end and the notification."""
    c, message_id = conversation.c, _given("message", message.c.id)
    stored = _stored_statement(message_id)
    # Its parent is the branch's end before `moved`: a statement sees what was there when it began.
    said = (message_id, c.id, c.leaf_id, literal("user"), _given("text", message.c.content))
    asked = insert(message).from_select(
        ["id", "conversation_id", "parent_id", "role", "content"],
        select(*said).where(c.id == stored.c.conversation_id),
    )
    model = func.coalesce(func.nullif(_MODEL, ""), c.model)
    moved = (
        update(conversation)
        .where(c.id == stored.c.conversation_id)
        .values(leaf_id=message_id, updated_at=NOW, model=model)
        .cte("moved")
    )
    besides = (asked.cte("asked"), moved) if with_question else (moved,)
    return select(notify.of_row(notify.REQUEST, stored)).add_cte(*besides)


_STORE = prepared(_store_statement(with_question=True))
_STORE_AGAIN = prepared(_store_statement(with_question=False))
# A model that nobody offers makes no conversation either, nor does an owner at a limit: what is refused leaves nothing.
_AT_ONCE = Batch(_enter_statement(_IS_OFFERED, MAY_ASK), _store_statement(with_question=True))


def stop(engine: Engine, request_id: UUID, *, owner: Owner) -> Status:
    """Stop a request: a queued one is cancelled here and now; of a running one the worker is asked.

    Returns the status after it: CANCELLED, RUNNING (asked), or the end that it had already come to. Raises NotFound.
    """
    this = _R.id == request_id
    with transaction(engine) as connection:
        # Locked first: between two looks a running request may be queued again, and the stop would be lost.
        row = connection.execute(
            select(_R.status, _R.conversation_id).where(this, _R.owner_id == owner.key).with_for_update()
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
