"""The worker's verbs: claim, release, finish, fail, cancel. All but the claim are fenced."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Double, Engine, case, cast, func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB

from shared import notify
from shared.database import transaction
from shared.lifecycle.ending import NOW, close_attempt, end
from shared.lifecycle.repairing import MAX_LOSSES
from shared.lifecycle.values import Answer, Claimed, storable
from shared.tables import Outcome, Status, chat_request, request_attempt, worker

_R = chat_request.c


def claim(
    engine: Engine,
    request_id: UUID,
    *,
    worker_id: UUID,
    models: Sequence[str],
    as_suspect: bool = False,
) -> Claimed | None:
    """Take a queued request for its next attempt; None when there is nothing to take (drop the hint then).

    Only while this worker's own lease is valid. `models` are those that this worker serves, its default first: a
    request for a model that another live worker serves is left to it. A request that was running in two lost workers
    is taken only `as_suspect`: the caller sees to it that it is the only one of its process.
    """
    default = models[0] if models else ""
    taken = (
        update(chat_request)
        .where(*_claimable(request_id, worker_id, models), _suspect() if as_suspect else ~_suspect())
        .values(
            status=Status.RUNNING,
            attempt=_R.attempt + 1,
            worker_id=worker_id,
            model=case((_R.model == "", default), else_=_R.model),
            started_at=func.coalesce(_R.started_at, NOW),
            wait_code=None,
        )
        .returning(*_CLAIMED_COLUMNS)
        .cte("taken")
    )
    noted = (
        insert(request_attempt)
        .from_select(["request_id", "attempt", "worker_id"], select(taken.c.id, taken.c.attempt, literal(worker_id)))
        .cte("noted")
    )
    with transaction(engine) as connection:
        row = connection.execute(select(taken).add_cte(noted)).mappings().one_or_none()
    if row is None:
        return None
    values = dict(row)
    return Claimed(request_id=values.pop("id"), worker_id=worker_id, **values)


def _seconds(interval: ColumnElement[Any], name: str) -> ColumnElement[float]:
    return cast(func.extract("epoch", interval), Double).label(name)


_CLAIMED_COLUMNS = (
    _R.id,
    _R.attempt,
    _R.conversation_id,
    _R.user_message_id,
    _R.model,
    _R.losses,
    _R.tries,
    _R.broken_streams,
    _seconds(_R.started_at - _R.created_at, "queue_seconds"),
    _seconds(NOW - _R.created_at, "age_seconds"),
    _seconds(_R.deadline_at - NOW, "left_seconds"),
)


def _suspect() -> ColumnElement[bool]:
    return _R.losses >= MAX_LOSSES - 1


def _claimable(request_id: UUID, worker_id: UUID, models: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    return (
        _R.id == request_id,
        _R.status == Status.QUEUED,
        _R.available_at <= NOW,
        _R.stop_requested_at.is_(None),
        _R.deadline_at > NOW,
        _holds_lease(worker_id),
        or_(_R.model == "", _R.model.in_(models), ~_served_elsewhere()),
    )


def _holds_lease(worker_id: UUID) -> ColumnElement[bool]:
    return (
        select(worker.c.id)
        .where(worker.c.id == worker_id, worker.c.lost_at.is_(None), worker.c.lease_expires_at > NOW)
        .exists()
    )


def _served_elsewhere() -> ColumnElement[bool]:
    named = func.jsonb_build_array(func.jsonb_build_object("name", _R.model))
    return (
        select(worker.c.id)
        .where(
            worker.c.lost_at.is_(None),
            worker.c.lease_expires_at > NOW,
            ~worker.c.draining,
            cast(worker.c.models, JSONB).op("@>")(named),
        )
        .exists()
    )


def _fenced(claimed: Claimed) -> tuple[ColumnElement[bool], ...]:
    """The fence: this request, still running, in this attempt, by this worker."""
    return (
        _R.id == claimed.request_id,
        _R.status == Status.RUNNING,
        _R.attempt == claimed.attempt,
        _R.worker_id == claimed.worker_id,
    )


def release(
    engine: Engine,
    claimed: Claimed,
    *,
    text: str,
    outcome: Outcome,
    wait_seconds: float = 0.0,
    code: str | None = None,
    broken: bool = False,
) -> bool:
    """Give the request back to the queue; False when the right was lost or a stop was asked meanwhile.

    `code` is the provider's error that makes it wait: it counts as a try, or as a broken stream when `broken`; a
    drain (no code) counts as nothing. The text so far stays in the attempt's record.
    """
    freed = (
        update(chat_request)
        .where(*_fenced(claimed), _R.stop_requested_at.is_(None))
        .values(
            status=Status.QUEUED,
            worker_id=None,
            available_at=NOW + timedelta(seconds=wait_seconds),
            dispatched_at=None,
            dispatches=0,
            tries=_R.tries + (1 if code and not broken else 0),
            broken_streams=_R.broken_streams + (1 if broken else 0),
            wait_code=code,
        )
        .returning(_R.id, _R.attempt, _R.conversation_id)
        .cte("freed")
    )
    closed = close_attempt(freed, outcome=outcome, code=code, text=storable(text))
    with transaction(engine) as connection:
        return (
            connection.execute(select(notify.of_row(notify.REQUEST, freed)).add_cte(closed)).one_or_none() is not None
        )


def finish(engine: Engine, claimed: Claimed, answer: Answer) -> bool:
    """Store the answer; False when the right was lost or a stop was asked first (then it ends as cancelled)."""
    fence = (*_fenced(claimed), _R.stop_requested_at.is_(None))
    return _end_attempt(engine, fence, answer, status=Status.SUCCEEDED, outcome=Outcome.SUCCEEDED)


def fail(engine: Engine, claimed: Claimed, answer: Answer, *, code: str) -> bool:
    """End it with the reason `code`, keeping the partial text; False when the right was lost."""
    return _end_attempt(engine, _fenced(claimed), answer, status=Status.FAILED, outcome=Outcome.FAILED, code=code)


def cancel(engine: Engine, claimed: Claimed, answer: Answer) -> bool:
    """Carry out a stop: the text so far is the answer; False when the right was lost."""
    fence = (*_fenced(claimed), _R.stop_requested_at.is_not(None))
    return _end_attempt(engine, fence, answer, status=Status.CANCELLED, outcome=Outcome.CANCELLED)


def is_mine(engine: Engine, claimed: Claimed, *, status: Status) -> bool:
    """Whether a commit whose outcome was never heard had happened: the request ended so, in this very attempt."""
    ended_by = select(request_attempt.c.request_id).where(
        request_attempt.c.request_id == claimed.request_id,
        request_attempt.c.attempt == claimed.attempt,
        request_attempt.c.worker_id == claimed.worker_id,
        request_attempt.c.outcome == status.value,
    )
    with transaction(engine) as connection:
        return (
            connection.execute(
                select(_R.id).where(_R.id == claimed.request_id, _R.status == status, ended_by.exists())
            ).one_or_none()
            is not None
        )


def _end_attempt(
    engine: Engine,
    fence: Sequence[ColumnElement[bool]],
    answer: Answer,
    *,
    status: Status,
    outcome: Outcome,
    code: str | None = None,
) -> bool:
    ago = answer.first_token_ago_seconds
    columns = {
        "finish": answer.finish,
        "input_tokens": _counted(answer.input_tokens),
        "output_tokens": _counted(answer.output_tokens),
        "cached_input_tokens": _counted(answer.cached_input_tokens),
        "first_token_at": None if ago is None else NOW - timedelta(seconds=ago),
    }
    with transaction(engine) as connection:
        return end(
            connection,
            fence,
            status=status,
            outcome=outcome,
            code=code,
            text=storable(answer.text),
            provider_request_id=answer.provider_request_id,
            **columns,
        )


def _counted(tokens: int | None) -> int | None:
    """A provider's count as the column can hold it: no server's odd number may cost an answer."""
    return None if tokens is None else max(0, min(tokens, 2**31 - 1))


def undispatch(engine: Engine, request_id: UUID, *, models: Sequence[str]) -> None:
    """Say that this request's hint came to nothing where it came: the next tick sends another.

    A draining worker (`models` is empty then) takes nothing, and one that does not serve the model leaves it to others.
    """
    with transaction(engine) as connection:
        connection.execute(
            update(chat_request)
            .where(_R.id == request_id, _R.status == Status.QUEUED, _R.model.not_in(models))
            .values(dispatched_at=None, dispatches=0)
        )
