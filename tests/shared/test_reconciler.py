"""Tests of the reconciler: a tick repairs in one short transaction, and shows mercy after a gap in ticks."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, func, select, text, update

from shared import fleet, lifecycle
from shared.errors import DEADLINE, Unavailable
from shared.lifecycle import Answer
from shared.lifecycle.overlooked import OVERLOOKED_SECONDS
from shared.mercy import OUTAGE_SECONDS, mercy_seconds
from shared.postgres.database import make_engine
from shared.reconciler import ADVISORY_LOCK, Repairs, Ticker, tick
from shared.settings import Settings
from shared.tables import Outcome, Status, reconciler_tick, worker
from tests.patience import patient
from tests.shared.rig import LEASE_SECONDS, OWNER, STRANGER, RequestRig
from tests.shared.together import together
from tests.stack import Stack, wait_until


def set_renewed(rig: RequestRig, worker_id: UUID, *, seconds_ago: float) -> None:
    times = {"renewed_at": rig.ago(seconds_ago), "lease_expires_at": rig.ago(seconds_ago - LEASE_SECONDS)}
    with rig.begin() as connection:
        connection.execute(update(worker).where(worker.c.id == worker_id).values(**times))


def test_first_tick_marks_no_worker_lost(rig: RequestRig) -> None:
    rig.expire_lease(rig.running().worker_id)
    assert rig.tick_as_is() == Repairs()
    assert rig.tick_as_is().lost_workers == 0
    rig.ticked()
    assert rig.tick_as_is().lost_workers == 1


@pytest.mark.parametrize("gap_seconds", [0.5, 1.9, 2.1, 3600])
def test_gap_in_ticks_marks_no_worker_lost(rig: RequestRig, gap_seconds: float) -> None:
    rig.expire_lease(rig.running().worker_id)
    rig.ticked(seconds_ago=gap_seconds)
    lost = rig.tick_as_is().lost_workers
    (row,) = rig.rows(reconciler_tick)
    # The gap that the tick found counts: on a slow machine it is a little longer than `gap_seconds`.
    assert gap_seconds <= row["gap_seconds"] < gap_seconds + patient(1)
    forgiven = row["gap_seconds"] > 2
    assert lost == (0 if forgiven else 1)
    if forgiven:
        mercy = (row["mercy_until"] - row["ticked_at"]).total_seconds()
        assert mercy == pytest.approx(mercy_seconds(LEASE_SECONDS), abs=0.5)


def test_mercy_ends_on_time(rig: RequestRig) -> None:
    claimed = rig.running()
    rig.expire_lease(claimed.worker_id)
    rig.ticked(mercy_for=60)
    assert rig.tick_as_is().lost_workers == 0
    rig.ticked(mercy_for=-0.01)
    repairs = rig.tick_as_is()
    assert (repairs.lost_workers, repairs.taken_back) == (1, 1)


def test_mercy_covers_a_lease_and_a_reconnect() -> None:
    assert mercy_seconds(6) >= 6 + fleet.RECONNECT_SECONDS
    assert mercy_seconds(60) - mercy_seconds(6) == 54


def test_silence_of_all_workers_loses_none_of_them(rig: RequestRig) -> None:
    early, late = rig.worker(), rig.worker()
    rig.expire_lease(early)
    set_renewed(rig, late, seconds_ago=LEASE_SECONDS - 1)
    for _ in range(2):
        rig.ticked()
        assert rig.tick_as_is().lost_workers == 0
    with rig.begin() as connection:
        assert fleet.renew(connection, late, lease_seconds=LEASE_SECONDS, consumed=True, free={})
    assert rig.tick_as_is().lost_workers == 0, "the other one may reconnect later"
    rig.ticked(mercy_for=-0.01)
    assert rig.tick_as_is().lost_workers == 1


def test_mercy_for_silence_counts_from_its_end(rig: RequestRig) -> None:
    for worker_id in (rig.worker(), rig.worker()):
        rig.expire_lease(worker_id)
    rig.ticked(mercy_for=0.5)
    rig.tick_as_is()
    (row,) = rig.rows(reconciler_tick)
    mercy = (row["mercy_until"] - row["ticked_at"]).total_seconds()
    assert mercy == pytest.approx(mercy_seconds(LEASE_SECONDS), abs=0.5)


def test_silence_longer_than_an_outage_is_a_loss(rig: RequestRig) -> None:
    for worker_id in (rig.worker(), rig.worker()):
        set_renewed(rig, worker_id, seconds_ago=OUTAGE_SECONDS + LEASE_SECONDS + 1)
    rig.ticked()
    assert rig.tick_as_is().lost_workers == 2


def test_silence_of_a_single_worker_is_a_loss(rig: RequestRig) -> None:
    rig.expire_lease(rig.worker())
    rig.ticked()
    assert rig.tick_as_is().lost_workers == 1


def test_silence_of_some_workers_is_a_loss(rig: RequestRig) -> None:
    for worker_id in (rig.worker(), rig.worker()):
        rig.expire_lease(worker_id)
    rig.worker()
    rig.ticked()
    assert rig.tick_as_is().lost_workers == 2


def test_mercy_covers_only_leases(rig: RequestRig) -> None:
    overdue, overlooked, gone = rig.ask().request_id, rig.ask().request_id, rig.running()
    rig.put(overdue, deadline_at=rig.ago(0))
    rig.put(overlooked, available_at=rig.ago(1))
    rig.serve("demo", room=3)
    fleet.leave(rig.engine, gone.worker_id)
    rig.ticked(mercy_for=60)
    repairs = rig.tick_as_is()
    assert (repairs.expired, repairs.hints, repairs.taken_back) == (1, {"demo": 2}, 1)


def test_worker_renewing_in_time_is_not_lost(rig: RequestRig) -> None:
    late, in_time = rig.worker(), rig.worker()
    for worker_id in (late, in_time):
        rig.expire_lease(worker_id)
    with rig.begin() as connection:
        assert fleet.renew(connection, in_time, lease_seconds=6, consumed=True, free={}), (
            "late, but no tick had noticed"
        )
    assert rig.tick().lost_workers == 1
    with rig.begin() as connection:
        assert fleet.renew(connection, in_time, lease_seconds=6, consumed=True, free={})
        assert not fleet.renew(connection, late, lease_seconds=6, consumed=True, free={})
    assert rig.tick().lost_workers == 0, "a worker is marked lost once"


def test_tick_skips_while_another_runs(rig: RequestRig) -> None:
    claimed = rig.running()
    rig.expire_lease(claimed.worker_id)
    rig.ticked()
    with rig.begin() as other:
        other.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        assert tick(rig.engine, stop_patience_seconds=3, lease_seconds=LEASE_SECONDS) is None
        assert rig.row(claimed.request_id)["status"] == "running"
    assert rig.tick_as_is().taken_back == 1, "the lock ended with its transaction"


def test_many_tickers_repair_each_thing_once(rig: RequestRig) -> None:
    for _ in range(5):
        dead = rig.worker()
        claims = [rig.running(worker_id=dead) for _ in range(4)]
        overdue = rig.ask().request_id
        rig.put(overdue, deadline_at=rig.ago(0))
        rig.expire_lease(dead)
        rig.let_workers_renew()
        rig.ticked()
        done = together(*[lambda: tick(rig.engine, stop_patience_seconds=3, lease_seconds=LEASE_SECONDS)] * 4)
        repairs = [each for each in done if isinstance(each, Repairs)]
        assert repairs, done
        assert not [each for each in done if isinstance(each, Exception)], done
        assert sum(each.lost_workers for each in repairs) == 1
        assert sum(each.taken_back for each in repairs) == 4
        assert sum(each.expired for each in repairs) == 1
        assert [rig.row(each.request_id)["losses"] for each in claims] == [1] * 4


def test_frozen_ticker_does_not_block_the_others(rig: RequestRig, rig_settings: Settings) -> None:
    frozen = make_engine(rig_settings, name="frozen")

    @event.listens_for(frozen, "after_cursor_execute")
    def freeze(*arguments: Any) -> None:
        # The first statement takes the lock; behind a pooler it is not prepared.
        if arguments[2].startswith("EXECUTE") or "pg_try_advisory_xact_lock" in arguments[2]:
            time.sleep(2.6)

    def look() -> Repairs | None:
        time.sleep(0.3)
        return tick(rig.engine, stop_patience_seconds=3, lease_seconds=LEASE_SECONDS)

    outcomes = together(
        lambda: tick(frozen, stop_patience_seconds=3, lease_seconds=LEASE_SECONDS),
        lambda: wait_until(look, seconds=6),
    )
    frozen.dispose()
    assert isinstance(outcomes[0], Unavailable), "it lost its transaction and raises"
    assert isinstance(outcomes[1], Repairs)


def test_tick_counts_overlooked_requests(rig: RequestRig) -> None:
    rig.serve("demo", room=3)
    for seconds in (1, 2, -60):
        rig.put(rig.ask().request_id, available_at=rig.ago(seconds))
    rig.running()
    rig.answered()
    newest = rig.ask().request_id
    is_young = (
        f"SELECT clock_timestamp() - available_at < '{OVERLOOKED_SECONDS} s' FROM chat_request WHERE id = '{newest}'"
    )
    hints = None
    while hints is None or not rig.scalar(is_young):  # a busy machine may take too long between the two
        rig.put(newest, available_at=rig.ago(0))
        hints = rig.tick().hints
    assert hints == {"demo": 2}, "the newest one has its own hint, and one is not due yet"


def test_tick_asks_for_no_more_hints_than_can_be_used(rig: RequestRig) -> None:
    for _ in range(9):
        rig.put(rig.ask(owner=STRANGER).request_id, available_at=rig.ago(1))
    assert rig.tick().hints == {}, "no worker serves the lane"
    rig.serve("demo", room=3)
    rig.serve("demo", room=1)
    rig.serve("other", room=50)
    assert rig.tick().hints == {"demo": 4}, "four slots are free"
    rig.limit("demo", 2)
    assert rig.tick().hints == {"demo": 2}, "the lane's limit"
    rig.running()
    assert rig.tick().hints == {"demo": 1}


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_deadline_fails_a_request_and_keeps_its_text(rig: RequestRig, status: Status) -> None:
    claimed = rig.running()
    with rig.begin() as connection:
        fleet.checkpoint(connection, claimed.worker_id, {(claimed.request_id, 1): "Bec"})
    if status is Status.QUEUED:
        lifecycle.release(rig.engine, claimed, text="Beca", outcome=Outcome.RELEASED, code="overloaded")
    rig.put(claimed.request_id, deadline_at=rig.ago(-60))
    assert rig.tick().expired == 0
    rig.put(claimed.request_id, deadline_at=rig.ago(0))
    assert rig.tick().expired == 1
    assert rig.tick().expired == 0
    row = rig.row(claimed.request_id)
    assert (row["status"], row["error_code"], row["wait_code"]) == ("failed", DEADLINE, None)
    assert rig.answer_of(claimed.request_id) == ("Beca" if status is Status.QUEUED else "Bec")
    assert not lifecycle.finish(rig.engine, claimed, Answer(text="late"))


def test_stop_is_unanswered_after_its_patience(rig: RequestRig) -> None:
    asked, other = rig.running(), rig.running()
    lifecycle.stop(rig.engine, asked.request_id, owner=OWNER)
    assert rig.tick(stop_patience_seconds=3).unanswered == []
    rig.put(asked.request_id, stop_requested_at=rig.ago(3.01))
    assert rig.tick(stop_patience_seconds=3).unanswered == [(asked.request_id, 1)]
    assert rig.row(other.request_id)["status"] == "running"


def test_tick_leaves_healthy_rows_unchanged(rig: RequestRig) -> None:
    ids = [rig.ask().request_id, rig.running().request_id, rig.answered()]
    before = [rig.row(each) for each in ids]
    assert rig.tick() == Repairs()
    assert [rig.row(each) for each in ids] == before


def test_tick_skips_locked_rows(rig: RequestRig) -> None:
    claimed = rig.running()
    rig.expire_lease(claimed.worker_id)
    rig.ticked()
    with rig.begin() as other:
        other.execute(text("SELECT id FROM chat_request FOR UPDATE"))
        assert rig.tick_as_is().taken_back == 0, "the tick skips locked rows instead of waiting"
    assert rig.tick().taken_back == 1


def overlooked(rig: RequestRig) -> None:
    """Let a request wait whose hint was lost, and a worker have room for it."""
    rig.serve("demo", room=3)
    rig.put(rig.ask().request_id, available_at=rig.ago(1))


def test_ticker_resends_hints_and_carries_out_stops(rig: RequestRig, rig_settings: Settings) -> None:
    stopped = rig.running()
    overlooked(rig)
    lifecycle.stop(rig.engine, stopped.request_id, owner=OWNER)
    rig.put(stopped.request_id, stop_requested_at=rig.ago(60))
    resent: list[tuple[str, int]] = []
    asked: list[tuple[UUID, int]] = []

    def best_text(request_id: UUID, attempt: int) -> str:
        asked.append((request_id, attempt))
        return "Beca"

    worker_side = Ticker(rig.engine, rig_settings, resend=lambda *hint: resent.append(hint), best_text=None)
    worker_side.start()
    wait_until(lambda: resent, seconds=5, what="the hint is resent")
    worker_side.close()
    assert rig.row(stopped.request_id)["status"] == "running", "a worker leaves such stops to web"
    web_side = Ticker(rig.engine, rig_settings, resend=lambda *hint: resent.append(hint), best_text=best_text)
    web_side.start()
    wait_until(lambda: rig.row(stopped.request_id)["status"] == "cancelled", seconds=5)
    web_side.close()
    assert (set(resent), asked) == ({("demo", 1)}, [(stopped.request_id, 1)])
    assert rig.answer_of(stopped.request_id) == "Beca"


def test_ticker_skips_repairs_that_another_just_made(rig: RequestRig, rig_settings: Settings) -> None:
    resent: list[tuple[str, int]] = []
    settings = replace(rig_settings, tick_seconds=patient(0.25))
    overlooked(rig)
    rig.ticked(seconds_ago=0)
    ticker = Ticker(rig.engine, settings, resend=lambda *hint: resent.append(hint), best_text=None)
    ticker.start()
    try:
        until = time.monotonic() + 3 * settings.tick_seconds
        while time.monotonic() < until and not resent:
            rig.ticked(seconds_ago=0)
            time.sleep(0.05)
        assert resent == []
        wait_until(lambda: set(resent) == {("demo", 1)}, seconds=1.5, what="it repairs once no other process ticks")
    finally:
        ticker.close()


def test_ticker_does_not_rely_on_the_previous_version(rig: RequestRig, rig_settings: Settings) -> None:
    """Its ticks give no lane to the requests that its own web stores."""
    request_id = rig.ask().request_id
    rig.put(request_id, lane="")
    rig.ticked(seconds_ago=0, by_previous_version=True)
    settings = replace(rig_settings, tick_seconds=patient(0.25))
    ticker = Ticker(rig.engine, settings, resend=lambda *_: None, best_text=None)
    ticker.start()
    try:

        def is_adopted() -> bool:
            rig.ticked(seconds_ago=0, by_previous_version=True)
            return bool(rig.row(request_id)["lane"] == "demo")

        assert wait_until(is_adopted, what="the request gets its lane")
    finally:
        ticker.close()


def test_restart_of_postgres_marks_nobody_lost(own_stack: Stack) -> None:
    own_stack.configure(tick_seconds=0.1, lease_seconds=1, renew_seconds=0.3, stall_seconds=1)
    engine = make_engine(own_stack.settings, name="test")
    rig = RequestRig(engine)
    claimed = rig.running()
    ticker = Ticker(engine, own_stack.settings, resend=lambda *_: None, best_text=None)
    ticker.start()
    try:
        rig.expire_lease(claimed.worker_id)
        own_stack.servers.stop_postgres()
        own_stack.servers.start_postgres()
        rig.ticked()  # as if the outage had been too short to leave a gap
        overdue = rig.ask().request_id
        rig.put(overdue, deadline_at=rig.ago(0))
        wait_until(lambda: rig.row(overdue)["status"] == "failed", seconds=5, what="the ticker ticks again")
        assert rig.row(claimed.request_id)["status"] == "running"
        wait_until(lambda: rig.row(claimed.request_id)["losses"] == 1, seconds=20, what="mercy ends")
    finally:
        ticker.close()
        engine.dispose()
