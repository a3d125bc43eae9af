"""Removes rows that should be gone: a bounded number in one transaction, the oldest first.

A conversation leaves in the order attempts, reasoning, requests, messages, conversation. Nothing points to a row when
it is deleted, so no cascade makes a slice longer than it should be, and a conversation of any length takes several
slices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Engine,
    Integer,
    Table,
    Update,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    update,
)

from shared.keeping import Keeping
from shared.lifecycle.calling import ATTEMPTS_MAY_GO_ON, MAY_GO_ON
from shared.postgres.database import transaction
from shared.tables import (
    ACTIVE,
    Status,
    chat_request,
    conversation,
    guest_link,
    link,
    message,
    reasoning,
    request_attempt,
    session,
    sign_in_allowance,
    spending,
    worker,
)

#: The advisory lock of a slice: "naru" on a phone keypad, then 3.
ADVISORY_LOCK = 62783
MOST_ROWS = 500
#: A slice looks at one conversation for each of this many rows: most have more, so it reads little that it leaves.
ROWS_OF_A_CONVERSATION = 20

_C, _M, _R, _A = conversation.c, message.c, chat_request.c, request_attempt.c
# No synchronous commit: what a crash of Postgres brings back is removed again.
_TAKE_LOCK = text(
    f"SELECT set_config('synchronous_commit', 'off', true), pg_try_advisory_xact_lock({ADVISORY_LOCK}) AS is_locked"
)
# In the text, not as parameters: the plan must use the partial index.
_IS_ACTIVE = (
    select(_R.id)
    .where(_R.conversation_id == _C.id, _R.status.in_([literal_column(f"'{status.value}'") for status in ACTIVE]))
    .exists()
)
# Without its row, nobody could find the call to cancel it.
_HAS_CALL = or_(
    select(_R.id).where(_R.conversation_id == _C.id, *MAY_GO_ON).exists(),
    _C.id.in_(select(_R.conversation_id).join(request_attempt, _A.request_id == _R.id).where(*ATTEMPTS_MAY_GO_ON)),
)


def _before(days: int) -> ColumnElement[Any]:
    # statement_timestamp(): clock_timestamp() changes from row to row, so no index could be used.
    return func.statement_timestamp() - func.make_interval(0, 0, 0, bindparam(None, days, type_=Integer))


def purge_slice(engine: Engine, keeping: Keeping, *, rows: int = MOST_ROWS) -> Counter[str] | None:
    """Remove at most `rows` rows; return their number by kind, empty when nothing is due.

    Returns None if another process is removing rows right now. Raises Unavailable.
    """
    with transaction(engine) as connection:
        if not connection.execute(_TAKE_LOCK).one().is_locked:
            return None
        gone = _deleted_conversations(connection, keeping, rows)
        if keeping.conversation_days and gone.total() < rows:
            gone += _old_conversations(connection, keeping, rows - gone.total())
        if gone.total() < rows:
            gone += _workers(connection, keeping, rows - gone.total())
        if gone.total() < rows:
            gone += _keys(connection, keeping, rows - gone.total())
        if gone.total() < rows:
            gone += _sign_ins(connection, keeping, rows - gone.total())
        if gone.total() < rows:
            gone += _spending(connection, keeping, rows - gone.total())
        return gone


def _deleted_conversations(connection: Connection, keeping: Keeping, rows: int) -> Counter[str]:
    is_due = (_C.deleted_at.is_not(None), _C.deleted_at < _before(keeping.deleted_days))
    return remove(connection, _chosen(connection, *is_due, oldest=_C.deleted_at, rows=rows), rows)


def _old_conversations(connection: Connection, keeping: Keeping, rows: int) -> Counter[str]:
    """Remove conversations past the age limit.

    Each is marked as deleted first, because nobody may open or ask in one that is half gone. The mark lies so far back
    that `_deleted_conversations` goes on with it.
    """
    is_old = (_C.deleted_at.is_(None), _C.updated_at < _before(keeping.conversation_days))
    ids = _chosen(connection, *is_old, oldest=_C.updated_at, rows=rows)
    if ids:
        marked = update(conversation).where(_C.id.in_(ids)).values(deleted_at=_before(keeping.deleted_days))
        connection.execute(marked)
    return remove(connection, ids, rows)


def _chosen(
    connection: Connection, *is_due: ColumnElement[bool], oldest: ColumnElement[Any], rows: int
) -> Sequence[UUID]:
    """Lock the oldest due conversations without an active request or a call that goes on, and return their ids.

    A question that is being stored has locked its conversation and changes `updated_at`: it is left out.
    """
    number = max(1, rows // ROWS_OF_A_CONVERSATION)
    chosen = select(_C.id).where(*is_due, ~_IS_ACTIVE, ~_HAS_CALL).order_by(oldest).limit(number)
    return connection.execute(chosen.with_for_update(skip_locked=True)).scalars().all()


def remove(connection: Connection, conversation_ids: Sequence[UUID], rows: int) -> Counter[str]:
    """Remove at most `rows` rows of these conversations, which have no active request; return their number by kind.

    The caller has locked the conversations. Rows are left if the result has `rows` in total.
    """
    gone: Counter[str] = Counter()
    if not conversation_ids:
        return gone
    requests = select(_R.id).where(_R.conversation_id.in_(conversation_ids))
    thoughts = select(reasoning.c.request_id).where(reasoning.c.request_id.in_(requests))
    attempts = select(_A.request_id, _A.attempt).where(_A.request_id.in_(requests))
    # The newest first: a message has no child then.
    messages = select(_M.id).where(_M.conversation_id.in_(conversation_ids)).order_by(_M.created_at.desc())
    steps: tuple[tuple[str, Delete], ...] = (
        ("attempt", delete(request_attempt).where(tuple_(_A.request_id, _A.attempt).in_(attempts.limit(_LEFT)))),
        ("reasoning", delete(reasoning).where(reasoning.c.request_id.in_(thoughts.limit(_LEFT)))),
        ("request", delete(chat_request).where(_R.id.in_(requests.limit(_LEFT)))),
        ("message", delete(message).where(_M.id.in_(messages.limit(_LEFT)))),
        ("conversation", delete(conversation).where(_C.id.in_(conversation_ids))),
    )
    for kind, statement in steps:
        left = rows - gone.total()
        if left <= 0 or (kind == "conversation" and left < len(conversation_ids)):
            break
        gone[kind] += _changed(connection, statement, left)
    return +gone


_LEFT = bindparam("left", type_=Integer)


def _changed(connection: Connection, statement: Delete | Update, left: int) -> int:
    return int(connection.execute(statement, {"left": left}).rowcount)


def _workers(connection: Connection, keeping: Keeping, rows: int) -> Counter[str]:
    """Remove the rows of workers that left long ago.

    One whose request still says that it runs there stays: the reconciler finds such a request by the worker's row.
    """
    w = worker.c
    runs = select(_R.id).where(_R.worker_id == w.id, _R.status == literal_column(f"'{Status.RUNNING.value}'")).exists()
    is_due = (w.lost_at.is_not(None), w.lost_at < _before(keeping.worker_days), ~runs)
    chosen = select(w.id).where(*is_due).order_by(w.lost_at).limit(_LEFT).with_for_update(skip_locked=True)
    return +Counter({"worker": _changed(connection, delete(worker).where(w.id.in_(chosen)), rows)})


def _sign_ins(connection: Connection, keeping: Keeping, rows: int) -> Counter[str]:
    """Remove sessions and links that have expired, and allowances that are whole again."""
    s, now = session.c, func.statement_timestamp()
    due: tuple[tuple[str, Table, Column[Any], ColumnElement[bool]], ...] = (
        ("session", session, s.id, s.created_at < _before(keeping.session_days)),
        ("session", session, s.id, s.seen_at < _before(keeping.session_idle_days)),
        ("link", link, link.c.token_hash, link.c.expires_at < now),
        ("guest_link", guest_link, guest_link.c.browser_id, guest_link.c.expires_at < now),
        ("allowance", sign_in_allowance, sign_in_allowance.c.key, sign_in_allowance.c.whole_at < now),
    )
    gone: Counter[str] = Counter()
    for kind, table, key, is_due in due:
        chosen = select(key).where(is_due).limit(_LEFT).with_for_update(skip_locked=True)
        gone[kind] += _changed(connection, delete(table).where(key.in_(chosen)), max(0, rows - gone.total()))
    return +gone


def _spending(connection: Connection, keeping: Keeping, rows: int) -> Counter[str]:
    """Remove the sums of hours that are long past."""
    key = tuple_(spending.c.owner_id, spending.c.hour, spending.c.model)
    chosen = select(spending.c.owner_id, spending.c.hour, spending.c.model)
    due = chosen.where(spending.c.hour < _before(keeping.spending_days)).order_by(spending.c.hour).limit(_LEFT)
    locked = due.with_for_update(skip_locked=True)
    return +Counter({"spending": _changed(connection, delete(spending).where(key.in_(locked)), rows)})


def _keys(connection: Connection, keeping: Keeping, rows: int) -> Counter[str]:
    """Clear the idempotency keys that no retry can use any more, and the checkpoints that an older version left."""
    is_due = (_R.ended_at.is_not(None), _R.idempotency_key.is_not(None), _R.ended_at < _before(keeping.key_days))
    chosen = select(_R.id).where(*is_due).order_by(_R.ended_at).limit(max(1, rows // 2))
    ids = connection.execute(chosen.with_for_update(skip_locked=True)).scalars().all()
    if not ids:
        return Counter()
    connection.execute(update(chat_request).where(_R.id.in_(ids)).values(idempotency_key=None))
    left = update(request_attempt).where(_A.request_id.in_(ids), _A.checkpoint != "").values(checkpoint="")
    return +Counter({"key": len(ids), "checkpoint": int(connection.execute(left).rowcount)})
