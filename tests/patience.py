"""Patience: tests give limits for our machine, and this module stretches them for a slower one.

A test waits for an event, and the limit only ends a wait that would never end. It does not assert that something is
fast: tests/bench measures speed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

#: The process that measures the slowness sets this variable; the other processes of the run read it.
VARIABLE = "TESTS_SLOWNESS"
#: Prints the median of three: a machine that was paused for seconds during one loop is not slow.
LOOP = """
import time
def timed():
    began = time.perf_counter()
    sum(range(8_000_000))
    return time.perf_counter() - began
print(sorted(timed() for _ in range(3))[1])
"""
#: Duration of one loop on our machine when nothing else runs.
LOOP_SECONDS = 0.1
#: Number of processes that measure in parallel. A test uses two cores: its own, and one for its processes. A CPU quota
#: covers both.
AT_ONCE = 2
#: Extra margin: the run may get slower after the measurement, and other tests run in parallel.
ROOM = 2.0


@cache
def slowness() -> float:
    """Return how many times slower than ours this machine is, measured once per run; at least 1."""
    if known := os.environ.get(VARIABLE):
        return float(known)
    command = (sys.executable, "-I", "-S", "-c", LOOP)
    loops = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(AT_ONCE)]
    slowest = max(float(loop.communicate()[0]) for loop in loops)
    found = max(1.0, slowest / LOOP_SECONDS)
    os.environ[VARIABLE] = f"{found:.2f}"
    return found


def patient(seconds: float) -> float:
    """Return a limit for this machine, for a wait that takes at most `seconds` on ours."""
    return seconds * slowness() * ROOM


def patient_ms(seconds: float) -> float:
    """Return the same limit in milliseconds, Playwright's unit."""
    return patient(seconds) * 1000
