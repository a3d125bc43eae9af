"""The alternatives to Naru, measured once per run for every figure that compares with them.

    direct      the vendor's SDK, typed, in its own process on its own core: the limit of most apps
    hand        the same answers read by hand: the limit of Python
    textbook    a Celery chat as tutorials build it (prefork, the result polled)

The direct calls climb to the highest load at which their answers still arrive as evenly as Naru's must.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import uvloop

from tests.bench import words
from tests.bench.climbing import Climb, climb
from tests.bench.crowd import PACE, RAMP
from tests.bench.direct_call import DirectCall, direct_call
from tests.bench.figure import Numbers, Size
from tests.bench.processes import apart, core_shares
from tests.bench.stacks import Bench, Running
from tests.bench.textbook_chat import PROCESSES, TOKENS, textbook_chat

Reader = Literal["sdk", "hand"]
STEPS: dict[Reader, dict[Size, tuple[int, ...]]] = {
    "sdk": {Size.FULL: (60, 90, 120, 150, 180, 240), Size.QUICK: (60, 120, 180), Size.SMOKE: (4,)},
    "hand": {Size.FULL: (300, 500, 700, 900, 1100), Size.QUICK: (300, 600), Size.SMOKE: (4,)},
}


def numbers(bench: Bench) -> Numbers:
    """Return all baselines; the first call measures them."""
    return bench.once("baselines", lambda: _measure(bench))


def _measure(bench: Bench) -> Numbers:
    running = bench.running()
    found: Numbers = {}
    for reader, name in (("sdk", "direct"), ("hand", "hand")):
        climbed = uvloop.run(_climb(bench, running, reader))  # type: ignore[arg-type]
        best = climbed.at_best()
        found |= climbed.numbers(name) | {
            f"{name}_shown": float(climbed.shown),
            f"{name}_ms_per_1000": best["core_share"] / (climbed.shown * PACE) * 1e6,
        }
    with textbook_chat(running) as chat:
        times = bench.pick(full=3, quick=1, smoke=1)
        tokens = bench.pick(full=TOKENS, quick=TOKENS, smoke=20)
        rounds = [chat.answered(PROCESSES, tokens=tokens) for _ in range(times)]
        crowded = chat.answered(2 * PROCESSES, tokens=tokens)
    best = min(rounds, key=lambda each: each["over_p50"])
    found |= {f"textbook_{key}": value for key, value in best.items()}
    return found | {"textbook_carried": crowded["at_once"]}


async def _climb(bench: Bench, running: Running, reader: Reader) -> Climb:
    window = float(bench.pick(full=20, quick=6, smoke=1))
    async with direct_call(running.stack, running.simulator.url, by=reader) as call:
        with apart([call.pid], [*running.others(), running.workers[0].pid]):

            async def attempt(streams: int) -> Numbers:
                return await _carry(call, streams=streams, window_seconds=window)

            return await climb(attempt, STEPS[reader][bench.size], is_thorough=bench.size is Size.FULL, finest=10)


async def _carry(call: DirectCall, *, streams: int, window_seconds: float) -> Numbers:
    """Run `streams` answers at once, ramped up as Naru's are; return their evenness, core share and losses."""
    tokens = int(PACE * (streams / RAMP + window_seconds + 2))
    questions = [words.clocked_question(tokens=tokens, pace=PACE) for _ in range(streams)]
    _, result = call.begin(questions, per_second=RAMP)
    await asyncio.sleep(streams / RAMP + 1)
    share = (await core_shares({"call": call.pid}, seconds=window_seconds / 2))["call"]
    found = await result
    return {**found.timing, "core_share": share, "lost": float(streams * tokens - found.tokens)}
