"""How a request ends, whoever ends it: its row, its answer, its attempt and its branch in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy import CTE, ColumnElement, Connection, and_, func, insert, literal, select, update

from shared import metrics, notify
from shared.tables import Outcome, Status, chat_request, conversation, message, request_attempt

#: Postgres's clock, read anew in every row: between processes no other clock decides.
NOW = func.clock_timestamp()
_R = chat_request.c


def end(
    connection: Connection,
    fence: Sequence[ColumnElement[bool]],
    *,
    status: Status,
    outcome: Outcome | None,
    code: str | None = None,
    text: str | None = None,
    provider_request_id: str | None = None,
    **columns: object,
) -> bool:
    """End a request: its row, its answer, its attempt and the branch, in one statement; False when no row matched.

    `text` None takes the attempt's checkpoint: the best that is known of a worker that does not speak.
    """
    ended = (
        update(chat_request)
        .where(*fence)
        .values(status=status, worker_id=None, ended_at=NOW, error_code=code, wait_code=None, **columns)
        .returning(_R.id, _R.attempt, _R.conversation_id, _R.user_message_id)
        .cte("ended")
    )
    content = literal(text) if text is not None else func.coalesce(_checkpoint_of(ended), "")
    answered = (
        insert(message)
        .from_select(
            ["id", "conversation_id", "parent_id", "role", "content", "request_id"],
            select(
                literal(uuid4()),
                ended.c.conversation_id,
                ended.c.user_message_id,
                literal("assistant"),
                content,
                ended.c.id,
            ),
        )
        .returning(message.c.id, message.c.conversation_id)
        .cte("answered")
    )
    moved = (
        update(conversation)
        .where(conversation.c.id == answered.c.conversation_id)
        .values(leaf_id=answered.c.id, updated_at=NOW)
        .cte("moved")
    )
    closed = close_attempt(ended, outcome=outcome, code=code, text=text, provider_request_id=provider_request_id)
    row = connection.execute(select(notify.of_row(notify.ENDED, ended)).add_cte(moved, closed)).one_or_none()
    if row is None:
        return False
    metrics.REQUESTS.labels(status.value).inc()
    return True


def _checkpoint_of(ended: CTE) -> ColumnElement[str]:
    return (
        select(request_attempt.c.checkpoint)
        .where(request_attempt.c.request_id == ended.c.id, request_attempt.c.attempt == ended.c.attempt)
        .scalar_subquery()
    )


def close_attempt(
    of: CTE,
    *,
    outcome: Outcome | None,
    code: str | None,
    text: str | None = None,
    provider_request_id: str | None = None,
) -> CTE:
    """The attempt's record is closed with the same statement that ends or frees its request."""
    values: dict[str, object] = {"ended_at": NOW, "outcome": outcome, "error_code": code}
    if text is not None:
        values["checkpoint"] = text
    if provider_request_id is not None:
        values["provider_request_id"] = provider_request_id
    return (
        update(request_attempt)
        .where(
            and_(request_attempt.c.request_id == of.c.id, request_attempt.c.attempt == of.c.attempt),
            request_attempt.c.ended_at.is_(None),
        )
        .values(**values)
        .cte("closed")
    )
