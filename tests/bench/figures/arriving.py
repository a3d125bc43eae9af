"""Submit → first text at an SSE client, over the provider's own time, while 1, 100 or 300 answers run.

Questions arrive evenly, as many as end, so the number that runs stays the same: each new one is measured on its way
through a process that carries the others. Every answer is watched. Events for Flower are on, as always. Nothing is
pinned. The time counts from the moment at which the question was due: one that is sent late counts as waiting.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import time_ns

import uvloop

from tests.bench import words
from tests.bench.asking import Asker
from tests.bench.event_stream import Eye
from tests.bench.figure import Figure, Line, Numbers, spread
from tests.bench.stacks import Bench, Running

PACE = 50
FIRST_SECONDS = 0.3
#: p50 to reach, in ms, by how many run.
REACH = {1: 8, 100: 12, 300: 20}
REACH_P95 = 40


@dataclass
class Arrivals:
    """What was measured of one load, in ms over the provider's time."""

    over: list[float] = field(default_factory=list)
    whole: words.Wholeness = field(default_factory=words.Wholeness)
    most_running: int = 0
    _running: int = 0

    def begin(self) -> None:
        """One more runs."""
        self._running += 1
        self.most_running = max(self.most_running, self._running)

    def end(self) -> None:
        """One less."""
        self._running -= 1


def measure(bench: Bench) -> Numbers:
    """Each load in turn."""
    tokens = bench.pick(full=1000, quick=500, smoke=15)
    window_seconds = float(bench.pick(full=30, quick=10, smoke=1))
    running, numbers = bench.running(), Numbers()
    for load in REACH:
        # Alone, the one answer is short: what counts is how many there are to measure.
        length = min(25, tokens) if load == 1 else tokens
        asked = load if load == 1 else bench.pick(full=load, quick=load, smoke=load // 20)
        found = uvloop.run(measure_at(running, load=asked, tokens=length, window_seconds=window_seconds))
        numbers |= {f"{key}_at_{load}": value for key, value in found.items()}
    return numbers


async def measure_at(running: Running, *, load: int, tokens: int, window_seconds: float) -> Numbers:
    """Questions arrive for one lifetime of an answer, so that `load` of them run, and then for the window."""
    lifetime = FIRST_SECONDS + tokens / PACE
    # One alone has ended before the next is asked.
    arrivals, step = Arrivals(), lifetime / load * (1.25 if load == 1 else 1)
    with Asker(running.stack.settings) as asker:
        loop = asyncio.get_running_loop()
        began = loop.time() + 0.5
        number = max(int((lifetime + window_seconds) / step), load + 2)
        waiting = []
        for position in range(number):
            is_measured = position >= load
            due = began + position * step
            waiting.append(loop.create_task(_one(running, asker, arrivals, due, tokens=tokens, counts=is_measured)))
        await asyncio.gather(*waiting)
    return {
        **spread("over", arrivals.over, 50, 95, 99),
        **arrivals.whole.numbers(),
        "running": float(arrivals.most_running),
    }


async def _one(running: Running, asker: Asker, arrivals: Arrivals, due: float, *, tokens: int, counts: bool) -> None:
    loop = asyncio.get_running_loop()
    page = asker.page()
    await asyncio.sleep(max(0.0, due - loop.time() - 0.4))
    eye = await Eye.open(running.url, page)  # the page is open before the person asks
    await asyncio.sleep(max(0.0, due - loop.time()))
    request_id = await asker.ask(page, words.clocked_question(tokens=tokens, first_seconds=FIRST_SECONDS))
    due_ns = _ns_of(due)
    arrivals.begin()
    # Only a timer until it is over: to look at every piece of 300 answers would cost what is to be measured.
    await asyncio.sleep(max(0.0, due + FIRST_SECONDS + tokens / PACE - loop.time()))
    await eye.until(lambda reading: reading.ended(request_id), seconds=60)
    arrivals.end()
    eye.close()
    arrivals.whole.check(eye.reading.text, asker.stored(request_id), tokens=tokens)
    if counts:
        took = (eye.reading.grown[0][0] - due_ns) / 1e6
        arrivals.over.append(took - running.journal.first_token_seconds(request_id) * 1e3)


def _ns_of(moment: float) -> int:
    """The wall clock, in ns, at a moment of the loop's clock."""
    return time_ns() - int((asyncio.get_running_loop().time() - moment) * 1e9)


def _line(load: int) -> Line:
    return Line(
        figure=f"submit → first text at an SSE client, over the provider's time; {load} running, arriving evenly",
        reach=f"p50 ≤ {REACH[load]} ms, p95 ≤ {REACH_P95} ms",
        show=lambda n: (
            f"p50 {n[f'over_p50_at_{load}']:.1f} / p95 {n[f'over_p95_at_{load}']:.1f} ms of "
            f"{n[f'over_n_at_{load}']:.0f} questions ({n[f'running_at_{load}']:.0f} ran at most)"
        ),
        holds=lambda n: n[f"over_p50_at_{load}"] <= REACH[load] and n[f"over_p95_at_{load}"] <= REACH_P95,
    )


FIGURE = Figure(
    name="arriving",
    measure=measure,
    lines=tuple(_line(load) for load in REACH),
    zero=tuple(f"lost_at_{load}" for load in REACH),
)
