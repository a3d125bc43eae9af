"""An owner's earlier answer to the same prompt, for NARU_ANSWER_CACHE_SECONDS.

Nothing is stored twice: the earlier answer is found in its own rows, by the hash of its prompt. Once its conversation
is deleted, it is no longer found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Engine, Interval, LargeBinary, bindparam, cast, literal_column, select, update

from shared.lifecycle.ending import NOW
from shared.lifecycle.values import Claimed
from shared.lifecycle.working import FENCE, fence_values
from shared.postgres.database import statement
from shared.postgres.prepared import prepared
from shared.tables import Status, chat_request, conversation, message

_R = chat_request.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """An earlier answer, the time at which it was given, and how many messages its prompt left out."""

    text: str = field(repr=False)
    at: datetime
    left_out: int = 0


def earlier_answer(engine: Engine, claimed: Claimed, prompt_hash: bytes, *, within_seconds: float) -> Earlier | None:
    """Return the owner's newest whole answer to a prompt with this hash, and note the hash for later questions.

    None where there is none, where the question is asked again (regenerate), or if the worker has lost the request.
    """
    values = {**fence_values(claimed), "by_hash": prompt_hash, "within": timedelta(seconds=within_seconds)}
    with statement(engine) as connection:
        row = connection.execute(_EARLIER, values).one_or_none()
    return None if row is None else Earlier(text=row.content, at=row.ended_at, left_out=row.left_out or 0)


_BY_HASH = bindparam("by_hash", type_=LargeBinary)
_NOTED = (
    update(chat_request)
    .where(*FENCE)
    .values(prompt_hash=_BY_HASH)
    .returning(_R.id, _R.owner_id, _R.conversation_id, _R.user_message_id)
    .cte("noted")
)
_O, _SAME = chat_request.alias("o").c, chat_request.alias("same").c
_ANSWERED_BEFORE = (
    select(_SAME.id)
    .where(
        _SAME.conversation_id == _NOTED.c.conversation_id,
        _SAME.user_message_id == _NOTED.c.user_message_id,
        _SAME.id != _NOTED.c.id,
    )
    .exists()
)
_EARLIER = prepared(
    select(message.c.content, _O.ended_at, _O.left_out)
    .select_from(_NOTED)
    .join(_O.id.table, (_O.owner_id == _NOTED.c.owner_id) & (_O.prompt_hash == _BY_HASH) & (_O.id != _NOTED.c.id))
    .join(conversation, (conversation.c.id == _O.conversation_id) & conversation.c.deleted_at.is_(None))
    .join(message, message.c.request_id == _O.id)
    .where(
        _O.prompt_hash.is_not(None),  # in the text, for the partial index
        _O.status == literal_column(f"'{Status.SUCCEEDED.value}'"),
        _O.finish == literal_column("'stop'"),  # not one that was cut off
        _O.earlier_answer_at.is_(None),  # the answer itself, not what was given again: its time counts
        _O.ended_at > NOW - cast(bindparam("within"), Interval),
        message.c.content != "",
        ~_ANSWERED_BEFORE,
    )
    .order_by(_O.ended_at.desc())
    .limit(literal_column("1"))
)
