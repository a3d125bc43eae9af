"""The verbs of whoever repairs: take back, expire, the stop that no worker answered, the end that a restore gives."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Engine, Interval, case, cast, func, literal, select, update

from shared.errors import DEADLINE, RESTORED, WORKER_LOST
from shared.lifecycle.ending import NOW, Ending, close_attempt, end
from shared.postgres import notify
from shared.postgres.database import transaction
from shared.tables import ACTIVE, Outcome, Status, chat_request

#: A request that was running, as a suspect, when its worker was lost this often is taken for the cause.
MAX_LOSSES = 3
_R = chat_request.c


def cancel_unanswered(
    engine: Engine, request_id: UUID, *, attempt: int, patience_seconds: float, text: str | None
) -> bool:
    """Carry out a stop that no worker answered, with the best text there is (None: the checkpoint)."""
    fence = (
        _R.id == request_id,
        _R.status == Status.RUNNING,
        _R.attempt == attempt,
        _R.stop_requested_at < NOW - timedelta(seconds=patience_seconds),
    )
    with transaction(engine) as connection:
        return end(connection, fence, Ending(status=Status.CANCELLED, outcome=Outcome.CANCELLED, text=text))


def take_back(connection: Connection, lost: Sequence[Any]) -> int:
    """Take `lost` rows (id, worker_id, losses, stop_requested_at; locked by the caller) from their lost workers.

    Of each worker's requests only those with the highest count are charged a loss: a process carries hundreds of
    answers, and when it dies they are not all guilty. Each charge narrows the circle, until the one left at
    MAX_LOSSES fails. The others wait up to 1 s, so that hundreds do not call the provider at once.
    """
    highest: dict[UUID, int] = {}
    for row in lost:
        highest[row.worker_id] = max(row.losses, highest.get(row.worker_id, 0))
    stopped = [row.id for row in lost if row.stop_requested_at is not None]
    charged = [row for row in lost if row.losses == highest[row.worker_id] and row.stop_requested_at is None]
    poison = [row.id for row in charged if row.losses + 1 >= MAX_LOSSES]
    running = _R.status == Status.RUNNING
    for request_id in stopped:
        end(connection, (_R.id == request_id, running), Ending(status=Status.CANCELLED, outcome=Outcome.LOST))
    for request_id in poison:
        end(
            connection,
            (_R.id == request_id, running),
            Ending(status=Status.FAILED, outcome=Outcome.LOST, code=WORKER_LOST),
        )
    again = [row.id for row in lost if row.id not in {*stopped, *poison}]
    _requeue(connection, (_R.id.in_(again), running), outcome=Outcome.LOST, charged=[row.id for row in charged])
    return len(lost)


def give_back(engine: Engine, request_id: UUID, *, attempt: int, worker_id: UUID) -> None:
    """Free a request that runs only in its row: this worker's, but not under way in it.

    A claim's commit may be lost on its way to the worker; an answer may have waited too long for Postgres. Nobody
    else can see that: the lease of a worker that lives says that its requests live. It is no loss.
    """
    fence = (_R.id == request_id, _R.status == Status.RUNNING, _R.attempt == attempt, _R.worker_id == worker_id)
    with transaction(engine) as connection:
        stopped = (*fence, _R.stop_requested_at.is_not(None))
        if not end(connection, stopped, Ending(status=Status.CANCELLED, outcome=Outcome.CANCELLED)):
            _requeue(connection, fence, outcome=Outcome.HANDED_OVER, charged=())


def _requeue(
    connection: Connection, where: Sequence[ColumnElement[bool]], *, outcome: Outcome, charged: Sequence[UUID]
) -> None:
    freed = (
        update(chat_request)
        .where(*where)
        .values(
            status=Status.QUEUED,
            worker_id=None,
            losses=_R.losses + case((_R.id.in_(charged), 1), else_=0),
            available_at=NOW + func.random() * cast(literal("1 second"), Interval),
            dispatched_at=None,
            dispatches=0,
            wait_code=WORKER_LOST,
        )
        .returning(_R.id, _R.attempt, _R.conversation_id)
        .cte("freed")
    )
    closed = close_attempt(freed, outcome=outcome, code=WORKER_LOST)
    connection.execute(select(notify.of_row(notify.REQUEST, freed)).add_cte(closed))


def expire(connection: Connection, request_id: UUID) -> bool:
    """End a request whose deadline has passed, with the last checkpoint as its partial text."""
    fence = (_R.id == request_id, _R.status.in_(ACTIVE), _R.deadline_at <= NOW)
    return end(connection, fence, Ending(status=Status.FAILED, outcome=Outcome.FAILED, code=DEADLINE))


def end_restored(connection: Connection) -> int:
    """End all that is under way in a database that comes from a backup, with the text of that moment; their number.

    What became of them since is not known here: the provider may have been paid for an answer already. So nothing is
    asked again by itself. Nobody else is connected yet.
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
