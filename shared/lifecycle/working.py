"""The worker's fenced verbs: release, finish, fail, cancel. `claiming.py` has the claim."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import (
    ColumnElement,
    Engine,
    bindparam,
    func,
    select,
    update,
)

from shared.errors import OTHERS_FIRST, PACED
from shared.lifecycle.ending import NOW, SPENT, Ending, close_attempt, end, values_of
from shared.lifecycle.values import Answer, Claimed, Reasoning, storable
from shared.postgres import notify
from shared.postgres.database import statement
from shared.spending.settling import summed
from shared.spending.values import Spent
from shared.tables import Outcome, Status, chat_request, request_attempt

_R = chat_request.c
# Parameters of the fence. No parameter has a column's name: SQLAlchemy would set that column.
_REQUEST_ID = bindparam("the_request", type_=_R.id.type)
_BY_WORKER = bindparam("by_worker", type_=_R.worker_id.type)
_ATTEMPT = bindparam("in_attempt", type_=_R.attempt.type)


#: The fence: this request is still running, in this attempt, by this worker; and nobody has asked to stop it.
FENCE = (_R.id == _REQUEST_ID, _R.status == Status.RUNNING, _R.attempt == _ATTEMPT, _R.worker_id == _BY_WORKER)
FENCE_UNSTOPPED = (*FENCE, _R.stop_requested_at.is_(None))
_FENCE_STOPPED = (*FENCE, _R.stop_requested_at.is_not(None))


def fence_values(claimed: Claimed) -> dict[str, object]:
    """Return the parameters of FENCE."""
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
    spent: Spent | None = None,
    call_id: str | None = None,
) -> bool:
    """Return the request to the queue; False if the worker lost it or somebody asked for a stop meanwhile.

    `code` is the reason to wait. A provider's error counts as a try, or as a broken stream when `broken`; OTHERS_FIRST,
    PACED and a drain, which has no code, count as neither. The attempt's record keeps the text so far and what it
    `spent`. The next attempt takes up the call `call_id`, if that may still run at the provider.
    """
    is_try = code not in (None, OTHERS_FIRST, PACED) and not broken
    freed = (
        update(chat_request)
        .where(*FENCE_UNSTOPPED)
        .values(
            status=Status.QUEUED,
            worker_id=None,
            available_at=NOW + timedelta(seconds=wait_seconds),
            retrying_since=func.coalesce(_R.retrying_since, NOW) if is_try else None,
            tries=_R.tries + (1 if is_try else 0),
            broken_streams=_R.broken_streams + (1 if broken else 0),
            wait_code=code,
            call_id=call_id,
        )
        .returning(_R.id, _R.attempt, _R.owner_id, _R.model, _R.conversation_id)
        .cte("freed")
    )
    closed = close_attempt(freed, outcome=outcome, code=code, text=storable(text), spent=SPENT)
    freeing = select(freed.c.id).add_cte(closed, summed(freed, closed))
    with statement(engine) as connection:
        is_freed = connection.execute(freeing, {**fence_values(claimed), **values_of(spent)}).one_or_none()
        if is_freed is not None:
            notify.after_commit(connection, notify.REQUEST, claimed.request_id, claimed.conversation_id)
    return is_freed is not None


def finish(engine: Engine, claimed: Claimed, answer: Answer) -> bool:
    """Store the answer; False if the worker lost the request, or if it must be cancelled because of a stop."""
    return _end_attempt(engine, FENCE_UNSTOPPED, claimed, answer, status=Status.SUCCEEDED, outcome=Outcome.SUCCEEDED)


def fail(engine: Engine, claimed: Claimed, answer: Answer, *, code: str) -> bool:
    """Fail with the reason `code` and keep the partial text; False if the worker lost the request."""
    return _end_attempt(engine, FENCE, claimed, answer, status=Status.FAILED, outcome=Outcome.FAILED, code=code)


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
        left_out=answer.left_out,
        earlier_answer_at=answer.earlier_answer_at,
        first_token_ago=None if ago is None else timedelta(seconds=ago),
        spent=answer.spent,
        reasoning=_storable(answer.reasoning),
        call_id=answer.call_id or "",
    )
    with statement(engine) as connection:
        return end(connection, fence, ending, **fence_values(claimed))


def _storable(thought: Reasoning | None) -> Reasoning | None:
    return thought and replace(thought, text=storable(thought.text), tokens=_counted(thought.tokens))


def _counted(tokens: int | None) -> int | None:
    """Clamp a provider's count to the column's range, so that an absurd number does not lose the answer."""
    return None if tokens is None else max(0, min(tokens, 2**31 - 1))
