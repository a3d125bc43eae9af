"""The check of `./naru doctor` on the lanes: who serves them, which are full, and which providers do not answer."""

from __future__ import annotations

from typing import Any

import psycopg2
from psycopg2.extras import NamedTupleCursor

from deploy.cli.findings import Finding, Findings, Level
from shared.postgres.urls import libpq_url
from shared.settings import Settings

LANES = """
    SELECT lane.name, most_running, code, is_full,
           CASE WHEN retry_at IS NOT NULL
                THEN greatest(ceil(extract(epoch FROM retry_at - clock_timestamp())), 0)::int END AS retry_seconds,
           ceil(extract(epoch FROM clock_timestamp() - failing_since))::int AS failing_seconds,
           (SELECT count(*) FROM chat_request r WHERE r.lane = lane.name AND r.status = 'queued') AS waiting,
           (SELECT count(*) FROM chat_request r WHERE r.lane = lane.name AND r.status = 'running') AS running,
           EXISTS (
               SELECT FROM worker
               WHERE lost_at IS NULL AND NOT draining AND lease_expires_at > clock_timestamp() AND free ? lane.name
           ) AS is_served
    FROM lane
    ORDER BY lane.name
"""


def lanes(settings: Settings) -> Findings:
    """Name the lanes that somebody waits for in vain, and say how many answers each runs."""
    try:
        found = _rows(settings.database_url)
    except psycopg2.Error:
        return  # the checks of Postgres and of the tables have reported it
    for lane in found:
        if lane.retry_seconds is not None:
            what = (
                f"lane {lane.name}: its provider fails for {lane.failing_seconds} s ({lane.code}); {lane.waiting} wait"
            )
            to_do = f"next try in {lane.retry_seconds} s; see docs/operations/alerts.md#providerfails"
            yield Finding(Level.HINT, what, to_do)
        elif lane.waiting and not lane.is_served:
            to_do = "start a worker with this provider's key or address, and with the model in its NARU_MODELS"
            yield Finding(Level.HINT, f"lane {lane.name}: {lane.waiting} wait, and no worker serves it", to_do)
        elif lane.is_full or (lane.waiting and lane.most_running is not None and lane.running >= lane.most_running):
            what = f"lane {lane.name}: full, {lane.running} run and {lane.waiting} wait"
            yield Finding(Level.HINT, what, "raise its limit in NARU_LANES if the provider allows it")
    used = [_in_words(lane) for lane in found if lane.is_served or lane.running]
    if used:
        yield Finding(Level.GOOD, f"lanes: {', '.join(used)}")


def _rows(database_url: str) -> list[Any]:
    connection = psycopg2.connect(libpq_url(database_url), connect_timeout=3)
    try:
        with connection.cursor(cursor_factory=NamedTupleCursor) as made:
            cursor: Any = made
            cursor.execute(LANES)
            return list(cursor.fetchall())
    finally:
        connection.close()


def _in_words(lane: Any) -> str:
    of_limit = "" if lane.most_running is None else f" of {lane.most_running}"
    return f"{lane.name} runs {lane.running}{of_limit}"
