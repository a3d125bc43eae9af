"""Checks that the machine was quiet enough to trust a figure, by three measures that the figure does not affect:

    others      cores that processes other than ours used: the CPU time in /proc/stat, less that of our own tree
    stolen      the share of the machine's time that its hypervisor gave to other guests
    slowdown    the time of a fixed loop beside the figure, over its quickest in the run; a neighbour on the same
                physical core or a throttled clock raises it

The loop runs before, between and after the figures. The first quartile of its repetitions counts, so that work that our
own processes still do is not taken for a neighbour. The bench corrects no figure; it only marks noisy ones.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from tests.bench.figure import Numbers
from tests.bench.processes import TICKS_PER_SECOND, our_cpu_seconds

#: Above these limits a figure does not count: cores; share of the machine's time; multiple of the quickest loop.
MOST_OTHERS = 0.10
MOST_STOLEN = 0.02
MOST_SLOWDOWN = 1.15
#: About 3 ms each: shorter than a scheduler's time slice, so that most are not interrupted.
_ROUNDS, _STEPS = 40, 40_000
#: In a shorter window, ticks of 10 ms mean nothing.
_LEAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Moment:
    """The machine's counters at one moment, in seconds of one core since its start."""

    at: float
    busy_seconds: float
    stolen_seconds: float
    our_seconds: float
    loop_seconds: float


@dataclass(frozen=True, slots=True)
class Quiet:
    """The noise between two moments."""

    others_cores: float
    stolen_share: float
    #: The slower and the quicker of the loop's two times.
    loop_seconds: float
    quick_loop_seconds: float

    def numbers(self, *, quickest: float) -> Numbers:
        """Return named numbers; `quickest` is the loop's best time in the run, in seconds."""
        return {
            "others_cores": round(self.others_cores, 3),
            "stolen_share": round(self.stolen_share, 4),
            "slowdown": round(self.loop_seconds / quickest, 3),
        }

    def complaints(self, *, quickest: float) -> list[str]:
        """Return the reasons to reject a measurement made in between; empty if it counts."""
        slowdown = self.loop_seconds / quickest
        found = []
        if self.others_cores > MOST_OTHERS:
            found.append(f"other processes used {self.others_cores:.2f} of {os.cpu_count()} cores")
        if self.stolen_share > MOST_STOLEN:
            found.append(f"the hypervisor took {self.stolen_share:.0%} of the time")
        if slowdown > MOST_SLOWDOWN:
            found.append(f"a fixed loop took {slowdown:.2f} × its quickest in this run")
        return found


def look() -> Moment:
    """Read the counters now; the loop takes 0.1 s."""
    loop = _loop_seconds()
    busy, stolen = _machine_seconds()
    return Moment(time.monotonic(), busy, stolen, our_cpu_seconds(), loop)


def between(before: Moment, after: Moment) -> Quiet:
    """Return the noise between two moments. Our processes that ended without being reaped count as others."""
    seconds = max(after.at - before.at, _LEAST_SECONDS)
    others = (after.busy_seconds - before.busy_seconds) - (after.our_seconds - before.our_seconds)
    return Quiet(
        others_cores=max(0.0, others / seconds),
        stolen_share=(after.stolen_seconds - before.stolen_seconds) / seconds / (os.cpu_count() or 1),
        loop_seconds=max(before.loop_seconds, after.loop_seconds),
        quick_loop_seconds=min(before.loop_seconds, after.loop_seconds),
    )


def _machine_seconds() -> tuple[float, float]:
    """Return the time used by all processes and the stolen time; (0, 0) without /proc. Interrupts do not count."""
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return 0.0, 0.0
    user, nice, system, _idle, _waiting, _hard, _soft, stolen = fields
    return (user + nice + system) / TICKS_PER_SECOND, stolen / TICKS_PER_SECOND


def _loop_seconds() -> float:
    took = []
    for _ in range(_ROUNDS):
        began, total = time.perf_counter(), 0
        for number in range(_STEPS):
            total += number
        took.append(time.perf_counter() - began)
    return quantiles(took, n=4)[0]
