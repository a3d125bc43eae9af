"""Tests of the event loop's thread: work from other threads, its heartbeat, and closing it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from tests.patience import patient
from tests.stack import wait_until
from workers.process.loop import LoopThread


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    made.start()
    yield made
    made.close()


def test_loop_runs_a_coroutine_and_returns_its_result(loop: LoopThread) -> None:
    async def where() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    assert loop.submit(where()).result(timeout=patient(2)) == "streams"


def test_submit_returns_the_exception_of_a_coroutine(loop: LoopThread) -> None:
    async def fails() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError):
        loop.submit(fails()).result(timeout=patient(2))


def test_loop_calls_a_function_in_its_thread(loop: LoopThread) -> None:
    called: list[tuple[str, int]] = []
    loop.call(lambda number: called.append((threading.current_thread().name, number)), 7)
    wait_until(lambda: called, seconds=2)
    assert called == [("streams", 7)]


def test_loop_reports_a_stall(loop: LoopThread) -> None:
    wait_until(lambda: loop.stalled_seconds() < 0.2, what="the loop runs")
    go_on = threading.Event()
    loop.call(go_on.wait)
    wait_until(lambda: loop.stalled_seconds() > 0.4, what="the loop stalls")
    assert loop.stalled_seconds() > 0.4, "the stall lasts until the function returns"
    go_on.set()
    wait_until(lambda: loop.stalled_seconds() < 0.3, what="the loop runs again")


def test_close_cancels_tasks_and_ends_the_thread() -> None:
    made, seen = LoopThread(), []
    threads: list[threading.Thread] = []
    made.start()

    async def endless() -> None:
        threads.append(threading.current_thread())
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            seen.append("put away")
            raise

    running = made.submit(endless())
    wait_until(lambda: running.running() or not running.done(), seconds=1)
    time.sleep(0.05)
    made.close()
    assert seen == ["put away"]
    assert running.cancelled()
    assert not threads[0].is_alive()
