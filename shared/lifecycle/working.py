"""The worker's verbs: claim, release, finish, fail, cancel. All but the claim are fenced."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Double,
    Engine,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.lifecycle.branch import walk_from
from shared.lifecycle.ending import NOW, Ending, close_attempt, end
from shared.lifecycle.repairing import MAX_LOSSES
from shared.lifecycle.values import Answer, Claimed, storable
from shared.messages import Message, RequestEnd, TextPart
from shared.postgres import notify
from shared.postgres.database import statement
from shared.postgres.prepared import Batch
from shared.tables import Outcome, Status, chat_request, message, request_attempt, worker

_R = chat_request.c
#: Shared by all messages of a claim, which may be a thousand.
_ENDS: dict[str | None, RequestEnd] = {status.value: RequestEnd(status=status) for status in Status}


def claim(
    engine: Engine,
    request_id: UUID,
    *,
    worker_id: UUID,
    models: Sequence[str],
    as_suspect: bool = False,
) -> Claimed | None:
    """Take a queued request for its next attempt; None when there is nothing to take (drop the hint then).

    It succeeds only while this worker's lease is valid. `models` are the models that this worker serves, its default
    first; a request for a model that another live worker serves is left to that worker. A request with two losses is
    taken only `as_suspect`: the caller makes sure that its process runs no other such request.
    """
    values = {
        "the_request": request_id,
        "by_worker": worker_id,
        "of_models": list(models),
        "default_model": models[0] if models else "",
    }
    with statement(engine) as connection:
        rows = (_CLAIM_AS_SUSPECT if as_suspect else _CLAIM).run(connection, values).all()
    if not rows:
        return None
    request_id, *columns = rows[0][: len(_CLAIMED_COLUMNS)]
    names = (column.name for column in _CLAIMED_COLUMNS[1:])
    branch = tuple(Message(row.role, (TextPart(row.content),), _ENDS.get(row.answer_status)) for row in rows)
    return Claimed(request_id=request_id, worker_id=worker_id, branch=branch, **dict(zip(names, columns, strict=True)))


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


# Parameters of the statements that every answer runs. The statements are built once, at the end of this module, because
# building one takes longer than Postgres takes to run it. No parameter has a column's name: SQLAlchemy would set that
# column.
_REQUEST_ID = bindparam("the_request", type_=_R.id.type)
_BY_WORKER = bindparam("by_worker", type_=_R.worker_id.type)
_ATTEMPT = bindparam("in_attempt", type_=_R.attempt.type)
_MODELS = bindparam("of_models", type_=ARRAY(Text))


def _claim_statement(*, as_suspect: bool) -> Select[Any]:
    suspect = _R.losses >= MAX_LOSSES - 1
    taken = (
        update(chat_request)
        .where(
            _R.id == _REQUEST_ID,
            _R.status == Status.QUEUED,
            _R.available_at <= NOW,
            _R.stop_requested_at.is_(None),
            _R.deadline_at > NOW,
            suspect if as_suspect else ~suspect,
            _holds_lease(),
            or_(_R.model == "", _R.model == func.any(_MODELS), ~_served_elsewhere()),
        )
        .values(
            status=Status.RUNNING,
            attempt=_R.attempt + 1,
            worker_id=_BY_WORKER,
            model=case((_R.model == "", bindparam("default_model", type_=Text)), else_=_R.model),
            started_at=func.coalesce(_R.started_at, NOW),
            wait_code=None,
        )
        .returning(*_CLAIMED_COLUMNS)
        .cte("taken")
    )
    noted = (
        insert(request_attempt)
        .from_select(["request_id", "attempt", "worker_id"], select(taken.c.id, taken.c.attempt, _BY_WORKER))
        .cte("noted")
    )
    # The claim also returns the prompt's messages: one row per message of the branch, each with the claim's columns.
    walk = walk_from(taken.c.user_message_id, taken)
    r = chat_request.alias()
    return (
        select(
            taken,
            message.c.role,
            message.c.content,
            r.c.status.label("answer_status"),
        )
        .select_from(taken)
        .join(walk, true())
        .join(message, message.c.id == walk.c.id)
        .outerjoin(r, r.c.id == message.c.request_id)
        .order_by(walk.c.depth.desc())
        .add_cte(noted)
    )


def _holds_lease() -> ColumnElement[bool]:
    return (
        select(worker.c.id)
        .where(worker.c.id == _BY_WORKER, worker.c.lost_at.is_(None), worker.c.lease_expires_at > NOW)
        .exists()
    )


def _served_elsewhere() -> ColumnElement[bool]:
    named = func.jsonb_build_array(func.jsonb_build_object(cast("name", Text), _R.model))
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


#: The fence: this request is still running, in this attempt, by this worker.
_FENCE = (_R.id == _REQUEST_ID, _R.status == Status.RUNNING, _R.attempt == _ATTEMPT, _R.worker_id == _BY_WORKER)
_FENCE_UNSTOPPED = (*_FENCE, _R.stop_requested_at.is_(None))
_FENCE_STOPPED = (*_FENCE, _R.stop_requested_at.is_not(None))


def _fence_values(claimed: Claimed) -> dict[str, object]:
    return {"the_request": claimed.request_id, "in_attempt": claimed.attempt, "by_worker": claimed.worker_id}


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
    """Return the request to the queue; False if the worker lost it or somebody asked for a stop meanwhile.

    `code` is the provider's error that makes it wait. It counts as a try, or as a broken stream when `broken`; a drain
    has no code and counts as neither. The attempt's record keeps the text so far.
    """
    freed = (
        update(chat_request)
        .where(*_FENCE_UNSTOPPED)
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
    with statement(engine) as connection:
        is_freed = connection.execute(select(freed.c.id).add_cte(closed), _fence_values(claimed)).one_or_none()
        if is_freed is not None:
            notify.after_commit(connection, notify.REQUEST, claimed.request_id, claimed.conversation_id)
    return is_freed is not None


def finish(engine: Engine, claimed: Claimed, answer: Answer) -> bool:
    """Store the answer; False if the worker lost the request, or if it must be cancelled because of a stop."""
    return _end_attempt(engine, _FENCE_UNSTOPPED, claimed, answer, status=Status.SUCCEEDED, outcome=Outcome.SUCCEEDED)


def fail(engine: Engine, claimed: Claimed, answer: Answer, *, code: str) -> bool:
    """Fail with the reason `code` and keep the partial text; False if the worker lost the request."""
    return _end_attempt(engine, _FENCE, claimed, answer, status=Status.FAILED, outcome=Outcome.FAILED, code=code)


def cancel(engine: Engine, claimed: Claimed, answer: Answer) -> bool:
    """Carry out a stop: the text so far is the answer; False if the worker lost the request."""
    return _end_attempt(engine, _FENCE_STOPPED, claimed, answer, status=Status.CANCELLED, outcome=Outcome.CANCELLED)


def is_mine(engine: Engine, claimed: Claimed, *, status: Status) -> bool:
    """Whether this attempt ended the request with `status`; for a commit whose outcome is unknown."""
    ended_by = select(request_attempt.c.request_id).where(
        request_attempt.c.request_id == claimed.request_id,
        request_attempt.c.attempt == claimed.attempt,
        request_attempt.c.worker_id == claimed.worker_id,
        request_attempt.c.outcome == status.value,
    )
    with statement(engine) as connection:
        return (
            connection.execute(
                select(_R.id).where(_R.id == claimed.request_id, _R.status == status, ended_by.exists())
            ).one_or_none()
            is not None
        )


def _end_attempt(
    engine: Engine,
    fence: tuple[ColumnElement[bool], ...],
    claimed: Claimed,
    answer: Answer,
    *,
    status: Status,
    outcome: Outcome,
    code: str | None = None,
) -> bool:
    ago = answer.first_token_ago_seconds
    ending = Ending(
        status=status,
        outcome=outcome,
        code=code,
        text=storable(answer.text),
        provider_request_id=answer.provider_request_id,
        finish=answer.finish,
        input_tokens=_counted(answer.input_tokens),
        output_tokens=_counted(answer.output_tokens),
        cached_input_tokens=_counted(answer.cached_input_tokens),
        first_token_ago=None if ago is None else timedelta(seconds=ago),
    )
    with statement(engine) as connection:
        return end(connection, fence, ending, **_fence_values(claimed))


def _counted(tokens: int | None) -> int | None:
    """Clamp a provider's count to the column's range, so that an absurd number does not lose the answer."""
    return None if tokens is None else max(0, min(tokens, 2**31 - 1))


def undispatch(engine: Engine, request_id: UUID, *, models: Sequence[str]) -> None:
    """Note that this worker did not use the request's hint, so that the next tick sends another one.

    A draining worker takes nothing and passes no `models`. Other workers leave a request for a model outside `models`.
    """
    with statement(engine) as connection:
        connection.execute(
            update(chat_request)
            .where(_R.id == request_id, _R.status == Status.QUEUED, _R.model.not_in(models))
            .values(dispatched_at=None, dispatches=0)
        )


_CLAIM = Batch(_claim_statement(as_suspect=False))
_CLAIM_AS_SUSPECT = Batch(_claim_statement(as_suspect=True))
