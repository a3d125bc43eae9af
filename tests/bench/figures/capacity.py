"""The number of answers that one worker process carries on one core at 50 tokens a second.

The worker has a core to itself; the simulator, Redis, PostgreSQL, web and our client share a second core. The second
core is the bottleneck, because together they need more CPU per token than the worker. So the figure is measured twice:
with every answer watched, which shows what both cores carry, and with one answer in five watched (the rest is checked
in the rows), which shows what the worker carries. Delay is from the simulator's clock in each token to its arrival at
the client. `baselines` measures the direct calls of the SDK in the same run.
"""

from __future__ import annotations

import uvloop

from tests.bench import baselines
from tests.bench.climbing import Climb, climb
from tests.bench.crowd import PACE, PARTS, carry
from tests.bench.figure import Figure, Line, Numbers, Size
from tests.bench.processes import apart
from tests.bench.stacks import Bench, Running

STEPS = {
    Size.FULL: (200, 300, 400, 500, 600, 700),
    Size.QUICK: (100, 300, 500),
    Size.SMOKE: (10,),
}
#: The second measurement watches one answer in this many.
WATCHED_OF = 5
#: Answers that Aegra, a server for agents, carries by these criteria; measured separately, not in this run.
AEGRA = 24


def measure(bench: Bench) -> Numbers:
    """Climb twice, on a worker with a slot for every answer."""
    steps = STEPS[bench.size]
    window_seconds = bench.pick(full=15, quick=8, smoke=1)
    numbers = dict(baselines.numbers(bench))
    with (
        bench.own(concurrency=max(320, max(steps) + 20)) as running,
        apart([running.workers[0].pid], running.others()) as is_apart,
    ):
        for name, watched_of in (("all", 1), ("few", WATCHED_OF)):
            climbed = uvloop.run(_climb(running, steps, watched_of=watched_of, window=window_seconds, size=bench.size))
            numbers |= climbed.numbers(name) | {f"{name}_shown": float(climbed.shown)}
    return {**numbers, "on_a_core_of_its_own": float(is_apart), "most_tried": float(max(steps))}


async def _climb(running: Running, steps: tuple[int, ...], *, watched_of: int, window: float, size: Size) -> Climb:
    async def attempt(streams: int) -> Numbers:
        return await carry(running, streams=streams, window_seconds=window, watched_of=watched_of)

    return await climb(attempt, steps, is_thorough=size is Size.FULL)


def _show(n: Numbers, name: str) -> str:
    at = f"_at_{n[f'{name}_shown']:.0f}"
    shares = ", ".join(f"{part} {n[f'{name}_{part}_core_share{at}']:.0%}" for part in PARTS)
    failed = f" ({n[f'{name}_failed']:.0f} did not hold)" if n[f"{name}_failed"] else ""
    return (
        f"{n[f'{name}_carried']:.0f}{failed}; at {n[f'{name}_shown']:.0f}: gap p99 {n[f'{name}_gap_p99{at}']:.0f} ms, "
        f"delay {n[f'{name}_delay_p50{at}']:.0f} / {n[f'{name}_delay_p99{at}']:.0f} ms; shares of a core: {shares}"
    )


def _show_ratios(n: Numbers) -> str:
    best = max(n["all_carried"], n["few_carried"])
    return (
        f"{best:.0f} = {best / max(1, n['direct_carried']):.1f} × the direct SDK's {n['direct_carried']:.0f}, "
        f"{best / AEGRA:.0f} × Aegra's {AEGRA}, {best / max(1, n['textbook_carried']):.0f} × the textbook's "
        f"{n['textbook_carried']:.0f}; by hand {n['hand_carried']:.0f}"
    )


def _holds_ratios(n: Numbers) -> bool:
    best = max(n["all_carried"], n["few_carried"])
    fits = best >= 3.5 * n["direct_carried"] and best >= 20 * AEGRA and best >= 50 * n["textbook_carried"]
    return best >= 500 and fits


def _line(name: str, words: str) -> Line:
    return Line(
        figure=f"answers that one worker process carries on one core at {PACE} tokens/s, {words}",
        reach="≥ 500: all delivered, gap p99 < 80 ms, delay p50 ≤ 40, p99 ≤ 150 ms",
        show=lambda n: _show(n, name),
        holds=lambda n: n[f"{name}_carried"] >= 500,
    )


FIGURE = Figure(
    name="capacity",
    measure=measure,
    lines=(
        _line("all", "all of them watched (everything else on a second core)"),
        _line("few", f"one in {WATCHED_OF} watched, the rest checked in the rows: the worker is the bottleneck"),
        Line(
            figure="the better of the two, compared with the alternatives",
            reach="≥ 500; ≥ 3.5 × direct typed SDK; ≥ 20 × Aegra's 24; ≥ 50 × textbook Celery -c 8",
            show=_show_ratios,
            holds=_holds_ratios,
        ),
    ),
    zero=("all_lost", "few_lost", "all_cut_at_end", "few_cut_at_end"),
)
