"""Findings of `./naru doctor` about the lanes."""

from __future__ import annotations

import dataclasses

from sqlalchemy import Engine

from deploy.cli.findings import Level
from deploy.cli.lanes import lanes
from shared.lifecycle.lanes import record_failure
from shared.settings import Settings
from tests.shared.rig import RequestRig
from tests.stack import free_port


def found(settings: Settings) -> list[tuple[Level, str]]:
    return [(each.level, each.what) for each in lanes(settings)]


def test_doctor_counts_the_answers_of_each_lane(settings: Settings, engine: Engine) -> None:
    RequestRig(engine).serve("openai", room=4, most_running=40)
    assert found(settings) == [(Level.GOOD, "lanes: openai runs 0 of 40")]


def test_doctor_names_a_lane_without_a_worker(settings: Settings, engine: Engine) -> None:
    rig = RequestRig(engine)
    rig.limit("demo", 40)
    rig.fill_with_queued(3)
    assert found(settings) == [(Level.HINT, "lane demo: 3 wait, and no worker serves it")]


def test_doctor_names_a_full_lane(settings: Settings, engine: Engine) -> None:
    rig = RequestRig(engine)
    rig.running()
    rig.serve("demo", room=4, most_running=1)
    rig.fill_with_queued(2)
    hint, good = found(settings)
    assert hint == (Level.HINT, "lane demo: full, 1 run and 2 wait")
    assert good == (Level.GOOD, "lanes: demo runs 1 of 1")


def test_doctor_names_a_queue_that_refuses(settings: Settings, engine: Engine) -> None:
    rig = RequestRig(engine)
    rig.serve("demo", room=4)
    rig.fill_with_queued(3)
    rig.tick(queue_questions=3)
    assert found(settings)[0] == (Level.HINT, "lane demo: 3 wait, and further ones are refused")


def test_doctor_says_why_a_provider_is_not_called(settings: Settings, engine: Engine) -> None:
    rig = RequestRig(engine)
    rig.serve("demo", room=4)
    rig.fill_with_queued(3)
    record_failure(engine, "demo", code="rate_limited", asks_to_slow_down=True, wait_seconds=60, was_probe=False)
    (hint, _) = lanes(settings)
    assert hint.what.startswith("lane demo: its provider fails for ")
    assert hint.what.endswith(" s (rate_limited); 3 wait")
    assert hint.to_do.startswith("next try in ")


def test_doctor_leaves_lanes_without_postgres(settings: Settings) -> None:
    gone = dataclasses.replace(settings, database_url=f"postgresql://x:y@127.0.0.1:{free_port()}/z")
    assert found(gone) == []
