"""Cost by the number of stored rows: of the calls that every question and every page make, one at a time."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from uuid import UUID, uuid4

from sqlalchemy import Engine

from shared import fleet, lifecycle
from shared.conversations import list_conversations, open_conversation
from shared.fleet import Member, Model
from shared.lifecycle import Answer, Question
from shared.postgres.database import make_engine
from tests.bench import filling
from tests.bench.curves.curve import Curve, Points, add
from tests.bench.figure import Numbers, Size
from tests.bench.filling import Filled
from tests.bench.stacks import Bench

EACH = 20
MESSAGES = {
    Size.FULL: (10_000, 30_000, 100_000, 300_000, 1_000_000),
    Size.QUICK: (3_000, 20_000, 100_000),
    Size.SMOKE: (400, 2_000),
}
MODEL = "demo/hand"
ONE_HOUR = 3600.0


def rows(bench: Bench) -> Points:
    """Time the calls after each step, which adds rows to those of the last."""
    bench.rest()
    points, there = Points(), 0
    with bench.database("curve") as settings:
        engine = make_engine(dataclasses.replace(settings, database_pool=2), name="naru-bench")
        try:
            worker_id = _enter(engine)
            for wanted in MESSAGES[bench.size]:
                conversations = (wanted - there) // EACH
                filled = Filled(f"curve-{wanted}", conversations, EACH, owners=max(1, conversations // 100))
                filling.fill(settings.database_url, filled)
                there = wanted
                add(points, wanted, _timed(engine, filled, worker_id, times=bench.pick(full=300, quick=100, smoke=10)))
        finally:
            engine.dispose()
    return points


def _enter(engine: Engine) -> UUID:
    models = [Model(name=MODEL, demo=True)]
    member = Member(worker_id=uuid4(), host="bench", pid=0, version="0", slots=1, models=models)
    fleet.register(engine, member, lease_seconds=ONE_HOUR)
    return member.worker_id


def _timed(engine: Engine, filled: Filled, worker_id: UUID, *, times: int) -> Numbers:
    """Return the median ms of each call, among the rows of the last step."""
    took: dict[str, list[float]] = {}
    claimant = lifecycle.Claimant(worker_id=worker_id, models=(MODEL,))
    for _ in range(times):
        conversation = random.randrange(filled.conversations)
        owner, conversation_id = filled.owner(conversation), filled.conversation_id(conversation)
        question = Question(owner=owner, conversation_id=conversation_id, text="And?", idempotency_key=uuid4().hex)
        with _noted(took, "list"):
            list_conversations(engine, owner=owner)
        with _noted(took, "open"):
            open_conversation(engine, conversation_id, owner=owner)
        with _noted(took, "submit"):
            stored = lifecycle.submit(engine, question, deadline_seconds=ONE_HOUR, max_characters=100)
        with _noted(took, "claim"):
            claimed = lifecycle.claim(engine, stored.lane, claimant)
        assert claimed is not None
        with _noted(took, "finish"):
            lifecycle.finish(engine, claimed, Answer(text="So.", finish="stop"))
    return {name: median(values) for name, values in took.items()}


@contextmanager
def _noted(took: dict[str, list[float]], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    took.setdefault(name, []).append((time.perf_counter() - began) * 1e3)


ROWS = Curve(
    name="table-rows",
    title="Calls of a question and a page, over stored rows",
    work="messages in the table (20 a conversation)",
    unit="ms, median, one at a time",
    measure=rows,
)
