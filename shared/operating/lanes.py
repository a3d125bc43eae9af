"""Each lane with its waiting and running requests, its limit and its breaker."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, text

from shared.postgres.database import statement

#: Rows are counted up to this number: an exact count of a long queue would read every row each time.
MOST_COUNTED = 10_000
MOST_LANES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneNow:
    """One lane. `waiting` and `running` end at MOST_COUNTED; times are in seconds."""

    name: str
    waiting: int
    running: int
    #: Most answers at once; None means no limit.
    most_running: int | None
    #: How many more answers the workers can take.
    free: int
    #: Whether a worker serves it.
    is_served: bool
    #: Whether further questions are refused because too many wait.
    is_full: bool
    #: How long the fairest request that is due has existed; None while none waits.
    front_seconds: int | None
    #: Until the breaker lets the next call through; None while it is closed.
    retry_seconds: int | None
    failing_seconds: int | None
    code: str | None


# The queue's order leads the planner to its index: it would rather read a whole table than 10,000 entries of an index.
_LANES = text(
    """
    SELECT lane.name, most_running, code, is_full,
           CASE WHEN retry_at IS NOT NULL
                THEN greatest(ceil(extract(epoch FROM retry_at - clock_timestamp())), 0)::int END AS retry_seconds,
           ceil(extract(epoch FROM clock_timestamp() - failing_since))::int AS failing_seconds,
           (SELECT count(*)::int FROM (
               SELECT FROM chat_request r WHERE r.lane = lane.name AND r.status = 'queued'
               ORDER BY r.fair_at LIMIT :most
           ) AS queued) AS waiting,
           (SELECT count(*)::int FROM (
               SELECT FROM chat_request r WHERE r.lane = lane.name AND r.status = 'running' LIMIT :most
           ) AS running) AS running,
           (SELECT ceil(extract(epoch FROM clock_timestamp() - r.created_at))::int FROM chat_request r
            WHERE r.lane = lane.name AND r.status = 'queued' AND r.available_at <= clock_timestamp()
            ORDER BY r.fair_at LIMIT 1) AS front_seconds,
           serving.workers > 0 AS is_served,
           coalesce(serving.free, 0)::int AS free
    FROM lane
    CROSS JOIN LATERAL (
        SELECT count(*) AS workers, sum((worker.free ->> lane.name)::int) AS free FROM worker
        WHERE lost_at IS NULL AND NOT draining AND lease_expires_at > clock_timestamp() AND worker.free ? lane.name
    ) AS serving
    ORDER BY lane.name
    LIMIT :lanes
    """
).bindparams(most=MOST_COUNTED, lanes=MOST_LANES)


def lanes_now(engine: Engine) -> list[LaneNow]:
    """Return the lanes by name. Raises Unavailable."""
    with statement(engine) as connection:
        return [LaneNow(**row) for row in connection.execute(_LANES).mappings()]
