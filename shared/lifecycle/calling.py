"""Calls that go on at their provider when nobody reads them: their ids, for the worker that takes one up or cancels it.

Only some APIs have such calls, and only their requests run these statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Engine,
    Interval,
    Text,
    any_,
    bindparam,
    func,
    literal_column,
    select,
    union_all,
    update,
)

from shared.lifecycle.ending import NOW
from shared.lifecycle.lanes import provider_of
from shared.lifecycle.values import Claimed
from shared.lifecycle.working import FENCE, fence_values
from shared.postgres.database import statement, transaction
from shared.postgres.prepared import prepared
from shared.tables import chat_request, request_attempt

_R, _A = chat_request.c, request_attempt.c
#: The calls that one look returns, and how long after the request one may still run.
MAX_ORPHANS = 20
ORPHAN_AGE: ColumnElement[timedelta] = literal_column("interval '1 hour'", Interval)
_HAS_ENDED = _R.ended_at.is_not(None)
#: Whether a call may still run although its request has ended.
MAY_GO_ON = (_R.call_id.is_not(None), _HAS_ENDED, _R.ended_at > NOW - ORPHAN_AGE)
#: The same for the call that an attempt left when another model took over.
ATTEMPTS_MAY_GO_ON = (_A.call_id.is_not(None), _A.ended_at > NOW - ORPHAN_AGE)


@dataclass(frozen=True, slots=True)
class OrphanedCall:
    """A call that may still run at the provider of `model`, although its request has ended or another model has it."""

    request_id: UUID
    model: str
    call_id: str


def note_call(engine: Engine, claimed: Claimed, call_id: str) -> bool:
    """Store the id of the attempt's call; False if the worker has lost the request, or it has ended."""
    with statement(engine) as connection:
        return connection.execute(_NOTE, {**fence_values(claimed), "of_call": call_id}).one_or_none() is not None


def orphaned_calls(engine: Engine, providers: Sequence[str]) -> Sequence[OrphanedCall]:
    """Return calls to these providers that nobody will read.

    They are chosen at random: several workers look, and calls that cannot be cancelled must not hide the others.
    """
    with statement(engine) as connection:
        found = connection.execute(_ORPHANED, {"of_providers": list(providers)})
        return [OrphanedCall(row.id, row.model, row.call_id) for row in found]


def forget_call(engine: Engine, request_id: UUID, call_id: str) -> None:
    """Remove the id of a call that has ended from its ended request, or from the attempt that left it."""
    with transaction(engine) as connection:
        for forget in (_FORGET, _FORGET_OF_ATTEMPT):
            connection.execute(forget, {"the_request": request_id, "of_call": call_id})


def has_orphaned_calls(engine: Engine, owner_id: str) -> bool:
    """Whether a call of this owner may go on that nobody will read."""
    of_attempts = select(_A.request_id).join(chat_request, _R.id == _A.request_id)
    found = union_all(
        select(_R.id).where(_R.owner_id == owner_id, *MAY_GO_ON),
        of_attempts.where(_R.owner_id == owner_id, *ATTEMPTS_MAY_GO_ON),
    ).limit(1)
    with statement(engine) as connection:
        return connection.execute(found).one_or_none() is not None


_THE_REQUEST, _OF_CALL = bindparam("the_request", type_=_R.id.type), bindparam("of_call", type_=Text)
_PROVIDERS = bindparam("of_providers", type_=ARRAY(Text))
_NOTE = prepared(update(chat_request).where(*FENCE).values(call_id=_OF_CALL).returning(_R.id))
_FOUND = union_all(
    select(_R.id, _R.model, _R.call_id).where(*MAY_GO_ON, provider_of(_R.model) == any_(_PROVIDERS)),
    select(_A.request_id, _A.call_model, _A.call_id).where(
        *ATTEMPTS_MAY_GO_ON, provider_of(_A.call_model) == any_(_PROVIDERS)
    ),
).subquery()
_ORPHANED = prepared(select(_FOUND).order_by(func.random()).limit(MAX_ORPHANS))
_FORGET = prepared(
    update(chat_request).where(_R.id == _THE_REQUEST, _R.call_id == _OF_CALL, _HAS_ENDED).values(call_id=None)
)
_FORGET_OF_ATTEMPT = prepared(
    update(request_attempt).where(_A.request_id == _THE_REQUEST, _A.call_id == _OF_CALL).values(call_id=None)
)
