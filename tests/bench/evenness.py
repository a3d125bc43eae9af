"""The evenness of many answers at once: their delays and gaps, for Naru and for the baselines.

An arrival is (when, clocks): the arrival time of bytes and the provider's clock in each of their tokens, both in ns.
Delays and gaps count from the moment the last answer has begun to the moment the first one ends. Delays are needed: a
reader with even gaps can be a second behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from tests.bench.figure import Numbers, p

Arrival = tuple[int, list[int]]
#: The limits in ms within which a load holds, from the table in docs/performance.md.
GAP_P99, DELAY_P50, DELAY_P99 = 80.0, 40.0, 150.0


def timing(answers: Sequence[Sequence[Arrival]]) -> Numbers:
    """Return the delays and gaps of answers (oldest arrival first) in ms, and the gaps in the provider's sending."""
    begins = max(answer[0][0] for answer in answers)
    ends = min(answer[-1][0] for answer in answers)
    delays: list[float] = []
    gaps: list[float] = []
    source_gaps: list[float] = []
    for answer in answers:
        inside = [(at, clocks) for at, clocks in answer if begins <= at <= ends]
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


def is_even(found: Numbers) -> bool:
    """Return whether a load holds: within the limits, without loss, and in a window that is not empty."""
    fits = found["gap_p99"] < GAP_P99 and found["delay_p50"] <= DELAY_P50 and found["delay_p99"] <= DELAY_P99
    return fits and found["window_seconds"] > 0 and not found.get("lost")
