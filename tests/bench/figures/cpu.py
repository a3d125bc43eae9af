"""Processor time of the worker for 1,000 tokens at 60 streams, beside the direct call of the typed SDK.

Each on a core of its own in turn, all else (simulator, servers, web, watching pages) on the other; from before the
first submit to after the last end, so claims, finishes and everything the worker does beside streaming are in it.
"""

from __future__ import annotations

import asyncio
from statistics import median

import uvloop

from tests.bench import words
from tests.bench.asking import Asker
from tests.bench.direct_call import DirectCall, direct_call
from tests.bench.event_stream import Eye
from tests.bench.figure import Figure, Line, Numbers
from tests.bench.processes import apart, cpu_seconds
from tests.bench.stacks import Bench, Running


def measure(bench: Bench) -> Numbers:
    """Some rounds of both, in turns."""
    running = bench.running()
    streams = bench.pick(full=60, quick=60, smoke=6)
    tokens = bench.pick(full=600, quick=300, smoke=60)
    return uvloop.run(_measure(running, streams=streams, tokens=tokens, rounds=bench.pick(full=3, quick=1, smoke=1)))


async def _measure(running: Running, *, streams: int, tokens: int, rounds: int) -> Numbers:
    ours, direct, whole = [], [], words.Wholeness()
    with Asker(running.stack.settings) as asker:
        async with direct_call(running.stack, running.simulator.url) as call:
            with apart([running.workers[0].pid, call.pid], running.others()) as is_apart:
                for _ in range(rounds):
                    direct.append(await _direct(call, streams=streams, tokens=tokens))
                    ours.append(await _ours(running, asker, whole, streams=streams, tokens=tokens))
    return {
        "streams": float(streams),
        "ours_ms_per_1000": median(ours),
        "direct_ms_per_1000": median(direct),
        "ratio": median(mine / theirs for mine, theirs in zip(ours, direct, strict=True)),
        "on_a_core_of_its_own": float(is_apart),
        **whole.numbers(),
    }


async def _direct(call: DirectCall, *, streams: int, tokens: int) -> float:
    result = await call.ask([words.clocked_question(tokens=tokens) for _ in range(streams)])
    assert result.tokens == streams * tokens
    return result.cpu_seconds / result.tokens * 1e6


async def _ours(running: Running, asker: Asker, whole: words.Wholeness, *, streams: int, tokens: int) -> float:
    pages = [asker.page() for _ in range(streams)]
    eyes = [await Eye.open(running.url, page) for page in pages]
    await asyncio.sleep(0.5)
    before = cpu_seconds(running.workers[0].pid)
    asked = [await asker.ask(page, words.clocked_question(tokens=tokens)) for page in pages]
    for eye, request_id in zip(eyes, asked, strict=True):
        await eye.until(lambda reading, asked=request_id: reading.ended(asked), seconds=120)  # type: ignore[misc]
        eye.close()
    await asyncio.sleep(0.3)  # the last answers' threads end
    spent = cpu_seconds(running.workers[0].pid) - before
    for eye, request_id in zip(eyes, asked, strict=True):
        whole.check(eye.reading.text, asker.stored(request_id), tokens=tokens)
    return spent / (streams * tokens) * 1e6


FIGURE = Figure(
    name="cpu",
    measure=measure,
    lines=(
        Line(
            figure="worker CPU per 1,000 tokens at 60 streams",
            reach="≤ 0.45 × direct typed SDK",
            show=lambda n: (
                f"{n['ratio']:.2f} × ({n['ours_ms_per_1000']:.0f} ms, direct {n['direct_ms_per_1000']:.0f} ms)"
            ),
            holds=lambda n: n["ratio"] <= 0.45,
        ),
    ),
    zero=("lost",),
)
