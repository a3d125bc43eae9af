"""Repairs: take back, give back, expire, carry out a stop that no worker answered, end the requests of a backup."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Engine, case, cast, func, literal, select, update

from shared import audit
from shared.audit import Kind
from shared.errors import DEADLINE, RESTORED, UNSERVED, WORKER_LOST
from shared.lifecycle.ending import NOW, Ending, close_attempt, end, end_all
from shared.postgres import notify
from shared.postgres.database import transaction
from shared.spending.settling import SETTLED_COLUMNS, summed
from shared.spending.values import Spent
from shared.tables import ACTIVE, Outcome, Status, chat_request

#: A request with this many losses is considered their cause.
MAX_LOSSES = 3
#: From this many lost attempts on, a request is charged even when several workers were lost together. Two poisonous
#: requests would otherwise go on killing two workers at a time.
MOST_FORGIVEN = 2
#: This many requests start again at once; more are spread, up to a second, so that they do not call together.
AGAIN_AT_ONCE = 20
AGAIN_PER_SECOND = 100
NOTHING = Spent()
_R = chat_request.c


def cancel_unanswered(
    engine: Engine, request_id: UUID, *, attempt: int, patience_seconds: float, text: str | None
) -> bool:
    """Carry out a stop that no worker answered. `text` is the best partial text; None takes the checkpoint."""
    fence = (
        _R.id == request_id,
        _R.status == Status.RUNNING,
        _R.attempt == attempt,
        _R.stop_requested_at < NOW - timedelta(seconds=patience_seconds),
    )
    with transaction(engine) as connection:
        return end(connection, fence, Ending(status=Status.CANCELLED, outcome=Outcome.CANCELLED, text=text))


def take_back(connection: Connection, lost: Sequence[Any], *, uncharged: Collection[UUID] = ()) -> int:
    """Take `lost` rows from their lost workers; the caller has locked them.

    A row has id, worker_id, losses, stop_requested_at, and lost_before: how many attempts were lost already.

    Only the requests of a worker with the highest loss count get one more loss: a process carries hundreds of answers,
    and probably one answer killed it. Each loss narrows the suspects down, until one reaches MAX_LOSSES and fails. The
    requests of the workers in `uncharged` get none, the first MOST_FORGIVEN times. A few are due at once; hundreds are
    spread over a second, so that they do not call the provider together. Returns the number of rows.
    """
    highest: dict[UUID, int] = {}
    for row in lost:
        highest[row.worker_id] = max(row.losses, highest.get(row.worker_id, 0))
    stopped = [row.id for row in lost if row.stop_requested_at is not None]
    suspects = [row for row in lost if row.losses == highest[row.worker_id] and row.stop_requested_at is None]
    charged = [row for row in suspects if row.worker_id not in uncharged or row.lost_before >= MOST_FORGIVEN]
    poison = [row.id for row in charged if row.losses + 1 >= MAX_LOSSES]
    running = _R.status == Status.RUNNING
    if stopped:
        cancelled = Ending(status=Status.CANCELLED, outcome=Outcome.LOST)
        end_all(connection, (_R.id.in_(stopped), running), cancelled)
    if poison:
        failed = Ending(status=Status.FAILED, outcome=Outcome.LOST, code=WORKER_LOST)
        end_all(connection, (_R.id.in_(poison), running), failed)
    again = [row.id for row in lost if row.id not in {*stopped, *poison}]
    _requeue(
        connection,
        (_R.id.in_(again), running),
        outcome=Outcome.LOST,
        charged=[row.id for row in charged],
        within_seconds=min(1.0, max(0, len(again) - AGAIN_AT_ONCE) / AGAIN_PER_SECOND),
    )
    return len(lost)


def give_back(engine: Engine, request_id: UUID, *, attempt: int, worker_id: UUID) -> None:
    """Requeue a request whose row says that this worker runs it, although the worker does not.

    The reply to a claim may have been lost, or an answer may have waited too long for Postgres. Nothing else notices,
    because the lease of a live worker covers all its requests. It does not count as a loss.
    """
    fence = (_R.id == request_id, _R.status == Status.RUNNING, _R.attempt == attempt, _R.worker_id == worker_id)
    with transaction(engine) as connection:
        stopped = (*fence, _R.stop_requested_at.is_not(None))
        if not end(connection, stopped, Ending(status=Status.CANCELLED, outcome=Outcome.CANCELLED)):
            _requeue(connection, fence, outcome=Outcome.HANDED_OVER)


def take_from_worker(engine: Engine, request_id: UUID, *, attempt: int) -> bool:
    """Requeue a running request for an administrator; False if this attempt does not run any more.

    Its worker cannot write to it any more, and ends the stream within two renewals of its lease. A request that
    somebody asked to stop is cancelled instead. It does not count as a loss.
    """
    fence = (_R.id == request_id, _R.status == Status.RUNNING, _R.attempt == attempt)
    with transaction(engine) as connection:
        stopped = (*fence, _R.stop_requested_at.is_not(None))
        is_over = end(connection, stopped, Ending(status=Status.CANCELLED, outcome=Outcome.CANCELLED))
        is_taken = is_over or _requeue(connection, fence, outcome=Outcome.HANDED_OVER) > 0
        if is_taken:
            audit.record(connection, Kind.REQUEST_REQUEUED, subject=str(request_id))
        return is_taken


def _requeue(
    connection: Connection,
    where: Sequence[ColumnElement[bool]],
    *,
    outcome: Outcome,
    charged: Sequence[UUID] = (),
    within_seconds: float = 0.0,
) -> int:
    freed = (
        update(chat_request)
        .where(*where)
        .values(
            status=Status.QUEUED,
            worker_id=None,
            losses=_R.losses + case((_R.id.in_(charged), 1), else_=0),
            available_at=NOW + func.random() * timedelta(seconds=within_seconds),
            wait_code=WORKER_LOST,
        )
        .returning(_R.id, _R.attempt, _R.owner_id, _R.model, _R.conversation_id, _R.call_id)
        .cte("freed")
    )
    # The next attempt takes up a call that goes on, and is settled with all of its use.
    spent = {
        column.name: case((freed.c.call_id.is_not(None), cast(literal(getattr(NOTHING, column.name)), column.type)))
        for column in SETTLED_COLUMNS
    }
    closed = close_attempt(freed, outcome=outcome, code=WORKER_LOST, spent=spent)
    requeued = select(freed.c.id, freed.c.conversation_id).add_cte(closed, summed(freed, closed))
    rows = connection.execute(requeued).all()
    for row in rows:
        notify.after_commit(connection, notify.REQUEST, row.id, row.conversation_id)
    return len(rows)


def expire(connection: Connection, request_ids: Sequence[UUID]) -> int:
    """Fail those of the requests whose deadline has passed, in one statement; return their number.

    The last checkpoint is the partial text.
    """
    overdue = (_R.id.in_(request_ids), _R.status.in_(ACTIVE), _R.deadline_at <= NOW)
    return end_all(connection, overdue, Ending(status=Status.FAILED, outcome=Outcome.FAILED, code=DEADLINE))


def fail_unserved(connection: Connection, request_ids: Sequence[UUID]) -> int:
    """Fail those of the requests that wait, because no worker serves their models any more; return their number."""
    waiting = (_R.id.in_(request_ids), _R.status == Status.QUEUED)
    return end_all(connection, waiting, Ending(status=Status.FAILED, outcome=None, code=UNSERVED))


def end_restored(connection: Connection) -> int:
    """End all active requests of a database that was restored from a backup; returns their number.

    Each keeps its text from the backup. No question is asked again, because the provider may already have been paid for
    an answer that the backup does not have. Call it before anything else connects.
    """
    unfinished = connection.execute(
        select(_R.id, _R.stop_requested_at.is_not(None).label("stopped")).where(_R.status.in_(ACTIVE))
    ).all()
    stopped = Ending(status=Status.CANCELLED, outcome=Outcome.CANCELLED)
    failed = Ending(status=Status.FAILED, outcome=Outcome.FAILED, code=RESTORED)
    return sum(
        end(connection, (_R.id == row.id, _R.status.in_(ACTIVE)), stopped if row.stopped else failed)
        for row in unfinished
    )
