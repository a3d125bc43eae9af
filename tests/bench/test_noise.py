"""Noise detection: a neighbour counts as noise, our own children do not, and the verdict names noisy figures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import IO

from tests.bench import noise, table
from tests.bench.figure import Figure
from tests.bench.noise import Quiet
from tests.bench.processes import accounted, cpu_seconds, our_cpu_seconds, tree
from tests.bench.table import Outcome
from tests.stack import wait_until

#: A program that uses this many seconds of CPU time.
BURN = "import time\nwhile time.process_time() < {seconds}: pass"
CALM = Quiet(others_cores=0.01, stolen_share=0.0, loop_seconds=0.003, quick_loop_seconds=0.003)
FIGURE = Figure(name="some", measure=lambda _: {}, lines=())


def test_noise_excludes_child_processes() -> None:
    before = noise.look()
    subprocess.run((sys.executable, "-c", BURN.format(seconds=0.5)), check=True)
    after = noise.look()
    used = after.our_seconds - before.our_seconds
    assert used > 0.4, "an ended child still counts as ours"
    # Other tests may run at the same time, so this checks only that others exclude the child's time.
    assert noise.between(before, after).others_cores * (after.at - before.at) <= (
        after.busy_seconds - before.busy_seconds - used + 0.05
    )


def test_accounting_includes_unreaped_processes() -> None:
    """Like Chromium's processes: nobody reaps them after their parent is killed, so /proc loses their CPU time."""
    starting = f"import subprocess, sys; subprocess.run((sys.executable, '-c', {BURN.format(seconds=60)!r}))"
    parent = subprocess.Popen((sys.executable, "-c", starting))
    before = our_cpu_seconds()
    while our_cpu_seconds() < before + 0.3:
        time.sleep(0.05)
    used = our_cpu_seconds()
    with accounted():
        child = next(pid for pid in tree(parent.pid) if pid != parent.pid)
        parent.kill()
        parent.wait()
    os.kill(child, signal.SIGKILL)
    assert our_cpu_seconds() >= used - 0.05


def _echo(writing: IO[bytes], reading: IO[bytes]) -> bool:
    writing.write(b"line\n")
    return reading.readline() == b"line\n"


def test_cpu_time_grows_with_one_line_of_work() -> None:
    """A small run works for less than a tick of /proc."""
    with subprocess.Popen("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert _echo(child.stdin, child.stdout), "the start is over"
        before = cpu_seconds(child.pid)
        assert _echo(child.stdin, child.stdout)
        spent = cpu_seconds(child.pid) - before
    assert spent > 0


def test_noise_includes_neighbour_processes() -> None:
    """A process leaves our tree when its parent ends."""
    leaving = f"import subprocess, sys; subprocess.Popen((sys.executable, '-c', {BURN.format(seconds=1)!r}))"
    before = noise.look()
    subprocess.run((sys.executable, "-c", leaving), check=True)

    def noisy() -> list[Quiet]:
        seen = noise.between(before, noise.look())
        return [seen] if seen.others_cores > noise.MOST_OTHERS else []

    (seen,) = wait_until(noisy, what="the neighbour's CPU time counts as noise")
    assert any("other processes" in why for why in seen.complaints(quickest=seen.loop_seconds))


def test_noise_complains_about_each_measure() -> None:
    assert CALM.complaints(quickest=0.003) == []
    assert (
        len(
            Quiet(others_cores=1.0, stolen_share=0.3, loop_seconds=0.006, quick_loop_seconds=0.003).complaints(
                quickest=0.003
            )
        )
        == 3
    )


def test_verdict_names_the_noisy_figures() -> None:
    noisy = Quiet(others_cores=1.0, stolen_share=0.0, loop_seconds=0.003, quick_loop_seconds=0.003)
    assert "quiet" in table.verdict([Outcome(FIGURE, quiet=CALM)])
    said = table.verdict([Outcome(FIGURE, quiet=CALM), Outcome(FIGURE, quiet=noisy)])
    assert "1 of 2" in said
    assert "some" in said


def test_ratio_to_a_noisy_baseline_is_noisy() -> None:
    noisy = Quiet(others_cores=1.0, stolen_share=0.0, loop_seconds=0.003, quick_loop_seconds=0.003)
    outcome = Outcome(FIGURE, quiet=CALM, borrowed=[noisy])
    assert "baselines" in outcome.complaints(quickest=0.003)[0]
    assert "1 of 1" in table.verdict([outcome])
