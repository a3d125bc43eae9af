"""The place in the queue, and how many slots are free, as parts of the sweep's statement.

Both stop counting: a sweep costs the same with fifty waiting requests and with fifty thousand.
"""

from __future__ import annotations

from typing import Final

#: The last place that is counted. Everyone behind it waits at "more than 1,000".
EXACT_PLACES: Final = 1_000
#: The most running requests that are counted. A fleet that runs more counts as full.
COUNTED_RUNNING: Final = 5_000


def places() -> str:
    """Return a query for (id, place) of the first EXACT_PLACES requests that could be claimed now; empty if nobody of
    `waiting` asks."""
    return f"""
        SELECT id, row_number() OVER (ORDER BY available_at, id) AS place
        FROM (
            SELECT id, available_at FROM chat_request
            WHERE status = 'queued' AND available_at <= statement_timestamp() AND (SELECT anyone FROM waiting)
            ORDER BY available_at, id LIMIT {EXACT_PLACES}
        ) AS first
    """  # noqa: S608 - a constant


def taken() -> str:
    """Return an expression: the number of running requests, up to COUNTED_RUNNING; 0 if nobody of `waiting` asks."""
    return f"""(
        SELECT count(*) FROM (
            SELECT FROM chat_request WHERE status = 'running' AND (SELECT anyone FROM waiting) LIMIT {COUNTED_RUNNING}
        ) AS counted
    )"""  # noqa: S608 - a constant


def position(request: str, line: str) -> str:
    """Return an expression: the place of a row `request`, joined with its row `line` of `places`.

    It is EXACT_PLACES + 1 for all that are further behind, and null for a request that cannot be claimed now.
    """
    return f"""CASE WHEN {request}.status = 'queued' AND {request}.available_at <= statement_timestamp()
        THEN coalesce({line}.place, {EXACT_PLACES + 1}) END"""
