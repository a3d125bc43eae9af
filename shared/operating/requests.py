"""Requests by state, and the timeline of one: ids, owners, times, outcomes. Nothing that anybody wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, TextClause, text

from shared.errors import NotFound
from shared.postgres.database import statement
from shared.tables import Status

#: The requests on a page, and the attempts in a timeline: the newest.
MOST_REQUESTS = 30
MOST_ATTEMPTS = 30


class Which(StrEnum):
    """A list of requests."""

    #: The fairest first, lane by lane.
    QUEUED = "queued"
    #: The oldest first.
    RUNNING = "running"
    #: The last to fail first.
    FAILED = "failed"
    #: The last to end first, in whatever way.
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestNow:
    """One request, without its words."""

    id: UUID
    #: The owner's key, and the e-mail address if the owner is a person.
    owner_key: str
    email: str | None
    model: str
    lane: str
    status: Status
    attempt: int
    #: Its place in its lane; None unless it waits.
    place: int | None
    wait_code: str | None
    error_code: str | None
    is_stop_requested: bool
    worker_id: UUID | None
    created_at: datetime
    first_token_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptThen:
    """One attempt. `outcome` is None while it runs."""

    attempt: int
    worker_id: UUID
    #: The worker's host and process; None once its row has left.
    host: str | None
    pid: int | None
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error_code: str | None
    provider_request_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A request with its attempts, the first of those shown first."""

    request: RequestNow
    #: The HTTP request that brought it, as in the logs.
    http_request_id: str
    #: The times at which it may be claimed and is given up.
    available_at: datetime
    deadline_at: datetime
    stop_requested_at: datetime | None
    losses: int
    tries: int
    broken_streams: int
    input_tokens: int | None
    output_tokens: int | None
    cached_input_tokens: int | None
    attempts: tuple[AttemptThen, ...]


_COLUMNS = """
    r.id, r.owner_id AS owner_key, person.email, r.model, r.lane, r.status, r.attempt, r.wait_code, r.error_code,
    r.stop_requested_at IS NOT NULL AS is_stop_requested, r.worker_id, r.created_at, r.first_token_at, r.ended_at
"""
# An owner's key may be any text; a cast of one that is no id would raise.
_PERSON = """
    LEFT JOIN person ON person.id = CASE
        WHEN r.owner_id ~ '^person:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN substr(r.owner_id, 8)::uuid END
"""


def _text(sql: str, **parts: str) -> TextClause:
    """Return the statement with the parts that all statements share, and its own, in place of their names."""
    for name, part in {"COLUMNS": _COLUMNS, "PERSON": _PERSON, **parts}.items():
        sql = sql.replace(name, part)
    return text(sql)


_QUEUED = _text(
    """
    SELECT COLUMNS, r.place::int AS place
    FROM lane
    CROSS JOIN LATERAL (
        SELECT waiting.*, row_number() OVER (ORDER BY waiting.fair_at) AS place
        FROM (SELECT * FROM chat_request q WHERE q.lane = lane.name AND q.status = 'queued'
              ORDER BY q.fair_at LIMIT :most) AS waiting
    ) AS r
    PERSON
    ORDER BY r.place, lane.name
    LIMIT :most
    """
)
_SLICES = {
    Which.RUNNING: ("r.status = 'running'", "r.created_at"),
    Which.FAILED: ("r.status = 'failed'", "r.ended_at DESC"),
    Which.ENDED: ("r.ended_at IS NOT NULL", "r.ended_at DESC"),
}
_LISTS = {Which.QUEUED: _QUEUED} | {
    which: _text(
        """
        SELECT COLUMNS, NULL::int AS place
        FROM (SELECT * FROM chat_request r WHERE CHOSEN ORDER BY PLACE LIMIT :most) AS r
        PERSON
        ORDER BY PLACE
        """,
        CHOSEN=chosen,
        PLACE=place,
    )
    for which, (chosen, place) in _SLICES.items()
}
_TIMELINE = _text(
    """
    SELECT COLUMNS, NULL::int AS place,
           r.http_request_id, r.available_at, r.deadline_at, r.stop_requested_at, r.losses, r.tries, r.broken_streams,
           r.input_tokens, r.output_tokens, r.cached_input_tokens,
           a.attempt AS a_attempt, a.worker_id AS a_worker_id, worker.host AS a_host, worker.pid AS a_pid,
           a.started_at AS a_started_at, a.ended_at AS a_ended_at, a.outcome AS a_outcome,
           a.error_code AS a_error_code, a.provider_request_id AS a_provider_request_id
    FROM chat_request r
    PERSON
    LEFT JOIN LATERAL (
        SELECT * FROM request_attempt WHERE request_id = r.id ORDER BY attempt DESC LIMIT :most
    ) AS a ON true
    LEFT JOIN worker ON worker.id = a.worker_id
    WHERE r.id = :request_id
    ORDER BY a.attempt
    """
)


def requests_now(engine: Engine, which: Which, *, most: int = MOST_REQUESTS) -> list[RequestNow]:
    """Return the first `most` requests of a list. Raises Unavailable."""
    with statement(engine) as connection:
        return [_request(row) for row in connection.execute(_LISTS[which], {"most": most}).mappings()]


def timeline(engine: Engine, request_id: UUID) -> Timeline:
    """Return a request with its last attempts. Raises NotFound and Unavailable."""
    values = {"request_id": request_id, "most": MOST_ATTEMPTS}
    with statement(engine) as connection:
        rows = connection.execute(_TIMELINE, values).mappings().all()
    if not rows:
        raise NotFound
    own = [name for name in Timeline.__dataclass_fields__ if name not in {"request", "attempts"}]
    return Timeline(request=_request(rows[0]), attempts=_attempts(rows), **{name: rows[0][name] for name in own})


def _request(row: Any) -> RequestNow:
    values = {name: row[name] for name in RequestNow.__dataclass_fields__}
    return RequestNow(**{**values, "status": Status(row["status"])})


def _attempts(rows: Sequence[Any]) -> tuple[AttemptThen, ...]:
    return tuple(
        AttemptThen(**{name: row[f"a_{name}"] for name in AttemptThen.__dataclass_fields__})
        for row in rows
        if row["a_attempt"] is not None
    )
