"""Tests of what a person sees while a question waits: the place in its lane, the wait, and why nothing happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import update

from shared import fleet, lifecycle
from shared.following.phases import Phase, State, state_of
from shared.following.sweep import Row, sweep
from shared.lifecycle import Answer, Submitted, lanes
from shared.people import Owner
from shared.tables import lane, worker
from tests.patience import patient
from tests.shared.rig import RequestRig

DEMO, FAST, SLOW = "demo/echo", "openai/fast", "openai/slow"


def person(name: object) -> Owner:
    return Owner("browser", str(name))


def swept(rig: RequestRig, asked: Submitted) -> Row:
    (row,) = sweep(rig.engine, [asked.conversation_id], known=[])
    return row


def shown(rig: RequestRig, asked: Submitted) -> State:
    return state_of(swept(rig, asked), None, read_at=0.0, slow=False)


def busy(
    rig: RequestRig, name: str, model: str, *, slots: int, most_running: int | None = None
) -> Callable[[], object]:
    """Register a worker whose slots are full; return a function that claims one more."""
    worker_id = rig.worker(model, slots=slots)
    limits = {} if most_running is None else {name: most_running}
    lanes.register(rig.engine, [name.partition("/")[0]], limits)
    with rig.begin() as connection:
        fleet.renew(connection, worker_id, lease_seconds=60, consumed=True, free={name: slots})
    return lambda: rig.claim_from(name, worker_id, models=[model])


def test_place_counts_only_its_own_lane(rig: RequestRig) -> None:
    claim_demo = busy(rig, "demo", DEMO, slots=1)
    claim_slow = busy(rig, "openai", SLOW, slots=1)
    demo = [rig.ask(owner=person(n), model=DEMO) for n in range(4)]
    slow = [rig.ask(owner=person(n), model=SLOW) for n in range(10, 12)]
    assert claim_demo()
    assert claim_slow()
    assert [swept(rig, each).position for each in (*demo[1:], slow[1])] == [1, 2, 3, 1]
    state = shown(rig, demo[3])
    assert (state.phase, state.position, state.lane) == (Phase.QUEUED, 3, "demo")


def test_place_follows_fairness(rig: RequestRig) -> None:
    flood = [rig.ask(owner=person("flood")) for _ in range(5)]
    other = rig.ask(owner=person("other"))
    assert [swept(rig, each).position for each in (flood[0], other, flood[1])] == [1, 2, 3]


def test_full_lane_is_named_though_workers_are_idle(rig: RequestRig) -> None:
    claim = busy(rig, SLOW, SLOW, slots=8, most_running=1)
    first, second = (rig.ask(owner=person(n), model=SLOW) for n in range(2))
    assert shown(rig, first).phase is Phase.NEXT
    assert claim()
    state = shown(rig, second)
    assert (state.phase, state.position, state.lane) == (Phase.QUEUED, 1, "slow")


def test_expected_wait_uses_the_lanes_limit_and_pace(rig: RequestRig) -> None:
    claim = busy(rig, "demo", DEMO, slots=8, most_running=2)
    for model, seconds in ((DEMO, 20), (FAST, 1000)):
        asked = rig.ask(owner=person(model), model=DEMO)
        claimed = rig.claim(asked.request_id, rig.worker())
        lifecycle.finish(rig.engine, claimed, Answer(text="So."))
        rig.put(asked.request_id, started_at=rig.ago(seconds), ended_at=rig.ago(0), lane=lanes.lane_of(model, ()))
    waiting = [rig.ask(owner=person(n)) for n in range(5)]
    assert claim()
    assert claim()
    row = swept(rig, waiting[4])
    assert (row.position, row.free_slots) == (3, 0)
    assert row.expected_seconds == pytest.approx(3 * 20 / 2, rel=0.05)


def test_model_that_nobody_serves_now_is_told(rig: RequestRig) -> None:
    rig.serve("openai", room=4)
    gone = rig.worker(SLOW)
    asked = rig.ask(model=SLOW)
    assert shown(rig, asked).phase is Phase.NEXT
    fleet.leave(rig.engine, gone)
    assert shown(rig, asked).phase is Phase.UNSERVED
    with rig.begin() as connection:
        connection.execute(update(worker).values(lost_at=rig.ago(0)))
    assert shown(rig, asked).phase is Phase.NO_WORKER


@pytest.mark.parametrize(("code", "phase"), [("connect_failed", Phase.AWAY), ("rate_limited", Phase.WAITING)])
def test_open_breaker_tells_the_next_try(rig: RequestRig, code: str, phase: Phase) -> None:
    claim = busy(rig, SLOW, SLOW, slots=4, most_running=3)
    asked = rig.ask(model=SLOW)
    for _ in range(2):
        lifecycle.record_failure(rig.engine, SLOW, code=code, asks_to_slow_down=False, wait_seconds=20, was_probe=True)
    assert claim() is None
    state = shown(rig, asked)
    assert state.phase is phase
    assert state.retry_at is not None
    assert 20 - patient(5) < state.retry_at <= 20
    with rig.begin() as connection:
        connection.execute(update(lane).values(failures=1))
    assert shown(rig, asked).phase is Phase.NEXT, "one failure tells nothing"


@pytest.mark.parametrize(
    ("code", "phase"),
    [("connect_failed", Phase.AWAY), ("first_token_timeout", Phase.AWAY), ("overloaded", Phase.WAITING)],
)
def test_wait_for_a_retry_tells_its_cause(rig: RequestRig, code: str, phase: Phase) -> None:
    rig.worker(SLOW)
    asked = rig.ask(model=SLOW)
    rig.put(asked.request_id, wait_code=code, available_at=rig.ago(-20))
    assert shown(rig, asked).phase is phase


def test_lane_is_news(rig: RequestRig) -> None:
    """A request that moves to another lane shows at once where it waits now."""
    busy(rig, "openai", SLOW, slots=0)
    asked = rig.ask(model=SLOW)
    before = shown(rig, asked)
    rig.limit(SLOW, 1)
    after = shown(rig, asked)
    assert (before.lane, after.lane) == ("openai", "slow")
    assert after.is_news(before)
    assert after.data(0.0)["lane"] == "slow"
