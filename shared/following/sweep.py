"""One statement for all watched requests: each one's row, its place in the queue, and text that its stream missed.

Reads only. `phases.py` derives what a person sees; `web/watch/watcher.py` decides when to sweep.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from shared.following.place import COUNTED_RUNNING, places, position, rooms, taken
from shared.following.text import LiveText
from shared.people import Owner
from shared.postgres.database import statement
from shared.postgres.prepared import prepared
from shared.tables import TERMINAL

#: Number of recent answers whose average duration gives the expected wait.
LAST_ANSWERS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The part of a followed request's text that its follower has.

    A longer text is fetched when the stream is silent and when the request has ended: the row may show the end before
    the stream has delivered the last text.
    """

    request_id: UUID
    attempt: int
    length: int
    is_silent: bool

    @classmethod
    def of(cls, request_id: UUID, text: LiveText, *, is_silent: bool) -> Known:
        """Describe how far `text` has got."""
        return cls(request_id=request_id, attempt=text.attempt, length=text.length, is_silent=is_silent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request in Postgres. Seconds are relative to Postgres's clock when the statement ran."""

    conversation_id: UUID
    owner: Owner
    request_id: UUID
    status: str
    attempt: int
    code: str | None
    since_seconds: float
    retry_in_seconds: float
    position: int | None
    expected_seconds: float | None
    free_slots: int
    workers: int
    #: The longer text, from the checkpoint of a running answer or from the stored answer.
    missed_text: str | None
    lane: str = ""
    model: str = ""
    #: The model that the person chose, where `model` stands in for it.
    asked_model: str | None = None
    #: Whether a live worker offers the model.
    is_served: bool = True
    #: While the breaker of the lane is open: the time to the next call, and the reason.
    closed_seconds: float | None = None
    closed_code: str | None = None

    @property
    def is_ended(self) -> bool:
        """Whether the request has ended."""
        return self.status in TERMINAL

    def complete(self, text: LiveText) -> bool:
        """Add what `text` has missed, if the sweep found a longer one. Return whether anything changed."""
        return self.missed_text is not None and text.whole(self.attempt, self.missed_text)


_OWNER = prepared(text("SELECT owner_id FROM conversation WHERE id = :conversation_id"))

# The queue, the fleet and the pace are read only for the lanes in which a watched request waits.
_SWEEP = prepared(
    text(
        f"""
        WITH wanted AS (
            SELECT latest.id
            FROM unnest(CAST(:conversations AS text[])::uuid[]) AS asked (id)
            CROSS JOIN LATERAL (
                SELECT id FROM chat_request WHERE conversation_id = asked.id ORDER BY created_at DESC LIMIT 1
            ) AS latest
            UNION
            SELECT unnest(CAST(:known AS text[])::uuid[])
        ), found AS (
            SELECT r.*, c.owner_id AS conversation_owner
            FROM wanted JOIN chat_request r ON r.id = wanted.id JOIN conversation c ON c.id = r.conversation_id
        ), waiting AS (
            SELECT DISTINCT lane FROM found WHERE status = 'queued'
        ), line AS (
            {places()}
        ), rooms AS (
            {rooms()}
        ), taken AS (
            SELECT {taken()} AS number
        ), last AS (
            SELECT lane, extract(epoch FROM ended_at - started_at) AS seconds
            FROM chat_request
            WHERE ended_at IS NOT NULL AND EXISTS (SELECT FROM waiting)
            ORDER BY ended_at DESC LIMIT :last_answers
        ), pace AS (
            SELECT waiting.lane, coalesce(avg(last.seconds) FILTER (WHERE last.lane = waiting.lane), avg(last.seconds))
                       AS seconds
            FROM waiting LEFT JOIN last ON true
            GROUP BY waiting.lane
        )
        SELECT found.conversation_id, found.conversation_owner AS owner_id, found.id AS request_id, found.status,
               found.attempt, coalesce(found.error_code, found.wait_code) AS code,
               extract(epoch FROM clock_timestamp() - CASE found.status
                   WHEN 'running' THEN coalesce(a.started_at, found.started_at) ELSE found.created_at
               END)::float8 AS since_seconds,
               greatest(0, extract(epoch FROM found.available_at - clock_timestamp()))::float8
                   AS retry_in_seconds,
               {position("found", "line")} AS position,
               (line.place * pace.seconds / nullif(least(rooms.slots, rooms.most), 0))::float8 AS expected_seconds,
               CASE WHEN taken.number < {COUNTED_RUNNING}
                   THEN greatest(0, least(rooms.slots - taken.number, rooms.room)) ELSE 0 END::int AS free_slots,
               coalesce(rooms.workers, 0)::int AS workers,
               found.lane, found.model, found.asked_model,
               rooms.closed_seconds::float8 AS closed_seconds, rooms.closed_code,
               found.status <> 'queued' OR found.model = '' OR EXISTS (
                   SELECT FROM worker
                   WHERE lost_at IS NULL AND NOT draining AND lease_expires_at > statement_timestamp()
                     AND models @> jsonb_build_array(jsonb_build_object('name', found.model))
               ) AS is_served,
               CASE WHEN (s.is_silent OR found.ended_at IS NOT NULL)
                     AND (found.attempt > s.attempt OR char_length(coalesce(m.content, a.checkpoint)) > s.length)
                    THEN coalesce(m.content, a.checkpoint) END
                   AS missed_text
        FROM found
        CROSS JOIN taken
        LEFT JOIN rooms ON found.status = 'queued' AND rooms.lane = found.lane
        LEFT JOIN pace ON found.status = 'queued' AND pace.lane = found.lane
        LEFT JOIN line ON line.id = found.id
        LEFT JOIN request_attempt a
            ON a.request_id = found.id AND a.attempt = found.attempt AND found.status <> 'queued'
        LEFT JOIN message m ON m.request_id = found.id
        LEFT JOIN unnest(
            CAST(:known AS text[])::uuid[], CAST(:attempts AS int[]), CAST(:lengths AS int[]), CAST(:silent AS bool[])
        )
            AS s (id, attempt, length, is_silent) ON s.id = found.id
        ORDER BY found.conversation_id, found.created_at
        """
    )
)


def sweep(engine: Engine, conversations: Collection[UUID], *, known: Sequence[Known]) -> list[Row]:
    """Return the last request of each conversation and those of `known`, oldest first in each conversation."""
    values = {
        "conversations": [str(each) for each in conversations],
        "known": [str(each.request_id) for each in known],
        "attempts": [each.attempt for each in known],
        "lengths": [each.length for each in known],
        "silent": [each.is_silent for each in known],
        "last_answers": LAST_ANSWERS,
    }
    with statement(engine) as connection:
        return [_row(**row) for row in connection.execute(_SWEEP, values).mappings()]


def _row(*, owner_id: str, **values: Any) -> Row:
    return Row(owner=Owner.from_key(owner_id), **values)


def owner_of_conversation(engine: Engine, conversation_id: UUID) -> Owner | None:
    """Return the owner of the conversation; None if it does not exist yet."""
    with statement(engine) as connection:
        key: str | None = connection.execute(_OWNER, {"conversation_id": conversation_id}).scalar_one_or_none()
    return None if key is None else Owner.from_key(key)
