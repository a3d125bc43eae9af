"""The workers that live, and those that were lost or left lately."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Engine, text

from shared.postgres.database import statement

MOST_WORKERS = 100
#: Workers that ended are shown for this long, up to this number.
REMEMBERED_SECONDS = 3600
MOST_ENDED = 20


class Being(StrEnum):
    """The state of a worker."""

    LIVE = "live"
    DRAINING = "draining"
    #: Its lease has run out; the reconciler marks it lost once that proves something.
    SILENT = "silent"
    LOST = "lost"
    LEFT = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerNow:
    """One worker process."""

    id: UUID
    host: str
    pid: int
    version: str
    slots: int
    running: int
    being: Being
    is_drain_requested: bool
    started_at: datetime
    renewed_seconds: int
    #: Since its broker connection last worked; None if it never did.
    consumed_seconds: int | None
    ended_at: datetime | None


_WORKERS = text(
    """
    SELECT id, host, pid, version, slots, started_at, lost_at AS ended_at,
           drain_requested_at IS NOT NULL AS is_drain_requested,
           ceil(extract(epoch FROM clock_timestamp() - renewed_at))::int AS renewed_seconds,
           ceil(extract(epoch FROM clock_timestamp() - consumed_at))::int AS consumed_seconds,
           (SELECT count(*)::int FROM chat_request r WHERE r.worker_id = shown.id AND r.status = 'running') AS running,
           CASE WHEN lost_at IS NOT NULL THEN CASE WHEN draining THEN 'left' ELSE 'lost' END
                WHEN lease_expires_at <= clock_timestamp() THEN 'silent'
                WHEN draining THEN 'draining'
                ELSE 'live' END AS being
    FROM (
        (SELECT * FROM worker WHERE lost_at IS NULL ORDER BY lease_expires_at DESC LIMIT :most)
        UNION ALL
        (SELECT * FROM worker WHERE lost_at > clock_timestamp() - make_interval(secs => :remembered)
         ORDER BY lost_at DESC LIMIT :ended)
    ) AS shown
    ORDER BY lost_at DESC NULLS FIRST, started_at, id
    """
).bindparams(most=MOST_WORKERS, remembered=REMEMBERED_SECONDS, ended=MOST_ENDED)


def workers_now(engine: Engine) -> list[WorkerNow]:
    """Return the living workers, the oldest first, and below them those that ended lately. Raises Unavailable."""
    with statement(engine) as connection:
        rows = connection.execute(_WORKERS).mappings().all()
    return [WorkerNow(**{**row, "being": Being(row["being"])}) for row in rows]
