"""A person's wait at Enter: for the question's transaction, and for its hint to be handed over.

Fifty people ask in two ways: each once a second, so that fifty questions a second arrive evenly; and all at the same
moment. The bench calls the page's own functions, in one process with the connection pool of a web process. It does not
measure the hint's way to Redis, because nobody waits for that.
"""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.bench.asking import Asker, Page
from tests.bench.figure import Figure, Line, Numbers, spread
from tests.bench.stacks import Bench

PEOPLE = 50
QUESTION = "[[sim: tokens=1 first=0 pace=0]] What is a ferry?"


def measure(bench: Bench) -> Numbers:
    """Ask evenly, then all at once, with a new conversation for each question."""
    running = bench.running()
    rounds = bench.pick(full=20, quick=6, smoke=1)
    with Asker(running.stack.settings) as asker, ThreadPoolExecutor(PEOPLE) as threads:
        _ask(asker, asker.page())
        evenly = list(threads.map(lambda _: _evenly(asker, rounds), range(PEOPLE)))
        time.sleep(1)
        burst: list[float] = []
        for _ in range(rounds):
            barrier = threading.Barrier(PEOPLE)
            burst += threads.map(lambda _, gate=barrier: _at_once(asker, gate), range(PEOPLE))
            time.sleep(1)
    return {
        **spread("evenly", [ms for each in evenly for ms in each], 50, 95, 99),
        **spread("burst", burst, 50, 95, 99),
    }


def _evenly(asker: Asker, rounds: int) -> list[float]:
    """Ask one person's questions, one a second; return the ms that each took."""
    began, took = time.monotonic() + random.random(), []
    for number in range(rounds):
        page = asker.page()
        time.sleep(max(0.0, began + number - time.monotonic()))
        took.append(_ask(asker, page))
    return took


def _at_once(asker: Asker, gate: threading.Barrier) -> float:
    page = asker.page()
    gate.wait()
    return _ask(asker, page)


def _ask(asker: Asker, page: Page) -> float:
    began = time.perf_counter()
    asker.submit(page, QUESTION)
    return (time.perf_counter() - began) * 1e3


FIGURE = Figure(
    name="submits",
    measure=measure,
    lines=(
        Line(
            figure=f"submit (transaction + hint), {PEOPLE} people asking once a second each",
            reach="p50 ≤ 5 ms, p99 ≤ 40 ms",
            show=lambda n: (
                f"p50 {n['evenly_p50']:.1f} / p95 {n['evenly_p95']:.1f} / p99 {n['evenly_p99']:.1f} ms of "
                f"{n['evenly_n']:.0f}; all {PEOPLE} in the same moment: p50 {n['burst_p50']:.0f} / p99 "
                f"{n['burst_p99']:.0f} ms"
            ),
            holds=lambda n: n["evenly_p50"] <= 5 and n["evenly_p99"] <= 40,
        ),
    ),
)
