"""Tests of a process's running answers: slots, early and late stops, and which interruption counts."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from shared.lifecycle import Claimed
from tests.patience import patient
from tests.stack import wait_until
from workers.process.loop import LoopThread
from workers.process.running import REMEMBERED_STOPS, Interruption, Running, RunningAnswer


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    made.start()
    yield made
    made.close()


@pytest.fixture
def running(loop: LoopThread) -> Running:
    return Running(slots=2, loop=loop)


def claimed(request_id: UUID | None = None, *, attempt: int = 1) -> Claimed:
    return Claimed(
        request_id=request_id or uuid4(),
        attempt=attempt,
        worker_id=uuid4(),
        conversation_id=uuid4(),
        user_message_id=uuid4(),
        model="demo/echo",
        lane="demo",
        http_request_id="",
        losses=0,
        tries=0,
        broken_streams=0,
        retrying_seconds=0.0,
        is_contested=False,
        lane_failures=0,
        may_be_limited=False,
        queue_seconds=0.0,
        age_seconds=0.0,
        branch=(),
        left_seconds=60.0,
    )


async def stream(answer: RunningAnswer) -> str:
    """Begin the answer in this task and wait, as an answer's stream does; return how it ended."""
    try:
        answer.begin()
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "cancelled"
    return "ended"


def started(loop: LoopThread, answer: RunningAnswer) -> Future[str]:
    future = loop.submit(stream(answer))
    wait_until(lambda: answer.has_begun, seconds=2)
    return future


def test_slots_never_exceed_their_number(running: Running) -> None:
    with running.slot("demo", timeout_seconds=1) as first, running.slot("demo", timeout_seconds=1) as second:
        began = time.monotonic()
        with running.slot("demo", timeout_seconds=0.1) as third:
            assert (first, second, third) == (True, True, False)
        assert 0.09 < time.monotonic() - began < patient(1)
    with running.slot("demo", timeout_seconds=0) as again:
        assert again


def test_slot_is_free_again_after_an_error(running: Running) -> None:
    for _ in range(3):
        with suppress(KeyError), running.slot("demo", timeout_seconds=0) as free:
            assert free
            raise KeyError


def test_full_process_never_exceeds_its_slots(running: Running) -> None:
    now, most, lock = 0, 0, threading.Lock()

    def work(_: int) -> bool:
        nonlocal now, most
        with running.slot("demo", timeout_seconds=patient(5)) as free:
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.005)
            with lock:
                now -= 1
            return free

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(40)))
    assert most == 2


def test_one_suspect_runs_at_a_time(running: Running) -> None:
    with running.suspect_slot() as first, running.suspect_slot() as second:
        assert (first, second) == (True, False)
    with running.suspect_slot() as again:
        assert again


def test_stop_cancels_its_own_stream_only(loop: LoopThread, running: Running) -> None:
    with running.register(claimed()) as mine, running.register(claimed()) as other:
        stopped, going_on = started(loop, mine), started(loop, other)
        began = time.monotonic()
        running.stop(mine.claimed.request_id)
        assert stopped.result(timeout=patient(2)) == "cancelled"
        assert time.monotonic() - began < patient(0.5)
        assert mine.interruption is Interruption.STOP
        assert (going_on.done(), other.interruption) == (False, None)
        assert len(running.answers()) == 2
        running.interrupt_all(Interruption.DRAIN)
        assert going_on.result(timeout=patient(2)) == "cancelled"
    assert running.answers() == []


def test_early_stop_prevents_the_stream(loop: LoopThread, running: Running) -> None:
    with running.register(claimed()) as answer:
        running.stop(answer.claimed.request_id)
        assert loop.submit(stream(answer)).result(timeout=patient(2)) == "cancelled"


def test_stop_before_the_claim_returned_is_remembered(loop: LoopThread, running: Running) -> None:
    mine = claimed()
    running.stop(mine.request_id)
    with running.register(mine) as answer:
        assert answer.interruption is Interruption.STOP
        assert loop.submit(stream(answer)).result(timeout=patient(2)) == "cancelled"
    with running.register(claimed()) as other:
        assert other.interruption is None


def test_notices_for_others_are_forgotten(running: Running) -> None:
    first, *others = [claimed() for _ in range(REMEMBERED_STOPS + 1)]
    for each in (first, *others):
        running.stop(each.request_id)
    with running.register(first) as answer:
        assert answer.interruption is None
    for other in (others[0], others[-1]):
        with running.register(other) as answer:
            assert answer.interruption is Interruption.STOP


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        (Interruption.STOP, Interruption.DRAIN, Interruption.STOP),
        (Interruption.DRAIN, Interruption.STOP, Interruption.DRAIN),
        (Interruption.STOP, Interruption.LOST, Interruption.LOST),
        (Interruption.LOST, Interruption.STOP, Interruption.LOST),
        (Interruption.LOST, Interruption.DRAIN, Interruption.LOST),
    ],
)
def test_first_interruption_stays_unless_the_worker_is_lost(
    running: Running, first: Interruption, second: Interruption, counts: Interruption
) -> None:
    with running.register(claimed()) as answer:
        answer.interrupt(first)
        answer.interrupt(second)
        assert answer.interruption is counts


def test_late_end_of_an_old_attempt_keeps_the_newer_one(loop: LoopThread, running: Running) -> None:
    request_id = uuid4()
    older = running.register(claimed(request_id))
    older.__enter__()
    with running.register(claimed(request_id, attempt=2)) as newer:
        older.__exit__(None, None, None)
        assert running.answers() == [newer]
        future = started(loop, newer)
        running.stop(request_id)
        assert future.result(timeout=patient(2)) == "cancelled"


def test_concurrent_stops_and_ends_leave_nothing_behind(loop: LoopThread, running: Running) -> None:
    def one(_: int) -> str:
        with running.register(claimed()) as answer:
            future = loop.submit(stream(answer))
            stopping.submit(running.stop, answer.claimed.request_id)
            return future.result(timeout=patient(5))

    with ThreadPoolExecutor(4) as stopping, ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(100))) == {"cancelled"}
    assert running.answers() == []
