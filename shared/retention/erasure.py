"""Erases everything of one owner at once: hides it, stops its answers and their calls, then removes its rows."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine, delete, func, select, update

from shared import lifecycle
from shared.errors import NotFound
from shared.people import Owner
from shared.postgres.database import transaction
from shared.retention.slices import MOST_ROWS, ROWS_OF_A_CONVERSATION, remove
from shared.tables import ACTIVE, chat_request, conversation, message, quota, spending

log = logging.getLogger(__name__)

#: Longest wait for the end of the running answers, and pause between two looks.
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.5
#: Longest wait until the workers have cancelled the calls that go on at their providers.
CALLS_SECONDS = 30.0
#: An owner who goes on asking has new rows in each round.
ROUNDS = 5
CONVERSATIONS_AT_ONCE = MOST_ROWS // ROWS_OF_A_CONVERSATION

_C, _M, _R = conversation.c, message.c, chat_request.c


class StillAsking(Exception):
    """This person goes on asking, or an answer does not end."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """The number of an owner's rows, deleted conversations included; `active` counts the unfinished requests."""

    conversations: int
    messages: int
    requests: int
    active: int


def holdings_of(engine: Engine, owner: Owner) -> Holdings:
    """Count the owner's rows; all are 0 for an unknown owner."""
    theirs = select(_C.id).where(_C.owner_id == owner.key)
    counted = select(
        select(func.count()).select_from(theirs.subquery()).scalar_subquery(),
        select(func.count()).where(_M.conversation_id.in_(theirs)).scalar_subquery(),
        select(func.count()).where(_R.conversation_id.in_(theirs)).scalar_subquery(),
        select(func.count()).where(_R.owner_id == owner.key, _R.status.in_(ACTIVE)).scalar_subquery(),
    )
    with transaction(engine) as connection:
        return Holdings(*connection.execute(counted).one())


def erase(engine: Engine, owner: Owner, *, stop_patience_seconds: float) -> Counter[str]:
    """Remove every row of the owner; return their number by kind.

    A running answer is stopped by its worker, or here once its worker has not reacted for `stop_patience_seconds`. A
    call that goes on at its provider is cancelled by a worker, for which it waits up to CALLS_SECONDS.
    When interrupted, it has hidden all conversations and removed some; it can be run again. Raises StillAsking if the
    owner goes on asking, and Unavailable.
    """
    gone: Counter[str] = Counter()
    for _ in range(ROUNDS):
        ids = hide(engine, owner)
        if not ids:
            return gone + _forget_use(engine, owner)
        _stop_all(engine, owner, stop_patience_seconds)
        _await_cancels(engine, owner)
        for begin in range(0, len(ids), CONVERSATIONS_AT_ONCE):
            gone += _remove(engine, ids[begin : begin + CONVERSATIONS_AT_ONCE])
    raise StillAsking


def _forget_use(engine: Engine, owner: Owner) -> Counter[str]:
    """Remove the owner's limits and what they used."""
    gone: Counter[str] = Counter()
    with transaction(engine) as connection:
        gone["spending"] = connection.execute(delete(spending).where(spending.c.owner_id == owner.key)).rowcount
        connection.execute(delete(quota).where(quota.c.subject == owner.key))
    return +gone


def hide(engine: Engine, owner: Owner) -> Sequence[UUID]:
    """Mark all conversations as deleted, so that nobody can ask in them, and return their ids."""
    theirs = _C.owner_id == owner.key
    with transaction(engine) as connection:
        connection.execute(
            update(conversation).where(theirs, _C.deleted_at.is_(None)).values(deleted_at=func.clock_timestamp())
        )
        return connection.execute(select(_C.id).where(theirs)).scalars().all()


def _stop_all(engine: Engine, owner: Owner, patience_seconds: float) -> None:
    """Stop the owner's requests, and wait until they have ended."""
    active = select(_R.id, _R.attempt).where(_R.owner_id == owner.key, _R.status.in_(ACTIVE))
    limit = time.monotonic() + STOP_SECONDS + patience_seconds
    while True:
        with transaction(engine) as connection:
            rows = connection.execute(active).all()
        if not rows:
            return
        if time.monotonic() > limit:
            raise StillAsking
        for row in rows:
            _stop(engine, owner, row.id, row.attempt, patience_seconds)
        time.sleep(LOOK_SECONDS)


def _await_cancels(engine: Engine, owner: Owner) -> None:
    """Wait until the owner's calls have ended at their providers. Nobody could find them without their rows."""
    limit = time.monotonic() + CALLS_SECONDS
    while lifecycle.has_orphaned_calls(engine, owner.key):
        if time.monotonic() > limit:
            log.warning("calls at a provider could not be cancelled in time, and may be billed")
            return
        time.sleep(LOOK_SECONDS)


def _stop(engine: Engine, owner: Owner, request_id: UUID, attempt: int, patience_seconds: float) -> None:
    try:
        lifecycle.stop(engine, request_id, owner=owner)
    except NotFound:
        return  # it has left with its conversation meanwhile
    lifecycle.cancel_unanswered(engine, request_id, attempt=attempt, patience_seconds=patience_seconds, text=None)


def _remove(engine: Engine, conversation_ids: Sequence[UUID]) -> Counter[str]:
    """Remove these conversations in transactions of MOST_ROWS rows."""
    gone: Counter[str] = Counter()
    while True:
        with transaction(engine) as connection:
            locked = select(_C.id).where(_C.id.in_(conversation_ids)).with_for_update()
            ids = connection.execute(locked).scalars().all()
            removed = remove(connection, ids, MOST_ROWS)
        gone += removed
        if not removed:
            return gone
