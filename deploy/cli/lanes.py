"""The check of `./naru doctor` on the lanes: who serves them, which are full, and which providers do not answer."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from deploy.cli.findings import Finding, Findings, Level
from shared.errors import NaruError
from shared.postgres.database import make_engine, transaction
from shared.settings import Settings

LANES = text(
    """
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
)


def lanes(settings: Settings) -> Findings:
    """Name the lanes that somebody waits for in vain, and say how many answers each runs."""
    engine = make_engine(settings, name="naru-doctor", pool=2)
    try:
        with transaction(engine) as connection:
            found = connection.execute(LANES).all()
    except (NaruError, SQLAlchemyError):
        return  # the checks of Postgres and of the tables have reported it
    finally:
        engine.dispose()
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
        elif lane.waiting and lane.most_running is not None and lane.running >= lane.most_running:
            what = f"lane {lane.name}: full, {lane.running} run and {lane.waiting} wait"
            yield Finding(Level.HINT, what, "raise its limit in NARU_LANES if the provider allows it")
        elif lane.is_full:
            to_do = "start more workers; NARU_QUEUE_QUESTIONS is the most that may wait"
            yield Finding(Level.HINT, f"lane {lane.name}: {lane.waiting} wait, and further ones are refused", to_do)
    used = [_in_words(lane) for lane in found if lane.is_served or lane.running]
    if used:
        yield Finding(Level.GOOD, f"lanes: {', '.join(used)}")


def _in_words(lane: Any) -> str:
    of_limit = "" if lane.most_running is None else f" of {lane.most_running}"
    return f"{lane.name} runs {lane.running}{of_limit}"
