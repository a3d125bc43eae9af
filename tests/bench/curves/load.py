"""Cost by load, as shares of a core: by the number of answers at once, and by their pace."""

from __future__ import annotations

import uvloop

from tests.bench.crowd import PACE as USUAL_PACE
from tests.bench.crowd import carry
from tests.bench.curves.curve import Curve, Points, add
from tests.bench.figure import Numbers, Size
from tests.bench.processes import apart
from tests.bench.stacks import Bench

STREAM_COUNTS = {Size.FULL: (25, 50, 100, 200, 300), Size.QUICK: (25, 75, 200), Size.SMOKE: (4, 12)}
PACES = {Size.FULL: (10, 20, 50, 100, 200), Size.QUICK: (10, 50, 150), Size.SMOKE: (10, 30)}
#: Answers at each pace; 60 at 200 tokens/s make as many tokens as 240 at the usual pace.
AT_EACH_PACE = {Size.FULL: 60, Size.QUICK: 60, Size.SMOKE: 4}
SERIES = ("worker", "web", "redis", "postgres")


def streams(bench: Bench) -> Points:
    """Measure more and more answers at the usual pace."""
    points: Points = {}
    with bench.own() as running, apart([running.workers[0].pid], running.others()):
        for number in STREAM_COUNTS[bench.size]:
            seconds = bench.pick(full=15, quick=6, smoke=2)
            found = uvloop.run(carry(running, streams=number, window_seconds=seconds))
            add(points, number, _shares(found))
    return points


def paces(bench: Bench) -> Points:
    """Measure the same number of answers at growing paces."""
    points: Points = {}
    with bench.own() as running, apart([running.workers[0].pid], running.others()):
        for pace in PACES[bench.size]:
            seconds = bench.pick(full=15, quick=6, smoke=2)
            found = uvloop.run(carry(running, streams=AT_EACH_PACE[bench.size], window_seconds=seconds, pace=pace))
            add(points, pace, _shares(found))
    return points


def _shares(found: Numbers) -> Numbers:
    return {name: found[f"{name}_core_share"] * 100 for name in SERIES}


STREAMS = Curve(
    name="streams",
    title=f"CPU over answers at once, each watched, {USUAL_PACE} tokens/s",
    work="answers at once",
    unit="% of a core",
    measure=streams,
)
PACE = Curve(
    name="pace",
    title="CPU over the pace of 60 answers, each watched",
    work="tokens/s of each answer",
    unit="% of a core",
    measure=paces,
)
