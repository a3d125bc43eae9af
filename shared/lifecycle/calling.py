"""Calls that go on at their provider when nobody reads them: their ids, for the worker that takes one up or cancels it.

Only some APIs have such calls, and only their requests run these statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Engine, Interval, Text, bindparam, literal_column, select, union_all, update

from shared.lifecycle.ending import NOW
from shared.lifecycle.values import Claimed
from shared.lifecycle.working import FENCE, fence_values
from shared.postgres.database import statement, transaction
from shared.postgres.prepared import prepared
from shared.tables import chat_request, request_attempt

_R, _A = chat_request.c, request_attempt.c
#: The calls that one look returns, and how long after the request one may still run.
MOST_CALLS = 100
LONGEST: ColumnElement[timedelta] = literal_column("interval '1 hour'", Interval)


@dataclass(frozen=True, slots=True)
class LeftCall:
    """A call that may still run at the provider of `model`, although its request has ended or another model has it."""

    request_id: UUID
    model: str
    call_id: str


def note_call(engine: Engine, claimed: Claimed, call_id: str) -> bool:
    """Store the id of the attempt's call; False if the worker has lost the request, or it has ended."""
    with statement(engine) as connection:
        return connection.execute(_NOTE, {**fence_values(claimed), "of_call": call_id}).one_or_none() is not None


def left_calls(engine: Engine) -> Sequence[LeftCall]:
    """Return calls that nobody will read, the longest ended first."""
    with statement(engine) as connection:
        return [LeftCall(row.id, row.model, row.call_id) for row in connection.execute(_LEFT)]


def forget_call(engine: Engine, request_id: UUID, call_id: str) -> None:
    """Remove the id of a call that has ended from its ended request, or from the attempt that left it."""
    with transaction(engine) as connection:
        for forget in (_FORGET, _FORGET_OF_ATTEMPT):
            connection.execute(forget, {"the_request": request_id, "of_call": call_id})


_THE_REQUEST, _OF_CALL = bindparam("the_request", type_=_R.id.type), bindparam("of_call", type_=Text)
_NOTE = prepared(update(chat_request).where(*FENCE).values(call_id=_OF_CALL).returning(_R.id))
_HAS_ENDED = _R.ended_at.is_not(None)
_OF_REQUESTS = select(_R.id, _R.model, _R.call_id, _R.ended_at).where(
    _R.call_id.is_not(None), _HAS_ENDED, _R.ended_at > NOW - LONGEST
)
_OF_ATTEMPTS = select(_A.request_id, _A.call_model, _A.call_id, _A.ended_at).where(
    _A.call_id.is_not(None), _A.ended_at > NOW - LONGEST
)
_LEFT = prepared(union_all(_OF_REQUESTS, _OF_ATTEMPTS).order_by("ended_at").limit(MOST_CALLS))
_FORGET = prepared(
    update(chat_request).where(_R.id == _THE_REQUEST, _R.call_id == _OF_CALL, _HAS_ENDED).values(call_id=None)
)
_FORGET_OF_ATTEMPT = prepared(
    update(request_attempt).where(_A.request_id == _THE_REQUEST, _A.call_id == _OF_CALL).values(call_id=None)
)
