"""The soak: a steady load that shows whether memory or descriptors of a process grow after the warm-up.

Each process is sampled at regular intervals. The slope is that of the least-squares line through the samples after the
warm-up. No faults are injected, so any growth comes from use.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.bench.processes import pss_megabytes, tree
from tests.faults.life import load
from tests.faults.rig import Rig, Shape
from tests.faults.run import Result, described
from tests.faults.shot import Shot

SAMPLE_SECONDS = 10.0
#: The warm-up's share of the time.
WARM_UP = 0.2
#: Growth per hour up to this is tolerated: allocators settle slowly, and samples are not exact.
MOST_MEGABYTES_AN_HOUR = 10.0
MOST_DESCRIPTORS_AN_HOUR = 10.0

Samples = dict[str, list[tuple[float, float, float, float]]]


def soak(place: Path, *, seed: int, seconds: float, rate: float) -> Result:
    """Run one soak; return the result for the store."""
    began = time.monotonic()
    with Rig.running(place, Shape(workers=2, webs=1)) as rig:
        shot = Shot(rig, random.Random(f"{seed}:soak"), 0)
        shot.strike()
        people = rig.crowd.start(load(rig.crowd, random.Random(f"{seed}:people"), rate=rate, seconds=seconds))
        samples = sampled(rig, seconds=seconds)
        rig.wait(people.done, seconds=400, what="all visits are over")
        shot.settle(patience=300)
        verdict = shot.judge()
        shot.note_accepts()
        return {
            "fault": "soak",
            "name": f"steady load, {seconds / 60:.0f} min",
            "seed": seed,
            "index": 0,
            **described(verdict),
            "at": round(time.time(), 1),
            "recovery": [],
            "figures": {"accept": shot.figures["accept"]},
            "exits": dict(rig.exits),
            "slopes": slopes(samples, after=seconds * WARM_UP),
            "broken_visits": people.result(),
            "seconds": round(time.monotonic() - began, 1),
        }


def sampled(rig: Rig, *, seconds: float) -> Samples:
    """Return the samples of each process: time, RSS and PSS in MB, and open descriptors."""
    samples: Samples = defaultdict(list)
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        for name, pids in named(rig).items():
            with contextlib.suppress(OSError):
                rss = sum(rss_megabytes(pid) for pid in pids)
                pss = sum(pss_megabytes(pid) for pid in pids)
                files = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
                samples[name].append((now, rss, pss, files))
        rig.sleep(SAMPLE_SECONDS)
    return samples


def named(rig: Rig) -> dict[str, list[int]]:
    """Return the pids by name. PostgreSQL includes the processes of its connections."""
    found = {f"worker {number}": [each.pid] for number, each in enumerate(rig.workers, 1)}
    found |= {f"web {number}": [each.pid] for number, each in enumerate(rig.webs, 1)}
    return found | {"postgres": tree(rig.servers.postgres.pid), "redis": [rig.servers.redis.pid]}


def rss_megabytes(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def slopes(samples: Samples, *, after: float) -> dict[str, dict[str, float]]:
    """Return, by process, the first and last sample after the warm-up and the growth per hour."""
    found = {}
    for name, all_of_them in samples.items():
        kept = [each for each in all_of_them if each[0] >= after]
        if len(kept) < 3:
            continue
        times = [each[0] for each in kept]
        found[name] = {
            f"{what} {figure}": round(value, 2)
            for column, what in ((1, "rss"), (2, "pss"), (3, "descriptors"))
            for figure, value in (
                ("first", kept[0][column]),
                ("last", kept[-1][column]),
                ("an hour", 3600 * slope(times, [each[column] for each in kept])),
            )
        }
    return found


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of the least-squares line."""
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((each - middle) ** 2 for each in times)
    products = sum((at - middle) * (value - mean) for at, value in zip(times, values, strict=True))
    return products / spread if spread else 0.0


def grows(result: Result) -> list[str]:
    """Return the workers and web processes that grow. PostgreSQL and Redis are not judged: they grow with the data."""
    return [
        name
        for name, found in result["slopes"].items()
        if name.startswith(("worker", "web"))
        and (found["pss an hour"] > MOST_MEGABYTES_AN_HOUR or found["descriptors an hour"] > MOST_DESCRIPTORS_AN_HOUR)
    ]


def tell(result: Result) -> None:
    """Print the slopes, and the processes that grow."""
    for name, found in result["slopes"].items():
        words = ", ".join(f"{what} {value:g}" for what, value in found.items())
        sys.stderr.write(f"  {name:<10} {words}\n")
    sys.stderr.write(f"  grows: {', '.join(grows(result)) or 'nothing'}\n")
