"""Requests that nobody has claimed: a tick counts the hints that they need, or ends their wait.

A request is overlooked when it has been due for OVERLOOKED_SECONDS: its hint may be lost, or nobody could use it. One
that was taken back from a lost worker has no hint yet, so it is overlooked at once.
"""

from __future__ import annotations

from sqlalchemy import Connection, select, text, update

from shared import fleet
from shared.errors import WORKER_LOST
from shared.lifecycle import lanes
from shared.lifecycle.repairing import fail_unserved as fail
from shared.postgres.prepared import prepared
from shared.tables import Status, chat_request

_R = chat_request.c
OVERLOOKED_SECONDS = 0.4
#: Look at this many requests of each lane, the fairest first.
SAMPLE = 50

#: For each lane with overlooked requests, the number of hints that should wait: as many as workers could claim requests
#: now.
_HINTS = prepared(
    text(
        """
        WITH server AS (
            SELECT free.key AS lane, free.value::int AS room, worker.models
            FROM worker CROSS JOIN LATERAL jsonb_each_text(worker.free) AS free
            WHERE worker.lost_at IS NULL AND NOT worker.draining AND worker.lease_expires_at > statement_timestamp()
              AND free.value::int > 0
        ), room AS (
            SELECT lane, sum(room) AS number FROM server GROUP BY lane
        ), served AS (
            SELECT DISTINCT lane, model ->> 'name' AS model
            FROM server CROSS JOIN LATERAL jsonb_array_elements(models) AS model
        )
        SELECT lane.name,
               CASE WHEN obeyed.failures >= :failures THEN 1
                    ELSE least(overlooked.number, room.number, obeyed.room) END AS hints
        FROM lane
        JOIN room ON room.lane = lane.name
        CROSS JOIN LATERAL (
            SELECT max(failures) FILTER (WHERE row.name = lane.name OR NOT row.is_slowed) AS failures,
                   max(retry_at) FILTER (WHERE row.name = lane.name OR NOT row.is_slowed) AS retry_at,
                   max(greatest(requests_at, tokens_at, rests_until)) AS paced_until,
                   min(CASE WHEN most_running IS NOT NULL THEN most_running - (
                       SELECT count(*) FROM chat_request r
                       WHERE r.status = 'running' AND r.lane IN (
                           SELECT part.name FROM lane part
                           WHERE part.name = row.name OR split_part(part.name, '/', 1) = row.name
                       )
                   ) END) AS room
            FROM lane row
            WHERE row.name IN (lane.name, split_part(lane.name, '/', 1))
        ) AS obeyed
        CROSS JOIN LATERAL (
            SELECT count(*) AS number
            FROM (
                SELECT owner_id, model FROM chat_request
                WHERE status = 'queued' AND chat_request.lane = lane.name
                  AND available_at <= statement_timestamp() - make_interval(
                      secs => CASE WHEN wait_code = :worker_lost THEN 0.0::float8 ELSE :overlooked END
                  )
                ORDER BY fair_at LIMIT :sample
            ) AS front
            WHERE (lane.name, front.model) IN (SELECT lane, model FROM served) AND (
                :owner_running = 0 OR :owner_running > (
                    SELECT count(*) FROM chat_request theirs
                    WHERE theirs.owner_id = front.owner_id AND theirs.status = 'running'
                )
            )
        ) AS overlooked
        WHERE overlooked.number > 0
          AND coalesce(obeyed.room, 1) > 0 AND coalesce(obeyed.retry_at <= statement_timestamp(), true)
          AND coalesce(obeyed.paced_until <= statement_timestamp(), true)
        """
    )
)

#: Requests that have waited too long for a model that no worker has offered in that time. After an outage of all
#: workers, each model gets that time to come back: a worker must have been there for that time.
_UNSERVED = prepared(
    text(
        """
        WITH long AS (SELECT statement_timestamp() - make_interval(secs => :unserved) AS ago)
        SELECT front.id
        FROM lane
        CROSS JOIN long
        CROSS JOIN LATERAL (
            SELECT id, model, available_at FROM chat_request
            WHERE status = 'queued' AND chat_request.lane = lane.name
            ORDER BY fair_at LIMIT :sample
        ) AS front
        WHERE front.available_at <= long.ago
          AND NOT EXISTS (
              SELECT FROM worker
              WHERE renewed_at > long.ago AND models @> jsonb_build_array(jsonb_build_object('name', front.model))
          )
          AND EXISTS (
              SELECT FROM worker
              WHERE lost_at IS NULL AND lease_expires_at > statement_timestamp() AND started_at <= long.ago
          )
        LIMIT :sample
        """
    )
)

_NOTE_FULL = prepared(
    text(
        """
        UPDATE lane SET is_full = NOT is_full
        WHERE name IN (
            SELECT name FROM lane AS each
            WHERE is_full <> (:most > 0 AND :most <= (
                SELECT count(*) FROM (
                    SELECT FROM chat_request WHERE status = 'queued' AND chat_request.lane = each.name LIMIT :most
                ) AS waiting
            ))
            -- Whoever changes several lanes locks them in this order.
            ORDER BY name FOR UPDATE
        )
        """
    )
)


def hints(connection: Connection, owner_running: int) -> dict[str, int]:
    """Return how many hints should wait for each lane."""
    values = {
        "failures": lanes.FAILURES,
        "sample": SAMPLE,
        "overlooked": OVERLOOKED_SECONDS,
        "worker_lost": WORKER_LOST,
        "owner_running": owner_running,
    }
    return {row.name: row.hints for row in connection.execute(_HINTS, values)}


def fail_unserved(connection: Connection, unserved_seconds: float) -> int:
    """Fail requests whose model nobody has served in that time, at most SAMPLE; return their number."""
    found = connection.execute(_UNSERVED, {"unserved": unserved_seconds, "sample": SAMPLE}).scalars().all()
    return fail(connection, found)


def note_full_queues(connection: Connection, *, most: int) -> None:
    """Note for each lane whether `most` questions wait in it; 0 means no limit.

    Counted once a tick and not for each question: to count ten thousand takes longer than to store one.
    """
    connection.execute(_NOTE_FULL, {"most": most})


def adopt(connection: Connection) -> None:
    """Give a model and a lane to questions that have none: no worker was live, or the previous version stored them.

    A tick does it for `lanes.MOVED_AT_ONCE` at most; the next one goes on.
    """
    without_model = select(_R.id).where(_R.status == Status.QUEUED, _R.model == "").limit(lanes.MOVED_AT_ONCE)
    # The default is found among thousands of models: not in each tick.
    if connection.execute(without_model.limit(1)).first() is not None:
        found = without_model.where(fleet.default_model().is_not(None)).with_for_update(skip_locked=True)
        connection.execute(update(chat_request).where(_R.id.in_(found)).values(model=fleet.default_model()))
    lanes.assign(connection, _R.lane == "", _R.model != "")
