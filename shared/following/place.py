"""The place in a lane's queue and the room in the lane, as parts of the sweep's statement.

Each stops counting: a sweep costs the same with fifty waiting requests and with fifty thousand.
"""

from __future__ import annotations

from typing import Final

from shared.lifecycle import FAILURES

#: The last place that is counted. Everyone after it waits at "more than 1,000".
EXACT_PLACES: Final = 1_000
#: The most running requests that are counted. A fleet that runs more counts as full.
COUNTED_RUNNING: Final = 5_000


def places() -> str:
    """Return a query for (id, place) of the first EXACT_PLACES requests of each lane of `waiting`."""
    return f"""
        SELECT first.id, first.place
        FROM waiting CROSS JOIN LATERAL (
            SELECT id, row_number() OVER (ORDER BY fair_at, id) AS place
            FROM (
                SELECT id, fair_at FROM chat_request
                WHERE status = 'queued' AND chat_request.lane = waiting.lane AND available_at <= statement_timestamp()
                ORDER BY fair_at, id LIMIT {EXACT_PLACES}
            ) AS front
        ) AS first
    """


def rooms() -> str:
    """Return a query for each lane of `waiting`.

    `workers` counts all live ones, `slots` those of the workers that serve the lane, `most` is the smaller limit of the
    lane and its provider, and `room` what is left of it: nothing while the requests or tokens of a minute are used up.
    `closed_seconds` and `closed_code` describe an open breaker.
    """
    return f"""
        SELECT waiting.lane, servers.workers, servers.slots, obeyed.most, obeyed.room, obeyed.closed_seconds,
               obeyed.closed_code
        FROM waiting
        CROSS JOIN LATERAL (
            SELECT count(*) AS workers,
                   coalesce(sum(slots) FILTER (WHERE waiting.lane = '' OR free = '{{}}' OR free ? waiting.lane), 0)
                       AS slots
            FROM worker
            WHERE lost_at IS NULL AND NOT draining AND lease_expires_at > statement_timestamp()
        ) AS servers
        CROSS JOIN LATERAL (
            SELECT min(most_running) AS most,
                   min(CASE WHEN greatest(requests_at, tokens_at, rests_until) > clock_timestamp() THEN 0
                       WHEN most_running IS NOT NULL THEN most_running - (
                       SELECT count(*) FROM chat_request r
                       WHERE r.status = 'running' AND r.lane IN (
                           SELECT part.name FROM lane part
                           WHERE part.name = row.name OR split_part(part.name, '/', 1) = row.name
                       )
                   ) END) AS room,
                   max(greatest(0, extract(epoch FROM retry_at - clock_timestamp()))) FILTER (WHERE breaks)
                       AS closed_seconds,
                   max(code) FILTER (WHERE breaks) AS closed_code
            FROM lane AS row
            CROSS JOIN LATERAL (
                SELECT failures >= {FAILURES} AND (row.name = waiting.lane OR NOT row.is_slowed) AS breaks
            ) AS breaker
            WHERE row.name IN (waiting.lane, split_part(waiting.lane, '/', 1))
        ) AS obeyed
    """


def taken() -> str:
    """Return an expression: the number of running requests, up to COUNTED_RUNNING; 0 if nobody of `waiting` asks."""
    return f"""(
        SELECT count(*) FROM (
            SELECT FROM chat_request WHERE status = 'running' AND EXISTS (SELECT FROM waiting) LIMIT {COUNTED_RUNNING}
        ) AS counted
    )"""


def position(request: str, line: str) -> str:
    """Return an expression: the place of a row `request`, joined with its row `line` of `places`.

    It is EXACT_PLACES + 1 for all that are further behind, and null for a request that cannot be claimed now.
    """
    return f"""CASE WHEN {request}.status = 'queued' AND {request}.available_at <= statement_timestamp()
        THEN coalesce({line}.place, {EXACT_PLACES + 1}) END"""
