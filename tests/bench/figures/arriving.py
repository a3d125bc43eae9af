"""Submit → first text at an SSE client, over the provider's own time, while 1, 100 or 300 answers run.

Questions arrive evenly, as many as end, so the number that runs stays the same: each new one is measured on its way
through a process that carries the others. Every answer is watched. Events for Flower are on, as always. Nothing is
pinned. The time counts from the moment at which the question was due: one that is sent late counts as waiting. Where it
goes is told by the simulator's log: until its call begins, and from its first token to the client.
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
#: p50 to reach, in ms, by how many run.
REACH = {1: 8, 100: 12, 300: 20}
REACH_P95 = 40
#: A page looks so much longer than the provider takes.
LINGER_SECONDS = 1.5


@dataclass
class Asked:
    """One question on its way; `due_ns` is the wall clock at which the person pressed Enter."""

    reader: EventReader
    request_id: UUID
    due_ns: int


def measure(bench: Bench) -> Numbers:
    """Each load in turn."""
    # Smallest, it shares the processes of the other figures. Else it has slots to spare: an answer that has ended and
    # one that begins may overlap, and a question that waits for a slot is another figure.
    own = nullcontext(bench.running()) if bench.size is Size.SMOKE else bench.own(concurrency=max(REACH) + 100)
    tokens = bench.pick(full=1000, quick=500, smoke=15)
    window_seconds = float(bench.pick(full=30, quick=10, smoke=1))
    numbers: Numbers = {}
    with own as running:
        for load in REACH:
            # Alone, the one answer is short: what counts is how many there are to measure.
            length = min(10, tokens) if load == 1 else tokens
            asked = load if load == 1 else bench.pick(full=load, quick=load, smoke=load // 20)
            found = uvloop.run(_measure_at(running, load=asked, tokens=length, window_seconds=window_seconds))
            numbers |= {f"{key}_at_{load}": value for key, value in found.items()}
    return numbers


async def _measure_at(running: Running, *, load: int, tokens: int, window_seconds: float) -> Numbers:
    """Questions arrive for one lifetime of an answer, so that `load` of them run, and then for the window."""
    lifetime = FIRST_SECONDS + tokens / PACE
    # One alone has ended before the next is asked.
    step = lifetime / load * (1.25 if load == 1 else 1)
    number = max(int((lifetime + window_seconds) / step), load + 2)
    with Asker(running.stack.settings) as asker:
        began = asyncio.get_running_loop().time() + 0.5
        waits = [_one(running, asker, began + position * step, tokens=tokens) for position in range(number)]
        asked = await asyncio.gather(*waits)
        return await asyncio.to_thread(_understood, running, asker, asked, tokens=tokens, first=load)


async def _one(running: Running, asker: Asker, due: float, *, tokens: int) -> Asked:
    """Ask, and look away when the answer is over. What came is noted with its time, and understood at the very end:
    to read hundreds of answers in between would cost what is to be measured."""
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
    """ms over the provider's time of all but the `first` ones, and where they went; how many ran; what was lost."""
    whole, over, until_call, after_first = words.Wholeness(), list[float](), list[float](), list[float]()
    for position, each in enumerate(asked):
        reading = each.reader.look()
        stored = wait_until(partial(asker.stored, each.request_id), seconds=60, what="it is answered")
        whole.check(reading.text, stored, tokens=tokens)
        if not reading.grown:
            whole.lost += 1  # stored, but no word of it was ever shown
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
