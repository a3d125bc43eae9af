"""Short requests per second and worker core: a provider that answers 20 tokens at once, and more questions than slots.

The questions are stored beforehand and their hints sent together, so that only the worker is measured: hint, claim,
prompt, call, finish, end. It has a core to itself. The rate comes from the rows' timestamps, without the first and the
last tenth. The rows' share is the CPU time of claim and finish, measured in this process, over the worker's CPU time.
"""

from __future__ import annotations

import time
from uuid import UUID, uuid4

from sqlalchemy import func, select

from shared import fleet, lifecycle
from shared.fleet import Member, Model
from shared.postgres.database import transaction
from shared.tables import Status, chat_request
from tests.bench import filling
from tests.bench.asking import Asker
from tests.bench.figure import Figure, Line, Numbers
from tests.bench.processes import apart, cpu_seconds, tree_cpu_seconds
from tests.bench.stacks import Bench, Running
from tests.stack import wait_until

TOKENS = 20
QUESTION = f"[[sim: tokens={TOKENS} pace=0 first=0]] A word?"
MODEL = "demo/hand"
VERBS = 200


def measure(bench: Bench) -> Numbers:
    """Run one batch to warm up, and measure a second one."""
    running = bench.running()
    number = bench.pick(full=4000, quick=1500, smoke=60)
    with apart([running.workers[0].pid], running.others()), Asker(running.stack.settings) as asker:
        _batch(running, asker, number=max(20, number // 10))
        found = _batch(running, asker, number=number)
        rows_ms = _rows_ms(running, asker, number=min(VERBS, number))
    return {**found, "rows_ms": rows_ms, "rows_share": rows_ms / found["worker_ms"]}


def _batch(running: Running, asker: Asker, *, number: int) -> Numbers:
    asked = filling.queue(running.stack.database_url, number, text=QUESTION)
    worker, database = running.workers[0].pid, running.stack.servers.postgres.pid
    before = cpu_seconds(worker), tree_cpu_seconds(database)
    for _ in asked:
        asker.hint(filling.LANE)
    wait_until(lambda: _ended(asker, asked) == number, seconds=180, what="all are answered")
    spent = cpu_seconds(worker) - before[0], tree_cpu_seconds(database) - before[1]
    succeeded, rate = _rate(asker, asked)
    return {
        "per_second": rate,
        "worker_ms": spent[0] / number * 1e3,
        "postgres_ms": spent[1] / number * 1e3,
        "lost": float(number - succeeded),
        "requests": float(number),
    }


def _ended(asker: Asker, asked: list[UUID]) -> int:
    time.sleep(0.2)  # counting costs PostgreSQL CPU time, too
    c = chat_request.c
    with transaction(asker.engine) as connection:
        counted = select(func.count()).where(c.id.in_(asked), c.ended_at.is_not(None))
        return int(connection.execute(counted).scalar_one())


def _rate(asker: Asker, asked: list[UUID]) -> tuple[int, float]:
    """Return how many succeeded, and how many ended per second in the middle of the batch."""
    c = chat_request.c
    with transaction(asker.engine) as connection:
        rows = connection.execute(select(c.status, c.ended_at).where(c.id.in_(asked)).order_by(c.ended_at)).all()
    tenth = len(rows) // 10
    middle = rows[tenth : len(rows) - tenth]
    seconds = (middle[-1].ended_at - middle[0].ended_at).total_seconds()
    return sum(row.status == Status.SUCCEEDED for row in rows), (len(middle) - 1) / seconds


def _rows_ms(running: Running, asker: Asker, *, number: int) -> float:
    """Return the CPU time of claim and finish in this thread, in ms per request."""
    worker_id = uuid4()
    models = [Model(name=MODEL, demo=True)]
    member = Member(worker_id=worker_id, host="bench", pid=0, version="0", slots=number, models=models)
    fleet.register(asker.engine, member, lease_seconds=3600)
    filling.queue(running.stack.database_url, number, text=QUESTION, model=MODEL)
    claimant = lifecycle.Claimant(worker_id=worker_id, models=(MODEL,))
    answer = lifecycle.Answer(text="word " * TOKENS, finish="stop", input_tokens=10, output_tokens=TOKENS)
    began = 0.0
    for position in range(number):
        if position == number // 10:  # statements are prepared by now
            began = time.thread_time()
        claimed = lifecycle.claim(asker.engine, filling.LANE, claimant)
        assert claimed is not None
        assert lifecycle.finish(asker.engine, claimed, answer)
    spent = time.thread_time() - began
    fleet.leave(asker.engine, worker_id)
    return spent / (number - number // 10) * 1e3


FIGURE = Figure(
    name="short",
    measure=measure,
    lines=(
        Line(
            figure=f"short requests per second and worker core (instant provider, {TOKENS} tokens)",
            reach="≥ 200, and the rows' share of it",
            show=lambda n: (
                f"{n['per_second']:.0f} a second of {n['requests']:.0f}; {n['worker_ms']:.1f} ms of the worker's CPU "
                f"each, of which the rows (claim, finish) {n['rows_ms']:.1f} ms, {n['rows_share']:.0%}; PostgreSQL "
                f"{n['postgres_ms']:.1f} ms"
            ),
            holds=lambda n: n["per_second"] >= 200,
        ),
    ),
    zero=("lost",),
)
