"""The page's own calls to list and open conversations, in tables with a million messages in 50,000 conversations.

The rows are made once, in a separate database (`--quick`: a tenth of them, and the line says so). The calls run one at
a time for random owners and conversations, so PostgreSQL's own 64 MB of cache hold few of the rows.
"""

from __future__ import annotations

import dataclasses
import random
import time

from shared.conversations import list_conversations, open_conversation
from shared.postgres.database import make_engine
from tests.bench import filling
from tests.bench.figure import Figure, Line, Numbers, spread
from tests.bench.filling import Filled
from tests.bench.stacks import Bench

CONVERSATIONS = 50_000
MESSAGES = 20
#: Conversations per owner.
EACH = 100
WANTED = CONVERSATIONS * MESSAGES


def measure(bench: Bench) -> Numbers:
    """Fill the tables, then list and open at random."""
    bench.rest()
    conversations = bench.pick(full=CONVERSATIONS, quick=CONVERSATIONS // 10, smoke=CONVERSATIONS // 100)
    filled = Filled("rows", conversations=conversations, messages=MESSAGES, owners=max(1, conversations // EACH))
    times = bench.pick(full=2000, quick=500, smoke=30)
    with bench.database("rows") as settings:
        began = time.monotonic()
        filling.fill(settings.database_url, filled)
        took = time.monotonic() - began
        engine = make_engine(dataclasses.replace(settings, database_pool=2), name="naru-bench")
        try:
            listed, opened, wrong = [], [], 0
            for _ in range(times):
                conversation = random.randrange(conversations)
                owner, conversation_id = filled.owner(conversation), filled.conversation_id(conversation)
                began = time.perf_counter()
                rows = list_conversations(engine, owner=owner)
                listed.append((time.perf_counter() - began) * 1e3)
                began = time.perf_counter()
                found = open_conversation(engine, conversation_id, owner=owner)
                opened.append((time.perf_counter() - began) * 1e3)
                wrong += len(found.messages) != MESSAGES or conversation_id not in {row.id for row in rows}
        finally:
            engine.dispose()
    return {
        "messages": float(conversations * MESSAGES),
        "conversations": float(conversations),
        "fill_seconds": took,
        **spread("list", listed, 50, 95, 99),
        **spread("open", opened, 50, 95, 99),
        "wrong": float(wrong),
    }


def _show(n: Numbers) -> str:
    short = "" if n["messages"] >= WANTED else f"; NOT {WANTED:,} but {n['messages']:,.0f} messages"
    return (
        f"list p50 {n['list_p50']:.1f} / p99 {n['list_p99']:.1f} ms, open p50 {n['open_p50']:.1f} / p99 "
        f"{n['open_p99']:.1f} ms of {n['list_n']:.0f}{short}"
    )


FIGURE = Figure(
    name="rows",
    measure=measure,
    lines=(
        Line(
            figure=f"list and open conversations with {WANTED:,} messages in {CONVERSATIONS:,} conversations",
            reach="p99 ≤ 50 ms",
            show=_show,
            holds=lambda n: n["list_p99"] <= 50 and n["open_p99"] <= 50,
        ),
    ),
    zero=("wrong",),
)
