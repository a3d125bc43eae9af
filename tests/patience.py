"""How patient tests are: every limit is written for our machine, and stretched by how slow this one is.

A limit only ends what would else be waited for without end; what is waited for is an event. Nothing here says that
something is quick: speed is measured by tests/bench.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

#: Which of the run's processes measured it, all others read here.
VARIABLE = "TESTS_SLOWNESS"
LOOP = "import time; began = time.perf_counter(); sum(range(24_000_000)); print(time.perf_counter() - began)"
#: What the loop takes on our machine when nothing else runs.
LOOP_SECONDS = 0.3
#: A test uses two cores at once: its own, and those of the processes that it started. A quota is shared by them.
AT_ONCE = 2
#: The moment of the measurement is not the worst of the run, and other tests run beside this one.
ROOM = 2.0


@cache
def slowness() -> float:
    """How many times longer than ours this machine takes, measured once per run; never below 1."""
    if known := os.environ.get(VARIABLE):
        return float(known)
    command = (sys.executable, "-I", "-S", "-c", LOOP)
    loops = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(AT_ONCE)]
    slowest = max(float(loop.communicate()[0]) for loop in loops)
    found = max(1.0, slowest / LOOP_SECONDS)
    os.environ[VARIABLE] = f"{found:.2f}"
    return found


def patient(seconds: float) -> float:
    """The limit of a wait that would take at most `seconds` here, as this machine needs it."""
    return seconds * slowness() * ROOM


def patient_ms(seconds: float) -> float:
    """The same in milliseconds, as Playwright counts."""
    return patient(seconds) * 1000
