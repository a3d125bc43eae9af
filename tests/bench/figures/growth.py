"""Throughput of one and of two worker processes, limited by the provider; and the first bottleneck of a hundred.

The provider is the limit, because every slot waits for it: answers of two seconds, few slots, more questions than
slots. The needs of a hundred workers are calculated from the measured use of one: at rest, per running answer and per
request. They are compared with the limits of the servers here: one core for Redis, all cores for PostgreSQL, the rate
of commits in a short stress test, and the server's setting for connections.
"""

from __future__ import annotations

import asyncio
import os
import time
from uuid import UUID

import uvloop
from sqlalchemy import func, select

from shared.postgres.database import transaction
from shared.tables import Status, chat_request
from tests.bench import filling
from tests.bench.asking import Asker
from tests.bench.crowd import carry
from tests.bench.figure import Figure, Line, Numbers
from tests.bench.metering import Meter, most_commits, per_second
from tests.bench.stacks import Bench, Running
from tests.stack import wait_until

SLOTS = 20
FIRST_SECONDS = 0.1
ANSWER_SECONDS = 2.0
QUESTION = f"[[sim: tokens={ANSWER_SECONDS * 50:.0f} pace=50 first={FIRST_SECONDS}]] slow?"
#: The calculated load.
WORKERS, ANSWERS_EACH, SECONDS_EACH = 100, 300, 20.0
USED = ("redis_commands", "redis_cpu", "commits", "postgres_cpu")


def measure(bench: Bench) -> Numbers:
    """Measure one worker and two, and calculate a hundred."""
    rounds = bench.pick(full=8, quick=4, smoke=2)
    with bench.own(concurrency=SLOTS) as running, Asker(running.stack.settings) as asker:
        one = answers_per_second(running, asker, number=SLOTS * rounds)
        running.wait_for_worker(running.start_worker())
        two = answers_per_second(running, asker, number=2 * SLOTS * rounds)
    paper = _paper(bench)
    numbers = {f"one_{key}": value for key, value in one.items()} | {f"two_{key}": value for key, value in two.items()}
    ideal = SLOTS / (ANSWER_SECONDS + FIRST_SECONDS)
    return {**numbers, "growth": two["per_second"] / one["per_second"], "ideal_per_second": ideal, **paper}


def answers_per_second(running: Running, asker: Asker, *, number: int) -> Numbers:
    """Return the answers a second, from the first claim to the last end, and the number lost."""
    asked = filling.queue(running.stack.database_url, number, text=QUESTION)
    for _ in asked:
        asker.hint(filling.LANE)
    wait_until(lambda: _ended(asker, asked) == number, seconds=120, what="all are answered")
    c = chat_request.c
    with transaction(asker.engine) as connection:
        span = connection.execute(
            select(
                func.extract("epoch", func.max(c.ended_at) - func.min(c.started_at)),
                func.count().filter(c.status == Status.SUCCEEDED),
            ).where(c.id.in_(asked))
        ).one()
    return {"per_second": number / float(span[0]), "lost": float(number - span[1])}


def _ended(asker: Asker, asked: list[UUID]) -> int:
    time.sleep(0.1)
    c = chat_request.c
    with transaction(asker.engine) as connection:
        counted = select(func.count()).where(c.id.in_(asked), c.ended_at.is_not(None))
        return int(connection.execute(counted).scalar_one())


def _paper(bench: Bench) -> Numbers:
    """Measure one worker's use and the servers' limits; return the needs of a hundred workers."""
    running = bench.running()
    seconds = float(bench.pick(full=10, quick=4, smoke=1))
    streams = bench.pick(full=300, quick=60, smoke=5)
    requests = bench.pick(full=1000, quick=300, smoke=20)
    with Meter(running) as meter, Asker(running.stack.settings) as asker:
        before = meter.read()
        time.sleep(seconds)
        rest = per_second(before, meter.read())
        found = uvloop.run(_streaming(running, meter, streams=streams, seconds=seconds))
        answer = {name: max(0.0, found[name] - rest[name]) / streams for name in USED}
        before = meter.read()
        _rate_short(running, asker, number=requests)
        after = meter.read()
        spent = after["at"] - before["at"]
        request = {name: max(0.0, after[name] - before[name] - rest[name] * spent) / requests for name in USED}
        connections = after["worker_connections"]
    url = running.stack.database_url
    limits = {
        "redis_cpu": 1.0,
        "commits": most_commits(url, seconds=seconds / 2),
        "postgres_cpu": float(os.cpu_count() or 1),
        "connections": float(running.stack.servers.postgres_server.connections),
    }
    return _reckon(rest, answer, request, limits, connections=connections)


def _reckon(rest: Numbers, answer: Numbers, request: Numbers, limits: Numbers, *, connections: float) -> Numbers:
    """Return a busy worker's use per second, and the number of workers at which each limit is reached."""
    each = {name: rest[name] + ANSWERS_EACH * (answer[name] + request[name] / SECONDS_EACH) for name in USED} | {
        "connections": connections
    }
    numbers: Numbers = {}
    for name, used in each.items():
        numbers[f"paper_{name}_at_{WORKERS}"] = used * WORKERS
        numbers |= {f"rest_{name}": rest.get(name, 0.0)}
        numbers |= {f"answer_{name}": answer.get(name, 0.0), f"request_{name}": request.get(name, 0.0)}
    for name, limit in limits.items():
        numbers |= {f"limit_{name}": limit, f"full_{name}": limit / each[name] if each[name] else float("inf")}
    return numbers


async def _streaming(running: Running, meter: Meter, *, streams: int, seconds: float) -> Numbers:
    async def meanwhile() -> Numbers:
        before = meter.read()
        await asyncio.sleep(seconds)
        return per_second(before, meter.read())

    return await carry(running, streams=streams, window_seconds=seconds + 2, meanwhile=meanwhile)


def _rate_short(running: Running, asker: Asker, *, number: int) -> None:
    """Run `number` short requests, and wait until all have ended."""
    page = asker.page
    asked = [asker.submit(page(), "[[sim: tokens=20 pace=0 first=0]] short?") for _ in range(number)]
    wait_until(lambda: _ended(asker, asked) == number, seconds=120, what="all are answered")


NAMES = {
    "redis_cpu": "Redis's one core",
    "commits": "commits a second",
    "postgres_cpu": "PostgreSQL's CPU",
    "connections": "PostgreSQL's connections",
}


def _show_paper(n: Numbers) -> str:
    order = sorted(NAMES, key=lambda name: n[f"full_{name}"])
    parts = [
        f"{NAMES[name]} at {n[f'full_{name}']:.0f} workers ({n[f'paper_{name}_at_{WORKERS}']:,.1f} needed for "
        f"{WORKERS}, {n[f'limit_{name}']:,.0f} available)"
        for name in order
    ]
    commands = n[f"paper_redis_commands_at_{WORKERS}"]
    return f"bottlenecks: {'; then '.join(parts)}; Redis commands {commands:,.0f} a second"


FIGURE = Figure(
    name="growth",
    measure=measure,
    lines=(
        Line(
            figure=f"worker processes 1 → 2, limited by the provider ({SLOTS} slots each, answers of 2 s)",
            reach="near-linear",
            show=lambda n: (
                f"{n['growth']:.2f} × ({n['one_per_second']:.1f} → {n['two_per_second']:.1f} answers a second; the "
                f"provider allows {n['ideal_per_second']:.1f} for each)"
            ),
            holds=lambda n: n["growth"] >= 1.9,
        ),
        Line(
            figure=f"{WORKERS} workers, calculated: {ANSWERS_EACH} answers of {SECONDS_EACH:.0f} s each at 50 tokens/s",
            reach="the first bottleneck, named and measured",
            show=_show_paper,
            holds=lambda n: all(n[f"limit_{name}"] > 0 for name in NAMES),
        ),
    ),
    zero=("one_lost", "two_lost"),
)
