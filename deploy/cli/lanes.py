"""The check of `./naru doctor` on the lanes: who serves them, which are full, and which providers do not answer."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from deploy.cli.findings import Finding, Findings, Level
from shared.errors import NaruError
from shared.operating.lanes import LaneNow, lanes_now
from shared.postgres.database import make_engine
from shared.settings import Settings


def lanes(settings: Settings) -> Findings:
    """Name the lanes that somebody waits for in vain, and say how many answers each runs."""
    engine = make_engine(settings, name="naru-doctor", pool=2)
    try:
        found = lanes_now(engine)
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
    used = [in_words(lane) for lane in found if lane.is_served or lane.running]
    if used:
        yield Finding(Level.GOOD, f"lanes: {', '.join(used)}")


def in_words(lane: LaneNow) -> str:
    """Say how many answers the lane runs, and of how many."""
    of_limit = "" if lane.most_running is None else f" of {lane.most_running}"
    return f"{lane.name} runs {lane.running}{of_limit}"
