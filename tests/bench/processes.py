"""What a process costs, read from /proc: processor seconds, memory; and which cores it may use. Linux only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads, to 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def tree_cpu_seconds(pid: int) -> float:
    """The same of a process and all its descendants, with those that have ended and were waited for."""
    ticks = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):  # one that has ended meanwhile: its parent has its time now
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS_PER_SECOND


#: Processor seconds of descendants of ours that nobody waited for when they ended.
_unwaited: list[float] = []


@contextmanager
def accounted() -> Iterator[None]:
    """Around the end of processes that their parents do not wait for (Chromium's): what they used stays ours."""
    before = tree_cpu_seconds(os.getpid())
    try:
        yield
    finally:
        _unwaited.append(max(0.0, before - tree_cpu_seconds(os.getpid())))


def our_cpu_seconds() -> float:
    """What this process and all that it ever started used; never less than before."""
    return tree_cpu_seconds(os.getpid()) + sum(_unwaited)


async def core_shares(pids: Mapping[str, int], *, seconds: float, trees: Container[str] = ()) -> dict[str, float]:
    """How much of a core each process uses from now on; of those named in `trees` with its descendants."""

    def used() -> dict[str, float]:
        return {name: tree_cpu_seconds(pid) if name in trees else cpu_seconds(pid) for name, pid in pids.items()}

    before, began = used(), time.monotonic()
    await asyncio.sleep(seconds)
    took, after = time.monotonic() - began, used()
    return {name: (after[name] - before[name]) / took for name in pids}


def tree(pid: int) -> list[int]:
    """A process and its descendants, also those in sessions of their own (PostgreSQL's)."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found


def pss_megabytes(pid: int) -> float:
    """Proportional set size: shared pages are counted once among those who share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def what_runs(pid: int) -> str:
    """A short name for a process: the module or program it runs."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    if "flower" in words:
        return "flower"
    if "-m" in words:
        return words[words.index("-m") + 1]
    return Path(words[0].split()[0].rstrip(":")).name if words[0] else str(pid)


@contextmanager
def apart(alone: Iterable[int], others: Iterable[int]) -> Iterator[bool]:
    """Processes `alone` on one core, `others` and ourselves on another; False where there is only one core."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        yield False
        return
    placed = {0: {cores[-1]}}
    placed |= {each: {cores[-1]} for pid in others for each in tree(pid)}
    placed |= {each: {cores[0]} for pid in alone for each in tree(pid)}
    try:
        for pid, wanted in placed.items():
            pin(pid, wanted)
        yield True
    finally:
        for pid in placed:
            pin(pid, set(cores))


def pin(pid: int, cores: set[int]) -> None:
    """Let all threads of a process run on these cores only; those it starts later inherit it. 0: ourselves."""
    for task in Path(f"/proc/{pid or os.getpid()}/task").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)
