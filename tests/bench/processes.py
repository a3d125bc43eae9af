"""CPU time and memory of processes, read from /proc, and the cores that they may use. Linux only."""

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
    """Return user and system time of a process and all its threads. It counts nanoseconds; /proc counts 10 ms.

    The clock's number is Linux's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED). Raises OSError for an unknown process.
    """
    return time.clock_gettime(~pid << 3 | 2)


def tree_cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and all its descendants, including those that ended and were reaped."""
    ticks = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):  # it has ended, and its time counts for its parent now
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS_PER_SECOND


#: CPU seconds of our descendants that ended without being reaped.
_unwaited: list[float] = []


@contextmanager
def accounted() -> Iterator[None]:
    """Keep the CPU time of processes that end inside without being reaped, as Chromium's do."""
    before = tree_cpu_seconds(os.getpid())
    try:
        yield
    finally:
        _unwaited.append(max(0.0, before - tree_cpu_seconds(os.getpid())))


def our_cpu_seconds() -> float:
    """Return the CPU time that this process and all its descendants have ever used; it never falls."""
    return tree_cpu_seconds(os.getpid()) + sum(_unwaited)


async def core_shares(pids: Mapping[str, int], *, seconds: float, trees: Container[str] = ()) -> dict[str, float]:
    """Measure each process's share of a core from now on; those in `trees` include their descendants."""

    def used() -> dict[str, float]:
        return {name: tree_cpu_seconds(pid) if name in trees else cpu_seconds(pid) for name, pid in pids.items()}

    before, began = used(), time.monotonic()
    await asyncio.sleep(seconds)
    took, after = time.monotonic() - began, used()
    return {name: (after[name] - before[name]) / took for name in pids}


def tree(pid: int) -> list[int]:
    """Return a process and its descendants, including those in other sessions (PostgreSQL's)."""
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
    """Return the proportional set size: processes that share a page split its size."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def what_runs(pid: int) -> str:
    """Return a short name for a process: the module or program that it runs."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    if "flower" in words:
        return "flower"
    if "-m" in words:
        return words[words.index("-m") + 1]
    return Path(words[0].split()[0].rstrip(":")).name if words[0] else str(pid)


@contextmanager
def apart(alone: Iterable[int], others: Iterable[int]) -> Iterator[bool]:
    """Put `alone` on one core, and `others` and this process on another; yield False with only one core."""
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
    """Pin all threads of a process to these cores; later threads inherit it. Pid 0 is this process."""
    for task in Path(f"/proc/{pid or os.getpid()}/task").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)
