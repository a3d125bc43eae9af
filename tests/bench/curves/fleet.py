"""Curves over worker processes: answers a second when the provider is the bottleneck, and CPU at rest."""

from __future__ import annotations

import time

from tests.bench.asking import Asker
from tests.bench.curves.curve import Curve, Points, add
from tests.bench.figure import Size
from tests.bench.figures.growth import SLOTS, answers_per_second
from tests.bench.processes import cpu_seconds, tree_cpu_seconds
from tests.bench.stacks import Bench, Running

WORKERS = {Size.FULL: (1, 2, 3, 4, 6), Size.QUICK: (1, 2, 4), Size.SMOKE: (1, 2)}


def rates(bench: Bench) -> Points:
    """Measure answers a second, with equal slots and questions per worker."""
    points, rounds = Points(), bench.pick(full=6, quick=3, smoke=1)
    with bench.own(concurrency=SLOTS) as running, Asker(running.stack.settings) as asker:
        for workers in WORKERS[bench.size]:
            while len(running.workers) < workers:
                running.wait_for_worker(running.start_worker())
            found = answers_per_second(running, asker, number=workers * SLOTS * rounds)
            add(points, workers, {"answers a second": found["per_second"]})
    return points


def rests(bench: Bench) -> Points:
    """Measure CPU at rest."""
    points, seconds = Points(), float(bench.pick(full=30, quick=10, smoke=2))
    with bench.own() as running:
        for workers in WORKERS[bench.size]:
            while len(running.workers) < workers:
                running.wait_for_worker(running.start_worker())
            time.sleep(seconds / 2)
            before, began = _used(running), time.monotonic()
            time.sleep(seconds)
            took, after = time.monotonic() - began, _used(running)
            add(points, workers, {name: (after[name] - before[name]) / took * 100 for name in after})
    return points


def _used(running: Running) -> dict[str, float]:
    servers = running.stack.servers
    return {
        "all workers": sum(cpu_seconds(each.pid) for each in running.workers),
        "postgres": tree_cpu_seconds(servers.postgres.pid),
        "redis": cpu_seconds(servers.redis.pid),
    }


RATE = Curve(
    name="workers",
    title=f"Answers a second over worker processes of {SLOTS} slots, limited by the provider",
    work="worker processes",
    unit="answers a second",
    measure=rates,
    is_cost=False,
)
REST = Curve(
    name="workers-at-rest",
    title="CPU of an idle fleet",
    work="worker processes",
    unit="% of a core",
    measure=rests,
)
