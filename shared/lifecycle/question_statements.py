"""The statements that store a question, or find the request in its way. Built once, because each question runs them.

Their parameters begin with `q_`: SQLAlchemy would set a column to a parameter of the same name.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    CTE,
    BindParameter,
    Column,
    ColumnElement,
    Interval,
    Select,
    Subquery,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    literal_column,
    not_,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.dialects.postgresql import insert as upsert

from shared import fleet
from shared.lifecycle import lanes
from shared.lifecycle.ending import NOW
from shared.lifecycle.owner_limits import MAY_ASK
from shared.postgres.prepared import prepared
from shared.tables import ACTIVE, Status, chat_request, conversation, message

_R = chat_request.c


def _given(name: str, column: Column[Any]) -> BindParameter[Any]:
    return bindparam(f"q_{name}", type_=column.type)


_OWNER, _KEY = _given("owner", _R.owner_id), _given("key", _R.idempotency_key)
_CONVERSATION = _given("conversation", conversation.c.id)
_TITLE = _given("title", conversation.c.title)
_MODEL = _given("model", _R.model)
#: JSON as text: a Batch passes values to the driver as they are.
_TUNING = bindparam("q_tuning", type_=Text)

_WITH_SAME_KEY = select(_R.id, _R.conversation_id).where(_R.owner_id == _OWNER, _R.idempotency_key == _KEY)
# In the text, not as parameters: the plan is made once, and must use the partial index.
_ACTIVE: list[ColumnElement[str]] = [literal_column(f"'{status.value}'") for status in ACTIVE]
_UNDER_WAY = select(_R.id, _R.conversation_id).where(_R.conversation_id == _CONVERSATION, _R.status.in_(_ACTIVE))
_IS_OFFERED = or_(_MODEL == "", fleet.may_offer(_MODEL))


def _named() -> Subquery:
    """Return the question's model and lane: without a model the default, if a worker is live."""
    model = case((_MODEL != "", _MODEL), else_=func.coalesce(fleet.default_model(), "")).label("model")
    resolved = select(model).subquery("resolved")
    lane = case((resolved.c.model != "", lanes.lane_of_column(resolved.c.model)), else_="").label("lane")
    return select(resolved.c.model, lane).subquery("named")


_NAMED = _named()
_IS_FULL = lanes.is_full(select(_NAMED.c.lane).scalar_subquery())

#: Finds the request with the same key (`is_same`), and the active request of the conversation.
FIND = union_all(_WITH_SAME_KEY.add_columns(literal(True).label("is_same")), _UNDER_WAY.add_columns(literal(False)))


def _enter(*conditions: ColumnElement[bool]) -> Insert:
    """Create the conversation under these conditions, or lock the one that exists.

    The update sets a column to its own value: that locks the row and lets RETURNING give it back.
    """
    made = {"id": _CONVERSATION, "owner_id": _OWNER, "title": _TITLE, "tuning": _TUNING}
    chosen = select(*(cast(value, conversation.c[name].type) for name, value in made.items())).where(*conditions)
    new = upsert(conversation).from_select(list(made), chosen)
    return new.on_conflict_do_update(
        index_elements=[conversation.c.id],
        set_={"owner_id": conversation.c.owner_id},
        where=and_(conversation.c.owner_id == new.excluded.owner_id, conversation.c.deleted_at.is_(None)),
    )


def _stored_request(message_id: BindParameter[Any]) -> CTE:
    """Insert the request; insert nothing where another one is in its way, or in a conversation that was not entered.

    Without a model and without a worker it gets no model and no lane; the reconciler assigns them.
    """
    values = {
        "id": _given("request", _R.id),
        "owner_id": _OWNER,
        "conversation_id": _CONVERSATION,
        "user_message_id": message_id,
        "idempotency_key": _KEY,
        "model": _NAMED.c.model,
        "lane": _NAMED.c.lane,
        "fair_at": lanes.fair_at(_OWNER, _NAMED.c.lane),
        "http_request_id": _given("http_request", _R.http_request_id),
        "status": literal(Status.QUEUED.value),
        "deadline_at": NOW + cast(bindparam("q_deadline"), Interval),
    }
    c = conversation.c
    is_entered = select(c.id).where(c.id == _CONVERSATION, c.owner_id == _OWNER, c.deleted_at.is_(None)).exists()
    # Checked before the insert. The insert alone would wait for a request that is ending now, while the end of that
    # request waits for the conversation that this transaction has locked.
    is_free = and_(~_WITH_SAME_KEY.exists(), ~_UNDER_WAY.exists(), _IS_OFFERED, MAY_ASK, not_(_IS_FULL))
    chosen = (
        select(*(cast(value, _R[name].type) for name, value in values.items()))
        .select_from(_NAMED)
        .where(is_entered, is_free)
    )
    made = upsert(chat_request).from_select(list(values), chosen)
    # No conflict target: with one, a conflict on the other unique index would raise instead.
    return made.on_conflict_do_nothing().returning(_R.id, _R.conversation_id, _R.lane).cte("stored")


def _store(*, with_question: bool) -> Select[Any]:
    """Insert the request and the question, and move the branch's end to the question.

    Return the lane; no row where something is in the way.

    Without `with_question` the request answers a question that is stored already.
    """
    c, message_id = conversation.c, _given("message", message.c.id)
    stored = _stored_request(message_id)
    # `leaf_id` is the branch's end before `moved`, because a statement sees the rows as they were when it began.
    question = (message_id, c.id, c.leaf_id, literal("user"), _given("text", message.c.content))
    asked = insert(message).from_select(
        ["id", "conversation_id", "parent_id", "role", "content"],
        select(*question).where(c.id == stored.c.conversation_id),
    )
    model = func.coalesce(func.nullif(_MODEL, ""), c.model)
    moved = (
        update(conversation)
        .where(c.id == stored.c.conversation_id)
        .values(leaf_id=message_id, updated_at=NOW, model=model)
        .cte("moved")
    )
    besides = (asked.cte("asked"), moved) if with_question else (moved,)
    return select(stored.c.id, stored.c.lane).add_cte(*besides)


#: Creates or locks the conversation and returns the end of its branch; no row where it is another owner's or deleted.
ENTER = prepared(_enter().returning(conversation.c.leaf_id))
#: Like ENTER if the model is offered and no limit is reached: a refused question creates no conversation.
ENTER_IF_ALLOWED = _enter(_IS_OFFERED, MAY_ASK, not_(_IS_FULL))
#: Finds out whether the question met a full queue.
QUEUE_IS_FULL = prepared(select(_IS_FULL))
#: Stores the request and its question; no row where something is in the way.
STORE_QUESTION = _store(with_question=True)
STORE = prepared(STORE_QUESTION)
#: Stores a request that answers the question `q_message` again.
STORE_AGAIN = prepared(_store(with_question=False))
