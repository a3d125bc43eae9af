"""Retention rules, and the query for rows that should be gone by now.

    deleted conversations   NARU_KEEP_DELETED_DAYS after they were deleted
    old conversations       NARU_KEEP_CONVERSATIONS_DAYS after their last message; 0: never
    worker rows             WORKER_DAYS after the worker left or was lost
    idempotency keys        KEY_DAYS after the end of their request
    sessions                NARU_SESSION_DAYS after the sign-in, or NARU_SESSION_IDLE_DAYS after the last visit
    sums of spending        NARU_KEEP_SPENDING_DAYS after their hour
    links, allowances       once they have expired, or are whole again

Checkpoints leave when their request ends (`lifecycle/ending.py`). `retention/` removes the rest.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self

from sqlalchemy import Connection, text

from shared.settings import Settings

#: The page offers the models of a worker that was live within this time (`fleet.REMEMBERED_SECONDS`).
WORKER_DAYS = 1
#: A key must outlive every late retry. The processes retry for seconds, and the page for as long as it is open. The
#: longest comes from a browser that got no reply: it asks about its question when it is next online, which is after a
#: night, a weekend or a week with the laptop closed. Later than that, the browser gives the text back to the composer,
#: and the person sees that the question is stored.
KEY_DAYS = 7


class Kind(StrEnum):
    """The kinds of rows that leave after some time, as `doctor` names them."""

    DELETED = "deleted conversations"
    OLD = "old conversations"
    WORKERS = "worker rows"
    KEYS = "idempotency keys"
    SESSIONS = "sessions"
    SPENDING = "sums of spending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How many days each kind is kept. If `conversation_days` is 0, nothing leaves that nobody deleted."""

    deleted_days: int
    conversation_days: int
    session_days: int
    session_idle_days: int
    spending_days: int
    worker_days: int = WORKER_DAYS
    key_days: int = KEY_DAYS

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what the operator has set."""
        return cls(
            deleted_days=settings.keep_deleted_days,
            conversation_days=settings.keep_conversations_days,
            session_days=settings.session_days,
            session_idle_days=settings.session_idle_days,
            spending_days=settings.keep_spending_days,
        )


# Each minimum is the first entry of an index. The parts are in the order of Kind.
_OVERDUE = text(
    """
    SELECT kind, greatest(0, extract(epoch FROM statement_timestamp() - make_interval(days => days) - since))::float8
             AS seconds
      FROM (VALUES
        ('deleted conversations', CAST(:deleted_days AS int),
            (SELECT min(deleted_at) FROM conversation WHERE deleted_at IS NOT NULL)),
        ('old conversations', nullif(CAST(:conversation_days AS int), 0),
            (SELECT min(updated_at) FROM conversation WHERE deleted_at IS NULL AND :conversation_days > 0)),
        ('worker rows', CAST(:worker_days AS int),
            (SELECT min(lost_at) FROM worker WHERE lost_at IS NOT NULL)),
        ('idempotency keys', CAST(:key_days AS int),
            (SELECT min(ended_at) FROM chat_request WHERE ended_at IS NOT NULL AND idempotency_key IS NOT NULL)),
        ('sessions', CAST(:session_idle_days AS int), (SELECT min(seen_at) FROM session)),
        ('sums of spending', CAST(:spending_days AS int), (SELECT min(hour) FROM spending))
      ) AS kept (kind, days, since)
    """
)


def overdue_seconds(connection: Connection, keeping: Keeping) -> dict[Kind, float]:
    """Return for how long the oldest row of each kind should have been gone; 0 if all rows may stay."""
    rows = connection.execute(_OVERDUE, asdict(keeping))
    return {Kind(row.kind): row.seconds or 0.0 for row in rows}
