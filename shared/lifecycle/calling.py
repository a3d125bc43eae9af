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
    update,
)

from shared.lifecycle.ending import NOW
from shared.lifecycle.lanes import provider_of
from shared.lifecycle.values import Claimed
from shared.lifecycle.working import FENCE, fence_values
from shared.postgres.database import statement
from shared.postgres.prepared import prepared
from shared.tables import chat_request

_R = chat_request.c
#: The calls that one look returns, and how long after the request one may still run.
MAX_ORPHANS = 20
ORPHAN_AGE: ColumnElement[timedelta] = literal_column("interval '1 hour'", Interval)
_HAS_ENDED = _R.ended_at.is_not(None)
#: Whether a call may still run although its request has ended.
MAY_GO_ON = (_R.call_id.is_not(None), _HAS_ENDED, _R.ended_at > NOW - ORPHAN_AGE)


@dataclass(frozen=True, slots=True)
class OrphanedCall:
    """A call that may still run at the provider of `model`, although its request has ended."""

    request_id: UUID
    model: str
    call_id: str


def note_call(engine: Engine, claimed: Claimed, call_id: str) -> bool:
    """Store the id of the attempt's call; False if the worker has lost the request, or it has ended."""
    with statement(engine) as connection:
        return connection.execute(_NOTE, {**fence_values(claimed), "of_call": call_id}).one_or_none() is not None


def orphaned_calls(engine: Engine, providers: Sequence[str]) -> Sequence[OrphanedCall]:
    """Return calls to these providers that may go on after their request.

    They are chosen at random: several workers look, and calls that cannot be cancelled must not hide the others.
    """
    with statement(engine) as connection:
        found = connection.execute(_ORPHANED, {"of_providers": list(providers)})
        return [OrphanedCall(row.id, row.model, row.call_id) for row in found]


def forget_call(engine: Engine, request_id: UUID, call_id: str) -> None:
    """Remove the id of a call that has ended from its ended request."""
    with statement(engine) as connection:
        connection.execute(_FORGET, {"the_request": request_id, "of_call": call_id})


def has_orphaned_calls(engine: Engine, owner_id: str) -> bool:
    """Whether a call of this owner may go on after its request."""
    found = select(_R.id).where(_R.owner_id == owner_id, *MAY_GO_ON).limit(1)
    with statement(engine) as connection:
        return connection.execute(found).one_or_none() is not None


_OF_CALL = bindparam("of_call", type_=Text)
_PROVIDERS = bindparam("of_providers", type_=ARRAY(Text))
_NOTE = prepared(update(chat_request).where(*FENCE).values(call_id=_OF_CALL).returning(_R.id))
_ORPHANED = prepared(
    select(_R.id, _R.model, _R.call_id)
    .where(*MAY_GO_ON, provider_of(_R.model) == any_(_PROVIDERS))
    .order_by(func.random())
    .limit(MAX_ORPHANS)
)
_FORGET = prepared(
    update(chat_request)
    .where(_R.id == bindparam("the_request", type_=_R.id.type), _R.call_id == _OF_CALL, _HAS_ENDED)
    .values(call_id=None)
)
