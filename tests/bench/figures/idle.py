"""CPU use of everything that `./naru up` starts, while nobody asks anything.

It is measured after a first answer, so that everything is loaded, and a rest. No page is open.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import Counter

from deploy.cli.checks import scrub
from deploy.embedded.processes import ROOT
from shared.settings import environment
from tests.bench.figure import Figure, Line, Numbers
from tests.bench.launching import IN_THIS_ENVIRONMENT, up
from tests.bench.processes import cpu_seconds, tree, what_runs
from tests.bench.stacks import Bench


def measure(bench: Bench) -> Numbers:
    """Start Naru, ask once, rest, and measure the CPU time used."""
    bench.rest()
    seconds = float(bench.pick(full=60, quick=20, smoke=3))
    folder = bench.folder / "idle"
    with up(folder) as naru:
        words = (*IN_THIS_ENVIRONMENT, "ask", "[[sim: tokens=20]] warm", "--data", str(folder / "data"))
        environ = {**scrub(environment()), "PYTHONPATH": str(ROOT)}
        subprocess.run(words, env=environ, cwd=ROOT, check=True, capture_output=True, timeout=60)
        time.sleep(bench.pick(full=20, quick=10, smoke=2))
        before, began = _used(naru.pid), time.monotonic()
        time.sleep(seconds)
        took, after = time.monotonic() - began, _used(naru.pid)
    parts = {f"{name.replace('.', '_')}_core_share": (after[name] - before[name]) / took for name in after}
    return {"all_core_share": sum(parts.values()), "seconds": took, **parts}


def _used(pid: int) -> Counter[str]:
    """Return the CPU seconds used so far, by program."""
    used: Counter[str] = Counter()
    for each in tree(pid):
        with contextlib.suppress(OSError):  # a PostgreSQL backend that has ended
            used[what_runs(each)] += cpu_seconds(each)  # type: ignore[assignment]
    return used


def _show(n: Numbers) -> str:
    named = {name.removesuffix("_core_share"): share for name, share in n.items() if name.endswith("_core_share")}
    total = named.pop("all")
    parts = ", ".join(f"{name} {share:.2%}" for name, share in sorted(named.items(), key=lambda each: -each[1]))
    return f"{total:.1%} of a core ({parts})"


FIGURE = Figure(
    name="idle",
    measure=measure,
    lines=(
        Line(
            figure="idle CPU of everything that `up` starts",
            reach="≤ 2 % of a core",
            show=_show,
            holds=lambda n: n["all_core_share"] <= 0.02,
        ),
    ),
)
