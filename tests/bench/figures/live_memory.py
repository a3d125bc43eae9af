"""Memory of a live answer: the proportional set size that 300 of them add to the worker and to web.

Both processes carry 300 answers twice. The first time includes what a process keeps afterwards (threads, buffers,
arenas), and the target applies to it. The second time shows what an answer alone needs.
"""

from __future__ import annotations

import asyncio

import uvloop

from tests.bench.crowd import carry
from tests.bench.figure import Figure, Line, Numbers
from tests.bench.processes import pss_megabytes
from tests.bench.stacks import Bench, Running


def measure(bench: Bench) -> Numbers:
    """Carry the answers twice; compare each time with the memory just before."""
    streams = bench.pick(full=300, quick=300, smoke=10)
    seconds = bench.pick(full=20, quick=6, smoke=1)
    with bench.own() as running:
        fresh = _megabytes(running)
        first = uvloop.run(_carry(running, streams=streams, seconds=1))
        uvloop.run(asyncio.sleep(bench.pick(full=5, quick=2, smoke=1)))
        rested = _megabytes(running)
        found = uvloop.run(_carry(running, streams=streams, seconds=seconds))
    numbers: Numbers = {"streams": float(streams), "lost": first["lost"] + found["lost"]}
    for part in ("worker", "web"):
        numbers[f"{part}_mb_per_answer"] = max(0.0, found[f"{part}_mb"] - rested[f"{part}_mb"]) / streams
        numbers[f"{part}_first_mb_per_answer"] = max(0.0, first[f"{part}_mb"] - fresh[f"{part}_mb"]) / streams
        numbers[f"{part}_kept_mb"] = rested[f"{part}_mb"] - fresh[f"{part}_mb"]
    return numbers


async def _carry(running: Running, *, streams: int, seconds: float) -> Numbers:
    async def meanwhile() -> Numbers:
        await asyncio.sleep(seconds / 2)
        return _megabytes(running)

    return await carry(running, streams=streams, window_seconds=seconds, meanwhile=meanwhile)


def _megabytes(running: Running) -> Numbers:
    return {"worker_mb": pss_megabytes(running.workers[0].pid), "web_mb": pss_megabytes(running.webs[0].pid)}


FIGURE = Figure(
    name="live-memory",
    measure=measure,
    lines=(
        Line(
            figure="memory per live answer (PSS), worker / web",
            reach="≤ 0.2 MB / ≤ 0.1 MB",
            show=lambda n: (
                f"{n['worker_mb_per_answer']:.3f} / {n['web_mb_per_answer']:.3f} MB at {n['streams']:.0f}; the first "
                f"time {n['worker_first_mb_per_answer']:.3f} / {n['web_first_mb_per_answer']:.3f}, of which a process "
                f"keeps {n['worker_kept_mb']:.0f} / {n['web_kept_mb']:.0f} MB"
            ),
            holds=lambda n: n["worker_first_mb_per_answer"] <= 0.2 and n["web_first_mb_per_answer"] <= 0.1,
        ),
    ),
    zero=("lost",),
)
