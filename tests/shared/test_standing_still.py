"""Tests that standing still costs little: ticks and sweeps read what is due, and a rush of ends is one statement."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from shared import lifecycle
from shared.errors import DEADLINE
from shared.following.phases import State, state_of
from shared.following.place import COUNTED_RUNNING, EXACT_PLACES
from shared.following.sweep import Row, sweep
from shared.lifecycle.overlooked import SAMPLE
from shared.people import Owner
from shared.postgres import notify
from shared.reconciler import BATCH, Ticker
from shared.settings import Settings
from shared.tables import Status, chat_request
from tests.patience import patient
from tests.shared.listening import Listener
from tests.shared.reading import rows_read
from tests.shared.rig import OWNER, RequestRig
from tests.stack import wait_until

#: More than a sweep counts.
MANY = COUNTED_RUNNING + 2_000


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Yield the list of the statements that this engine sends inside."""
    sent: list[str] = []

    def note(*given: Any) -> None:
        sent.append(given[2])

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


def analyze(rig: RequestRig) -> None:
    with rig.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def shown(row: Row) -> State:
    return state_of(row, None, read_at=0.0, slow=False)


@pytest.fixture
def full(engine: Engine) -> RequestRig:
    """Return a rig with many waiting and many running requests in a lane that is full, in a database of its own."""
    rig = RequestRig(engine)
    rig.serve("demo", room=4)
    rig.fill_with_queued(MANY)
    rig.fill_with_running(rig.worker(slots=100_000), MANY)
    analyze(rig)
    rig.tick()
    return rig


def test_tick_reads_only_what_is_due(full: RequestRig) -> None:
    with rows_read(full.engine) as read:
        assert full.tick().hints == {"demo": 4}
    assert read.of.get("chat_request", 0) <= 3 * SAMPLE, read.of


def test_sweep_of_a_waiting_page_stops_counting(full: RequestRig) -> None:
    asked = full.ask()
    with rows_read(full.engine) as read:
        (row,) = sweep(full.engine, [asked.conversation_id], known=[])
    assert read.of["chat_request"] <= EXACT_PLACES + COUNTED_RUNNING + 50, read.of
    assert (row.position, row.expected_seconds, row.free_slots) == (EXACT_PLACES + 1, None, 0)
    state = shown(row)
    assert (state.phase, state.is_beyond, state.data(0.0)["position"]) == ("queued", True, EXACT_PLACES)


def test_place_is_exact_up_to_a_thousand(rig: RequestRig) -> None:
    rig.worker(slots=1)
    rig.running(worker_id=rig.worker(slots=1))
    first = rig.ask(owner=Owner("browser", "first"))
    rig.fill_with_queued(EXACT_PLACES - 2)
    last, beyond = rig.ask(owner=Owner("o")), rig.ask(owner=Owner("o"))
    for request, place in ((first, 1), (last, EXACT_PLACES), (beyond, EXACT_PLACES + 1)):
        (row,) = sweep(rig.engine, [request.conversation_id], known=[])
        assert row.position == place
        assert shown(row).is_beyond == (request is beyond)
    rig.put(first.request_id, available_at=rig.ago(-60))
    (row,) = sweep(rig.engine, [beyond.conversation_id], known=[])
    assert row.position == EXACT_PLACES, "a request that waits for its provider holds no place"
    (row,) = sweep(rig.engine, [first.conversation_id], known=[])
    assert row.position is None


def test_rush_of_deadlines_does_not_delay_lost_workers(rig: RequestRig) -> None:
    """All that is overdue ends in one statement, and the lost worker is found in the same tick, before it."""
    overdue, dead = BATCH + 100, rig.worker()
    rig.fill_with_queued(overdue)
    claimed = rig.running(worker_id=dead)
    with rig.begin() as connection:
        connection.execute(
            text("UPDATE chat_request SET deadline_at = clock_timestamp() - interval '1 s' WHERE status = 'queued'")
        )
    rig.expire_lease(dead)
    with statements(rig.engine) as sent:
        repairs = rig.tick()
    assert (repairs.lost_workers, repairs.taken_back, repairs.expired) == (1, 1, BATCH)
    assert len(sent) < 18, sent
    (marked,) = [
        place for place, each in enumerate(sent) if each.startswith("UPDATE worker SET lost_at=clock_timestamp()")
    ]
    (ended,) = [place for place, each in enumerate(sent) if "INSERT INTO message" in each]
    assert marked < ended
    assert rig.row(claimed.request_id)["status"] == Status.QUEUED
    assert rig.tick().expired == overdue - BATCH
    failed = rig.rows(chat_request, status=Status.FAILED)
    assert {row["error_code"] for row in failed} == {DEADLINE}
    assert rig.scalar("SELECT count(DISTINCT request_id) FROM message WHERE role = 'assistant'") == overdue


def test_every_end_of_a_rush_is_announced(rig: RequestRig) -> None:
    asked = [rig.ask() for _ in range(5)]
    for each in asked:
        rig.put(each.request_id, deadline_at=rig.ago(1))
    with Listener(rig.engine, notify.ENDED) as listener:
        assert rig.tick().expired == 5
        heard = {listener.next() for _ in asked}
    assert heard == {notify.Notice(notify.ENDED, each.request_id, each.conversation_id) for each in asked}


def test_web_carries_out_stops_while_others_tick(rig: RequestRig, rig_settings: Settings) -> None:
    """It leaves the repairs to the process that ticks, but only web carries out a stop that no worker answers."""
    settings = replace(rig_settings, tick_seconds=patient(0.25))
    stopped, resent = rig.running(), list[Any]()
    lifecycle.stop(rig.engine, stopped.request_id, owner=OWNER)
    rig.put(stopped.request_id, stop_requested_at=rig.ago(60))
    rig.serve("demo", room=3)
    rig.put(rig.ask().request_id, available_at=rig.ago(1))
    rig.ticked(seconds_ago=0)
    ticker = Ticker(rig.engine, settings, resend=lambda *hint: resent.append(hint), best_text=lambda *_: "Beca")
    ticker.start()
    try:

        def carried_out() -> bool:
            rig.ticked(seconds_ago=0)
            return bool(rig.row(stopped.request_id)["status"] == Status.CANCELLED)

        wait_until(carried_out, seconds=10)
        assert resent == [], "the process that ticks sends the hint"
        wait_until(lambda: set(resent) == {("demo", 1)}, seconds=10, what="it repairs once no other process ticks")
    finally:
        ticker.close()


def test_worker_asks_nothing_while_others_tick(rig: RequestRig, rig_settings: Settings) -> None:
    """It takes over when they stop, and does not mistake its own ticks for another's."""
    settings, resent = replace(rig_settings, renew_seconds=3600.0), list[Any]()
    is_another_ticking = [True]
    rig.serve("demo", room=3)
    rig.put(rig.ask().request_id, available_at=rig.ago(1))
    rig.ticked(seconds_ago=7200)

    def last_tick() -> float:
        if is_another_ticking[0]:
            return math.inf
        asked_at = time.monotonic()
        ago = rig.scalar("SELECT extract(epoch FROM clock_timestamp() - lanes_ticked_at)::float8 FROM reconciler_tick")
        return asked_at - float(ago)

    ticker = Ticker(rig.engine, settings, resend=lambda *hint: resent.append(hint), best_text=None, last_tick=last_tick)
    with statements(rig.engine) as sent:
        ticker.start()
        time.sleep(5 * settings.tick_seconds)
        assert sent == []
    is_another_ticking[0] = False
    try:
        wait_until(lambda: resent[:1] == [("demo", 1)], seconds=10, what="it takes over")
        wait_until(lambda: len(resent) > 1, seconds=10, what="it ticks on")
    finally:
        ticker.close()
