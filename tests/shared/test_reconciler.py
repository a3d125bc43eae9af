"""The reconciler: one short transaction that repairs, and forgives when its own ticks had stood still."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, func, select, text

from shared import fleet, lifecycle
from shared.errors import DEADLINE, Unavailable
from shared.lifecycle import Answer
from shared.postgres.database import make_engine
from shared.reconciler import ADVISORY_LOCK, Repairs, Ticker, tick
from shared.settings import Settings
from shared.tables import Outcome, Status, reconciler_tick
from tests.patience import patient
from tests.shared.together import together
from tests.shared.world import OWNER, World
from tests.stack import Stack, wait_until

RESENDS = [(0, 5), (1, 10), (2, 20), (3, 40), (4, 60), (5, 60), (50, 60)]


def tick_now(world: World) -> Repairs:
    repairs = tick(world.engine, stop_patience_seconds=3)
    assert repairs is not None
    return repairs


def test_first_tick_marks_no_worker_lost(world: World) -> None:
    world.expire_lease(world.running().worker_id)
    assert tick_now(world) == Repairs()
    assert tick_now(world).lost_workers == 0
    world.ticked()
    assert tick_now(world).lost_workers == 1


@pytest.mark.parametrize("gap_seconds", [0.5, 1.9, 2.1, 3600])
def test_gap_in_ticks_marks_no_worker_lost(world: World, gap_seconds: float) -> None:
    world.expire_lease(world.running().worker_id)
    world.ticked(seconds_ago=gap_seconds)
    lost = tick_now(world).lost_workers
    (row,) = world.rows(reconciler_tick)
    # What counts is the gap that the tick found: on a slow machine it is a little longer than the one that was made.
    assert gap_seconds <= row["gap_seconds"] < gap_seconds + patient(1)
    forgiven = row["gap_seconds"] > 2
    assert lost == (0 if forgiven else 1)
    if forgiven:
        assert 2.5 < (row["mercy_until"] - row["ticked_at"]).total_seconds() < 3.1


def test_mercy_ends_on_time(world: World) -> None:
    claimed = world.running()
    world.expire_lease(claimed.worker_id)
    world.ticked(mercy_for=60)
    assert tick_now(world).lost_workers == 0
    world.ticked(mercy_for=-0.01)
    repairs = tick_now(world)
    assert (repairs.lost_workers, repairs.taken_back) == (1, 1)


def test_mercy_covers_only_leases(world: World) -> None:
    overdue, dropped, gone = world.ask().request_id, world.ask().request_id, world.running()
    world.put(overdue, deadline_at=world.ago(0))
    world.put(dropped, dispatched_at=None)
    fleet.leave(world.engine, gone.worker_id)
    world.ticked(mercy_for=60)
    repairs = tick_now(world)
    assert (repairs.expired, repairs.resend, repairs.taken_back) == (1, [dropped], 1)


def test_worker_renewing_in_time_is_not_lost(world: World) -> None:
    late, in_time = world.worker(), world.worker()
    for worker_id in (late, in_time):
        world.expire_lease(worker_id)
    with world.begin() as connection:
        assert fleet.renew(connection, in_time, lease_seconds=6, consumed=True), "late, but nobody had noticed"
    assert world.tick().lost_workers == 1
    with world.begin() as connection:
        assert fleet.renew(connection, in_time, lease_seconds=6, consumed=True)
        assert not fleet.renew(connection, late, lease_seconds=6, consumed=True)
    assert world.tick().lost_workers == 0, "it is marked once"


def test_tick_skips_while_another_runs(world: World) -> None:
    claimed = world.running()
    world.expire_lease(claimed.worker_id)
    world.ticked()
    with world.begin() as other:
        other.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        assert tick(world.engine, stop_patience_seconds=3) is None
        assert world.row(claimed.request_id)["status"] == "running"
    assert tick_now(world).taken_back == 1, "the lock went with the transaction"


def test_many_tickers_repair_each_thing_once(world: World) -> None:
    for _ in range(5):
        dead = world.worker()
        claims = [world.running(worker_id=dead) for _ in range(4)]
        overdue = world.ask().request_id
        world.put(overdue, deadline_at=world.ago(0))
        world.expire_lease(dead)
        world.ticked()
        done = together(*[lambda: tick(world.engine, stop_patience_seconds=3)] * 4)
        repairs = [each for each in done if isinstance(each, Repairs)]
        assert repairs, done
        assert not [each for each in done if isinstance(each, Exception)], done
        assert sum(each.lost_workers for each in repairs) == 1
        assert sum(each.taken_back for each in repairs) == 4
        assert sum(each.expired for each in repairs) == 1
        assert [world.row(each.request_id)["losses"] for each in claims] == [1] * 4


def test_frozen_ticker_does_not_block_the_others(world: World, world_settings: Settings) -> None:
    frozen = make_engine(world_settings, name="frozen")

    @event.listens_for(frozen, "after_cursor_execute")
    def freeze(*arguments: Any) -> None:
        if arguments[2].startswith("EXECUTE"):  # the first one takes the lock
            time.sleep(2.6)

    def look() -> Repairs | None:
        time.sleep(0.3)
        return tick(world.engine, stop_patience_seconds=3)

    outcomes = together(
        lambda: tick(frozen, stop_patience_seconds=3),
        lambda: wait_until(look, seconds=6),
    )
    frozen.dispose()
    assert isinstance(outcomes[0], Unavailable), "it lost its transaction, and says so"
    assert isinstance(outcomes[1], Repairs)


@pytest.mark.parametrize(("dispatches", "wait_seconds"), RESENDS)
def test_hint_is_resent_with_growing_pauses(world: World, dispatches: int, wait_seconds: float) -> None:
    request_id = world.ask().request_id
    world.put(request_id, dispatches=dispatches, dispatched_at=world.ago(wait_seconds - 2))
    assert world.tick().resend == []
    world.put(request_id, dispatched_at=world.ago(wait_seconds + 0.01))
    assert world.tick().resend == [request_id]
    assert world.row(request_id)["dispatches"] == dispatches + 1
    assert world.tick().resend == [], "it is on its way"


def test_hint_is_sent_when_the_wait_ends(world: World) -> None:
    claimed = world.running()
    lifecycle.release(world.engine, claimed, text="", outcome=Outcome.RELEASED, wait_seconds=60, code="overloaded")
    assert world.tick().resend == []
    world.make_due(claimed.request_id)
    assert world.tick().resend == [claimed.request_id]
    assert world.row(claimed.request_id)["dispatches"] == 0, "the first hint of this wait"


def test_tick_hints_only_queued_requests_oldest_first(world: World) -> None:
    asked = [world.ask().request_id for _ in range(3)]
    others = [world.running().request_id, world.answered()]
    for seconds, request_id in zip((1, 3, 2), asked, strict=True):
        world.put(request_id, dispatched_at=None, available_at=world.ago(seconds))
    for request_id in others:
        world.put(request_id, dispatched_at=None)
    assert set(world.tick().resend) == set(asked)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_deadline_fails_a_request_and_keeps_its_text(world: World, status: Status) -> None:
    claimed = world.running()
    with world.begin() as connection:
        fleet.checkpoint(connection, claimed.worker_id, {(claimed.request_id, 1): "Bec"})
    if status is Status.QUEUED:
        lifecycle.release(world.engine, claimed, text="Beca", outcome=Outcome.RELEASED, code="overloaded")
    world.put(claimed.request_id, deadline_at=world.ago(-60))
    assert world.tick().expired == 0
    world.put(claimed.request_id, deadline_at=world.ago(0))
    assert world.tick().expired == 1
    assert world.tick().expired == 0
    row = world.row(claimed.request_id)
    assert (row["status"], row["error_code"], row["wait_code"]) == ("failed", DEADLINE, None)
    assert world.answer_of(claimed.request_id) == ("Beca" if status is Status.QUEUED else "Bec")
    assert not lifecycle.finish(world.engine, claimed, Answer(text="late"))


def test_stop_counts_as_unanswered_after_its_patience(world: World) -> None:
    asked, other = world.running(), world.running()
    lifecycle.stop(world.engine, asked.request_id, owner=OWNER)
    assert world.tick(stop_patience_seconds=3).unanswered == []
    world.put(asked.request_id, stop_requested_at=world.ago(3.01))
    assert world.tick(stop_patience_seconds=3).unanswered == [(asked.request_id, 1)]
    assert world.row(other.request_id)["status"] == "running"


def test_tick_leaves_healthy_rows_unchanged(world: World) -> None:
    ids = [world.ask().request_id, world.running().request_id, world.answered()]
    before = [world.row(each) for each in ids]
    assert world.tick() == Repairs()
    assert [world.row(each) for each in ids] == before


def test_tick_skips_locked_rows(world: World) -> None:
    claimed = world.running()
    world.expire_lease(claimed.worker_id)
    world.ticked()
    with world.begin() as other:
        other.execute(text("SELECT id FROM chat_request FOR UPDATE"))
        assert tick_now(world).taken_back == 0, "a tick that waited would never have ended"
    assert world.tick().taken_back == 1


def test_ticker_resends_hints_and_carries_out_stops(world: World, world_settings: Settings) -> None:
    stopped, waiting = world.running(), world.ask().request_id
    lifecycle.stop(world.engine, stopped.request_id, owner=OWNER)
    world.put(stopped.request_id, stop_requested_at=world.ago(60))
    world.put(waiting, dispatched_at=None)
    resent: list[UUID] = []
    asked: list[tuple[UUID, int]] = []

    def best_text(request_id: UUID, attempt: int) -> str:
        asked.append((request_id, attempt))
        return "Beca"

    worker_side = Ticker(world.engine, world_settings, resend=resent.append, best_text=None)
    worker_side.start()
    wait_until(lambda: resent, seconds=5, what="the hint is sent again")
    worker_side.close()
    assert world.row(stopped.request_id)["status"] == "running", "a worker leaves such stops to web"
    web_side = Ticker(world.engine, world_settings, resend=resent.append, best_text=best_text)
    web_side.start()
    wait_until(lambda: world.row(stopped.request_id)["status"] == "cancelled", seconds=5)
    web_side.close()
    assert (resent, asked) == ([waiting], [(stopped.request_id, 1)])
    assert world.answer_of(stopped.request_id) == "Beca"


@pytest.mark.parametrize("part", ["worker", "web"])
def test_worker_skips_repairs_that_another_just_made(world: World, world_settings: Settings, part: str) -> None:
    """Web never does: what only it can do would wait as long as any worker ticks."""
    resent: list[UUID] = []
    settings = replace(world_settings, tick_seconds=patient(0.25))
    best_text = None if part == "worker" else lambda *_: None
    waiting = world.ask().request_id
    world.put(waiting, dispatched_at=None)
    world.ticked(seconds_ago=0)
    ticker = Ticker(world.engine, settings, resend=resent.append, best_text=best_text)
    ticker.start()
    try:
        until = time.monotonic() + 3 * settings.tick_seconds
        while time.monotonic() < until and not resent:
            world.ticked(seconds_ago=0)
            time.sleep(0.05)
        assert resent == ([] if part == "worker" else [waiting])
        wait_until(lambda: resent == [waiting], seconds=1.5, what="nobody else ticks any more")
    finally:
        ticker.close()


def test_restart_of_postgres_marks_nobody_lost(own_stack: Stack) -> None:
    own_stack.configure(tick_seconds=0.1)
    engine = make_engine(own_stack.settings, name="test")
    world = World(engine)
    claimed = world.running()
    resent: list[UUID] = []
    ticker = Ticker(engine, own_stack.settings, resend=resent.append, best_text=None)
    ticker.start()
    try:
        world.expire_lease(claimed.worker_id)
        own_stack.servers.stop_postgres()
        own_stack.servers.start_postgres()
        world.ticked()  # as if the outage had been too short for a gap to show
        waiting = world.ask().request_id
        world.put(waiting, dispatched_at=None)
        wait_until(lambda: resent == [waiting], seconds=5, what="it ticks again")
        assert world.row(claimed.request_id)["status"] == "running"
        wait_until(lambda: world.row(claimed.request_id)["losses"] == 1, seconds=6, what="mercy ends")
    finally:
        ticker.close()
        engine.dispose()
