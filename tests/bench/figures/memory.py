"""Memory of `./naru up` and all that it starts: the sum of the proportional set sizes, idle after an answer.

Chromium asks the question and shows the answer. Its page stays open; its own memory is not counted.
"""

from __future__ import annotations

import time
from collections import Counter

from tests.bench import words
from tests.bench.chromium import Chromium
from tests.bench.figure import Figure, Line, Numbers
from tests.bench.launching import up
from tests.bench.processes import pss_megabytes, tree, what_runs
from tests.bench.stacks import Bench


def measure(bench: Bench) -> Numbers:
    """Start Naru, ask once, rest, and add up the memory."""
    bench.rest()
    with Chromium() as browser, up(bench.folder / "memory") as naru:
        browser.open(naru.url)
        browser.ask(words.clocked_question(tokens=100))
        browser.enter_to_text()
        browser.wait_for_end()
        time.sleep(bench.pick(full=20, quick=5, smoke=1))
        used: Counter[str] = Counter()
        for pid in tree(naru.pid):
            used[what_runs(pid)] += pss_megabytes(pid)  # type: ignore[assignment]
    parts = {f"{name.replace('.', '_')}_mb": float(megabytes) for name, megabytes in used.items()}
    return {"all_mb": sum(parts.values()), **parts}


def _show(n: Numbers) -> str:
    parts = sorted(((mb, name.removesuffix("_mb")) for name, mb in n.items() if name != "all_mb"), reverse=True)
    return f"{n['all_mb']:.0f} MB ({', '.join(f'{name} {mb:.0f}' for mb, name in parts)})"


FIGURE = Figure(
    name="memory",
    measure=measure,
    lines=(
        Line(
            figure="memory (PSS) of everything that `up` starts, idle after a first answer",
            reach="≤ 450 MB",
            show=_show,
            holds=lambda n: n["all_mb"] <= 450,
        ),
    ),
)
