"""Submit → first text at an SSE client, minus the provider's own time, while 1, 100 or 300 answers run.

Questions arrive evenly, at the rate at which answers end, so the number running is constant and each new question goes
through a process that carries the others. Every answer is watched. Flower's events are on, as always. No process is
pinned to a core. Time counts from when the question was due, so sending late counts as waiting. The simulator's log
splits it: until the provider's call begins, and from its first token to the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from time import time_ns
from uuid import UUID

import uvloop

from tests.bench import words
from tests.bench.asking import Asker
from tests.bench.event_stream import EventReader
from tests.bench.figure import Figure, Line, Numbers, Size, spread
from tests.bench.stacks import Bench, Running
from tests.stack import wait_until

PACE = 50
FIRST_SECONDS = 0.3
#: Target p50 in ms, by running answers.
REACH = {1: 8, 100: 12, 300: 20}
REACH_P95 = 40
#: A page stays open this long after the provider's time.
LINGER_SECONDS = 1.5


@dataclass
class Asked:
    """A question that was sent; `due_ns` is the wall-clock time at which it was due."""

    reader: EventReader
    request_id: UUID
    due_ns: int


def measure(bench: Bench) -> Numbers:
    """Measure each load."""
    # The smoke run shares the other figures' processes. Other runs have spare slots: an ending and a starting answer
    # may overlap, and waiting for a slot is another figure's subject.
    own = nullcontext(bench.running()) if bench.size is Size.SMOKE else bench.own(concurrency=max(REACH) + 100)
    tokens = bench.pick(full=1000, quick=500, smoke=15)
    window_seconds = float(bench.pick(full=30, quick=10, smoke=1))
    numbers: Numbers = {}
    with own as running:
        for load in REACH:
            # A lone answer is short, so that there are more of them to measure.
            length = min(10, tokens) if load == 1 else tokens
            asked = load if load == 1 else bench.pick(full=load, quick=load, smoke=load // 20)
            found = uvloop.run(_measure_at(running, load=asked, tokens=length, window_seconds=window_seconds))
            numbers |= {f"{key}_at_{load}": value for key, value in found.items()}
    return numbers


async def _measure_at(running: Running, *, load: int, tokens: int, window_seconds: float) -> Numbers:
    """Ask for the lifetime of one answer, so that `load` of them run, and then for the window."""
    lifetime = FIRST_SECONDS + tokens / PACE
    # A lone answer ends before the next question.
    step = lifetime / load * (1.25 if load == 1 else 1)
    number = max(int((lifetime + window_seconds) / step), load + 2)
    with Asker(running.stack.settings) as asker:
        began = asyncio.get_running_loop().time() + 0.5
        waits = [_one(running, asker, began + position * step, tokens=tokens) for position in range(number)]
        asked = await asyncio.gather(*waits)
        return await asyncio.to_thread(_understood, running, asker, asked, tokens=tokens, first=load)


async def _one(running: Running, asker: Asker, due: float, *, tokens: int) -> Asked:
    """Ask, and disconnect after the answer. The reader only timestamps the bytes: parsing hundreds of answers during
    the measurement would distort it."""
    loop = asyncio.get_running_loop()
    page = asker.page()
    await asyncio.sleep(max(0.0, due - loop.time() - 0.4))
    reader = await EventReader.open(running.url, page)  # the page is open before the person asks
    await asyncio.sleep(max(0.0, due - loop.time()))
    due_ns = time_ns() - int((loop.time() - due) * 1e9)
    request_id = await asker.ask(page, words.clocked_question(tokens=tokens, first_seconds=FIRST_SECONDS))
    await asyncio.sleep(max(0.0, due + FIRST_SECONDS + tokens / PACE + LINGER_SECONDS - loop.time()))
    reader.close()
    return Asked(reader, request_id, due_ns)


def _understood(running: Running, asker: Asker, asked: Sequence[Asked], *, tokens: int, first: int) -> Numbers:
    """Return ms beyond the provider's time, in total and by part, without the `first`; peak running; losses."""
    whole, over, until_call, after_first = words.Wholeness(), list[float](), list[float](), list[float]()
    for position, each in enumerate(asked):
        reading = each.reader.look()
        stored = wait_until(partial(asker.stored, each.request_id), seconds=60, what="it is answered")
        whole.check(reading.text, stored, tokens=tokens)
        if not reading.grown:
            whole.lost += 1  # stored, but never shown
        elif position >= first:
            call, (at_ns, text) = running.journal.calls(each.request_id)[-1], reading.grown[0]
            over.append((at_ns - each.due_ns) / 1e6 - running.journal.first_token_seconds(each.request_id) * 1e3)
            until_call.append(call["start"] * 1e3 - each.due_ns / 1e6)
            after_first.append((at_ns - words.clocks(text)[0]) / 1e6)
    calls = [running.journal.calls(each.request_id)[-1] for each in asked]
    most = max(sum(one["start"] <= each["start"] < one["end"] for one in calls) for each in calls)
    return {
        **spread("over", over, 50, 95, 99),
        **spread("until_call", until_call, 50, 95),
        **spread("after_first", after_first, 50, 95),
        **whole.numbers(),
        "running": float(most),
    }


def _line(load: int) -> Line:
    return Line(
        figure=f"submit → first text at an SSE client, over the provider's time; {load} running, arriving evenly",
        reach=f"p50 ≤ {REACH[load]} ms, p95 ≤ {REACH_P95} ms",
        show=lambda n: (
            f"p50 {n[f'over_p50_at_{load}']:.1f} / p95 {n[f'over_p95_at_{load}']:.1f} ms of "
            f"{n[f'over_n_at_{load}']:.0f} questions (to the call {n[f'until_call_p50_at_{load}']:.1f}, after the "
            f"first token {n[f'after_first_p50_at_{load}']:.1f}; {n[f'running_at_{load}']:.0f} ran at most)"
        ),
        holds=lambda n: n[f"over_p50_at_{load}"] <= REACH[load] and n[f"over_p95_at_{load}"] <= REACH_P95,
    )


FIGURE = Figure(
    name="arriving",
    measure=measure,
    lines=tuple(_line(load) for load in REACH),
    zero=tuple(f"lost_at_{load}" for load in REACH),
)
