"""How many answers one worker process on one core carries at 50 tokens a second.

The worker has a core to itself; simulator, Redis, PostgreSQL, web and our client share the other one, which is the
tighter of the two. Delay is from the simulator's clock in each token to the arrival at the client. Delays and gaps
count from the moment the last answer has begun to the moment the first one ends; that nothing is lost counts
throughout. A gap that the simulator made itself (it shares its core) is told beside ours.
"""

from __future__ import annotations

import asyncio
import os
import time
from itertools import pairwise

import uvloop

from tests.bench import words
from tests.bench.asking import Asker
from tests.bench.event_stream import Eye
from tests.bench.figure import Figure, Line, Numbers, Size, p
from tests.bench.processes import apart, cpu_seconds
from tests.bench.stacks import Bench, Running

PACE = 50
#: Questions per second while the load is built up.
RAMP = 60
STEPS = {Size.FULL: (100, 200, 300, 400), Size.QUICK: (100, 300), Size.SMOKE: (10,)}


def measure(bench: Bench) -> Numbers:
    """Each step, on a worker with slots for all of them."""
    steps = STEPS[bench.size]
    window_seconds = bench.pick(full=20, quick=8, smoke=1)
    numbers: Numbers = {"carried": 0.0, "lost": 0.0, "cut_at_end": 0.0}
    with bench.own(concurrency=max(320, max(steps) + 20)) as running:
        others = running.others()
        with apart([running.workers[0].pid], others) as is_apart:
            for streams in steps:
                found = uvloop.run(_step(running, streams=streams, window_seconds=window_seconds))
                numbers |= {f"{name}_at_{streams}": value for name, value in found.items()}
                numbers["lost"] += found["lost"]
                numbers["cut_at_end"] += found["cut_at_end"]
                if _carried(found):
                    numbers["carried"] = float(streams)
    return {**numbers, "on_a_core_of_its_own": float(is_apart), "most_tried": float(max(steps))}


def _carried(found: Numbers) -> bool:
    fits = found["gap_p99"] < 80 and found["delay_p50"] <= 40 and found["delay_p99"] <= 150
    return fits and found["lost"] == 0


async def _step(running: Running, *, streams: int, window_seconds: int) -> Numbers:
    tokens = int(PACE * (streams / RAMP + window_seconds + 2))
    with Asker(running.stack.settings) as asker:
        pages = [asker.page() for _ in range(streams)]
        eyes = [await Eye.open(running.url, page) for page in pages]
        await asyncio.sleep(0.5)
        asked = []
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, page in enumerate(pages):
            await asyncio.sleep(max(0.0, began + number / RAMP - loop.time()))
            asked.append(await asker.ask(page, words.clocked_question(tokens=tokens, pace=PACE)))
        await asyncio.sleep(1)
        shares = await _shares(running, seconds=window_seconds / 2)
        # Not looked at before it is over: to understand what came would cost what is to be measured.
        left = began + tokens / PACE + streams / RAMP - loop.time()
        await asyncio.sleep(max(0.0, left))
        for eye, request_id in zip(eyes, asked, strict=True):
            await eye.until(lambda reading, asked=request_id: reading.ended(asked), seconds=60)  # type: ignore[misc]
            eye.close()
        whole = words.Wholeness()
        for eye, request_id in zip(eyes, asked, strict=True):
            whole.check(eye.reading.text, asker.stored(request_id), tokens=tokens)
    return {**whole.numbers(), **shares, **_timing(eyes)}


async def _shares(running: Running, *, seconds: float) -> Numbers:
    """How much of a core each process uses: who is the tight one."""
    servers = running.stack.servers
    pids = {
        "worker": running.workers[0].pid,
        "web": running.webs[0].pid,
        "simulator": running.simulator.pid,
        "redis": servers.redis.pid,
        "client": os.getpid(),
    }
    before, began = {name: cpu_seconds(pid) for name, pid in pids.items()}, time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    return {f"{name}_core_share": (cpu_seconds(pid) - before[name]) / took for name, pid in pids.items()}


def _timing(eyes: list[Eye]) -> Numbers:
    begins = max(eye.reading.grown[0][0] for eye in eyes)
    ends = min(eye.reading.grown[-1][0] for eye in eyes)
    delays: list[float] = []
    gaps: list[float] = []
    source_gaps: list[float] = []
    for eye in eyes:
        inside = [(at, words.clocks(text)) for at, text in eye.reading.grown if begins <= at <= ends]
        delays += [(at - clock) / 1e6 for at, clocks in inside for clock in clocks]
        gaps += [(later[0] - earlier[0]) / 1e6 for earlier, later in pairwise(inside)]
        sent = [clock for _, clocks in inside for clock in clocks]
        source_gaps += [(later - earlier) / 1e6 for earlier, later in pairwise(sent)]
    return {
        "window_seconds": (ends - begins) / 1e9,
        "delay_p50": p(delays, 50),
        "delay_p99": p(delays, 99),
        "gap_p99": p(gaps, 99),
        "simulator_gap_p99": p(source_gaps, 99),
    }


def _show(n: Numbers) -> str:
    streams = int(n["carried"] or n["most_tried"])
    at = f"_at_{streams}"
    parts = ("worker", "web", "simulator", "redis", "client")
    shares = ", ".join(f"{part} {n[f'{part}_core_share{at}']:.0%}" for part in parts)
    return (
        f"{n['carried']:.0f} of {n['most_tried']:.0f} tried; at {streams}: gap p99 {n['gap_p99' + at]:.0f} ms, delay "
        f"{n['delay_p50' + at]:.0f} / {n['delay_p99' + at]:.0f} ms; of a core each: {shares}"
    )


FIGURE = Figure(
    name="capacity",
    measure=measure,
    lines=(
        Line(
            figure="answers one worker process on one core carries at 50 tokens/s (all else on the other core)",
            reach="≥ 300: all delivered, gap p99 < 80 ms, delay p50 ≤ 40, p99 ≤ 150 ms",
            show=_show,
            holds=lambda n: n["carried"] >= 300,
        ),
    ),
    zero=("lost", "cut_at_end"),
)
