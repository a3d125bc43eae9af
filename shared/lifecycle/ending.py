"""Ends requests for every caller: the row, the answer, the attempt and the branch, in one statement."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    CTE,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Interval,
    Select,
    and_,
    bindparam,
    cast,
    func,
    insert,
    literal,
    select,
    update,
)

from shared import metrics
from shared.lifecycle.values import Reasoning
from shared.postgres import notify
from shared.postgres.prepared import prepared
from shared.spending.settling import NOTHING_KNOWN, SETTLED_COLUMNS, settled, summed
from shared.spending.values import Spent
from shared.tables import Outcome, Status, chat_request, conversation, message, reasoning, request_attempt

#: Postgres's clock, read again for every row. It is the only clock that processes share.
NOW = func.clock_timestamp()
#: The columns of an attempt that leaves no call behind.
NO_CALL: Mapping[str, str] = {}
_R = chat_request.c


@dataclass(frozen=True, slots=True)
class Ending:
    """How a request ends. If `text` is None, the answer is the attempt's checkpoint, for a silent worker."""

    status: Status
    outcome: Outcome | None
    code: str | None = None
    text: str | None = None
    provider_request_id: str | None = None
    finish: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    left_out: int | None = None
    first_token_ago: timedelta | None = None
    earlier_answer_at: datetime | None = None
    #: The id of the call that may go on at the provider; empty if none does. None keeps the id in the row.
    call_id: str | None = None
    #: None leaves what the attempt used to an estimate from its reservation.
    spent: Spent | None = None
    #: None if the model did not think, as far as it is known.
    reasoning: Reasoning | None = None


#: Parameters for the use of an attempt, as far as the caller knows it; `values_of` has the values.
SPENT = {each.name: bindparam(f"spent_{each.name}", type_=each.type) for each in SETTLED_COLUMNS}
_PLAIN_FIELDS = tuple(each for each in fields(Ending) if each.name not in ("spent", "reasoning"))
_THOUGHT_COLUMNS = ("content", "seconds", "tokens")
_ENDED_COLUMNS = (
    "finish",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "left_out",
    "earlier_answer_at",
)


def end(connection: Connection, fence: Sequence[ColumnElement[bool]], ending: Ending, **fence_values: object) -> bool:
    """End a request: its row, its answer, its attempt and the branch, in one statement; False if no row matched.

    The statement of a fence made of parameters (with their values in `fence_values`) is built once. That of a fence
    made of values is built on each call, which takes longer than Postgres takes to run it: use it for rare ends.
    """
    return end_all(connection, fence, ending, **fence_values) > 0


def end_all(
    connection: Connection, fence: Sequence[ColumnElement[bool]], ending: Ending, **fence_values: object
) -> int:
    """End every request that the fence matches, like `end` and in one statement too; return their number."""
    build = _kept_statement if fence_values else _statement
    statement = build(tuple(fence), thought=ending.reasoning is not None)
    values = {f"end_{each.name}": getattr(ending, each.name) for each in _PLAIN_FIELDS}
    given = {**values, **values_of(ending.spent), **_thought_values(ending.reasoning), **fence_values}
    ended = connection.execute(statement, given).all()
    for row in ended:
        notify.after_commit(connection, notify.ENDED, row.id, row.conversation_id)
    metrics.REQUESTS.labels(ending.status.value).inc(len(ended))
    if ending.status is Status.FAILED and ending.code is not None:
        metrics.FAILED.labels(ending.code).inc(len(ended))
    return len(ended)


def _given(name: str, column: Column[Any]) -> BindParameter[Any]:
    return bindparam(f"end_{name}", type_=column.type)


def _statement(fence: Sequence[ColumnElement[bool]], *, thought: bool) -> Select[Any]:
    status, code = _given("status", _R.status), _given("code", _R.error_code)
    first_token_at = NOW - cast(bindparam("end_first_token_ago"), Interval)
    reported = {name: _given(name, _R[name]) for name in _ENDED_COLUMNS}
    ended = (
        update(chat_request)
        .where(*fence)
        .values(
            status=status,
            worker_id=None,
            ended_at=NOW,
            error_code=code,
            wait_code=None,
            call_id=func.nullif(func.coalesce(_given("call_id", _R.call_id), _R.call_id), ""),
            first_token_at=first_token_at,
            **reported,
        )
        .returning(_R.id, _R.attempt, _R.owner_id, _R.model, _R.conversation_id, _R.user_message_id)
        .cte("ended")
    )
    text = _given("text", message.c.content)
    answer = [
        func.gen_random_uuid(),
        ended.c.conversation_id,
        ended.c.user_message_id,
        literal("assistant"),
        func.coalesce(text, _checkpoint_of(ended), ""),
        ended.c.id,
    ]
    answered = (
        insert(message)
        .from_select(["id", "conversation_id", "parent_id", "role", "content", "request_id"], select(*answer))
        .returning(message.c.id, message.c.conversation_id)
        .cte("answered")
    )
    moved = (
        update(conversation)
        .where(conversation.c.id == answered.c.conversation_id)
        .values(leaf_id=answered.c.id, updated_at=NOW)
        .cte("moved")
    )
    outcome = _given("outcome", request_attempt.c.outcome)
    provider_request_id = _given("provider_request_id", request_attempt.c.provider_request_id)
    closed = close_attempt(
        ended, outcome=outcome, code=code, text="", provider_request_id=provider_request_id, spent=SPENT
    )
    ends = select(ended.c.id, ended.c.conversation_id).add_cte(moved, closed, summed(ended, closed), _cleared(ended))
    return ends.add_cte(_thought_of(ended)) if thought else ends


@functools.cache
def _kept_statement(fence: tuple[ColumnElement[bool], ...], *, thought: bool) -> Select[Any]:
    """Build two statements per fence object. The few fences made of parameters are constants of their modules."""
    return prepared(_statement(fence, thought=thought))


def _thought_of(ended: CTE) -> CTE:
    """Store the reasoning of the attempt that ends the request."""
    values = [bindparam(f"thought_{name}", type_=reasoning.c[name].type) for name in _THOUGHT_COLUMNS]
    row = select(ended.c.id, ended.c.attempt, *values)
    return insert(reasoning).from_select(["request_id", "attempt", *_THOUGHT_COLUMNS], row).cte("thought")


def _thought_values(thought: Reasoning | None) -> dict[str, object]:
    if thought is None:
        return {}
    return {"thought_content": thought.text, "thought_seconds": thought.seconds, "thought_tokens": thought.tokens}


def _checkpoint_of(ended: CTE) -> ColumnElement[str]:
    return (
        select(request_attempt.c.checkpoint)
        .where(request_attempt.c.request_id == ended.c.id, request_attempt.c.attempt == ended.c.attempt)
        .scalar_subquery()
    )


def _cleared(ended: CTE) -> CTE:
    """Remove the checkpoints of earlier attempts, and of the last one if it had ended before. The answer has the text.

    `close_attempt` does so for the attempt that it closes: a statement may update a row only once.
    """
    a = request_attempt.c
    return (
        update(request_attempt)
        .where(a.request_id == ended.c.id, a.ended_at.is_not(None), a.checkpoint != "")
        .values(checkpoint="")
        .cte("cleared")
    )


def values_of(spent: Spent | None) -> dict[str, object]:
    """Return the parameters of SPENT."""
    return {f"spent_{each.name}": getattr(spent, each.name, None) for each in SETTLED_COLUMNS}


def close_attempt(
    of: CTE,
    *,
    outcome: object,
    code: object,
    text: object = None,
    provider_request_id: object = None,
    spent: Mapping[str, ColumnElement[Any]] = NOTHING_KNOWN,
    left_call: Mapping[str, str] = NO_CALL,
) -> CTE:
    """Return a CTE that closes the attempt's record, for the statement that ends or frees its request.

    The arguments are values or expressions. A text or id of None keeps the record's own. `left_call` has the columns of
    a call that nobody will read. The caller adds `summed(of, closed)` to its statement.
    """
    a = request_attempt.c
    return (
        update(request_attempt)
        .where(and_(a.request_id == of.c.id, a.attempt == of.c.attempt), a.ended_at.is_(None))
        .values(
            ended_at=NOW,
            outcome=outcome,
            error_code=code,
            checkpoint=func.coalesce(text, a.checkpoint),
            provider_request_id=func.coalesce(provider_request_id, a.provider_request_id),
            **settled(spent),
            **left_call,
        )
        .returning(a.request_id, *SETTLED_COLUMNS)
        .cte("closed")
    )
