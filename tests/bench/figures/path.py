"""CPU time per 1,000 tokens at 300 watched answers: of the worker, and of the whole path.

The path is worker, Redis and web; PostgreSQL is reported separately. The operating system counts the CPU time while all
answers run; the worker has a core to itself. Both are compared with the direct call of the typed SDK at the highest
load that it sustains, in the same run.
"""

from __future__ import annotations

import uvloop

from tests.bench import baselines
from tests.bench.crowd import PACE, PARTS, PATH, carry
from tests.bench.figure import Figure, Line, Numbers
from tests.bench.processes import apart
from tests.bench.stacks import Bench


def measure(bench: Bench) -> Numbers:
    """Measure some windows; return the one with the median cost of the path."""
    streams = bench.pick(full=300, quick=300, smoke=8)
    window_seconds = bench.pick(full=20, quick=8, smoke=2)
    direct = baselines.numbers(bench)["direct_ms_per_1000"]
    running = bench.running()
    rounds = []
    with apart([running.workers[0].pid], running.others()):
        for _ in range(bench.pick(full=3, quick=1, smoke=1)):
            found = uvloop.run(carry(running, streams=streams, window_seconds=window_seconds))
            rounds.append(found | costs_of(found, streams=streams))
    middle = sorted(rounds, key=lambda each: each["path_ms_per_1000"])[len(rounds) // 2]
    return {
        **middle,
        "streams": float(streams),
        "direct_ms_per_1000": direct,
        "worker_ratio": middle["worker_ms_per_1000"] / direct,
        "path_ratio": middle["path_ms_per_1000"] / direct,
        "lost": sum(each["lost"] for each in rounds),
        "cut_at_end": sum(each["cut_at_end"] for each in rounds),
    }


def costs_of(found: Numbers, *, streams: int, pace: float = PACE) -> Numbers:
    """Convert shares of a core to ms of CPU per 1,000 tokens, for each part and for the path."""
    costs = {f"{part}_ms_per_1000": found[f"{part}_core_share"] / (streams * pace) * 1e6 for part in PARTS}
    return costs | {"path_ms_per_1000": sum(costs[f"{part}_ms_per_1000"] for part in PATH)}


FIGURE = Figure(
    name="path",
    measure=measure,
    lines=(
        Line(
            figure="worker CPU per 1,000 tokens at 300 streams",
            reach="≤ 0.25 × direct typed SDK at the highest load that it sustains",
            show=lambda n: (
                f"{n['worker_ratio']:.2f} × ({n['worker_ms_per_1000']:.0f} ms at {n['streams']:.0f}, direct "
                f"{n['direct_ms_per_1000']:.0f} ms)"
            ),
            holds=lambda n: n["worker_ratio"] <= 0.25,
        ),
        Line(
            figure="the whole path (worker + Redis + web) per 1,000 tokens at 300 streams and viewers",
            reach="≤ 0.5 × direct typed SDK",
            show=lambda n: (
                f"{n['path_ratio']:.2f} × ({n['path_ms_per_1000']:.0f} ms: worker {n['worker_ms_per_1000']:.0f}, Redis "
                f"{n['redis_ms_per_1000']:.0f}, web {n['web_ms_per_1000']:.0f}; PostgreSQL beside it "
                f"{n['postgres_ms_per_1000']:.1f})"
            ),
            holds=lambda n: n["path_ratio"] <= 0.5,
        ),
    ),
    zero=("lost", "cut_at_end"),
)
