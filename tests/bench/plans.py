"""The plan of every statement that a question runs, in full tables.

`Plans` listens to an engine and explains each statement just before its first run, on the same connection, so that a
prepared statement has the generic plan of production. `walk` runs a question's complete path through the product's own
functions. tests/shared/test_plans.py does so with few rows. Run it by hand for docs/operations/tuning.md:

    python -m tests.bench.plans --messages 1000000
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from sqlalchemy import Engine, event

from shared import conversations, fleet, lifecycle
from shared.conversations.fate import is_stored
from shared.following.best_text import checkpoint_of
from shared.following.sweep import Known, owner_of_conversation, sweep
from shared.keeping import Keeping
from shared.lifecycle import Answer, Claimed
from shared.metrics import SystemGauges
from shared.migrations.__main__ import migrate
from shared.people import Owner
from shared.postgres.database import make_engine
from shared.retention import purge_slice
from shared.settings import load_settings
from shared.tables import Outcome, Status
from tests.bench.filling import Filled, fill
from tests.shared.rig import MODEL, RequestRig, outlast_mercy
from tests.stack import Servers
from workers.process.pickup import lanes_with_due_requests

#: The tables that grow with each question. `worker` has a row per worker process, and statements may read all of it.
GROWING = {"chat_request", "message", "conversation", "request_attempt"}
PLANNED = ("select", "with", "insert", "update", "delete", "execute")
_TOGETHER = re.compile("; (?=EXECUTE )")


@dataclass
class Seen:
    """One statement of one step: its plan, and its durations in ms."""

    step: str
    text: str
    plan: dict[str, Any]
    took: list[float] = field(default_factory=list)

    def nodes(self) -> list[dict[str, Any]]:
        """Return all nodes of the plan."""
        found, waiting = [], [self.plan]
        while waiting:
            node = waiting.pop()
            found.append(node)
            waiting += node.get("Plans", [])
        return found

    def scanned(self) -> set[str]:
        """Return the growing tables that the statement scans completely."""
        return {node["Relation Name"] for node in self.nodes() if node["Node Type"] == "Seq Scan"} & GROWING

    def indexes(self) -> list[str]:
        """Return the indexes that the statement uses."""
        return sorted({node["Index Name"] for node in self.nodes() if "Index Name" in node})


class Plans:
    """Collects the plans of the statements of one engine."""

    def __init__(self, engine: Engine) -> None:
        self.seen: dict[tuple[str, str], Seen] = {}
        self._step = ""
        # Runs after the product's own listener, which turns a prepared statement into EXECUTE.
        event.listen(engine, "before_cursor_execute", self._before)
        event.listen(engine, "after_cursor_execute", self._after)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Assign the statements that run inside to this step."""
        self._step = name
        try:
            yield
        finally:
            self._step = ""

    def _before(self, *given: Any) -> None:
        _, cursor, text, parameters, context, is_many = given
        if self._step and not is_many and text.lstrip().lower().startswith(PLANNED):
            # Explain statements sent together one by one; the last one gets the time of all.
            *_, last = [self._seen(cursor, part, parameters) for part in _TOGETHER.split(text)]
            context.naru_began = (last, time.perf_counter())

    def _seen(self, cursor: Any, text: str, parameters: Any) -> Seen:
        key = (self._step, text)
        if key not in self.seen:
            with cursor.connection.cursor() as asking:
                asking.execute(f"EXPLAIN (FORMAT JSON) {text}", parameters)
                (plan,) = asking.fetchone()
            self.seen[key] = Seen(self._step, text, plan[0]["Plan"])
        return self.seen[key]

    def _after(self, *given: Any) -> None:
        context = given[4]
        began = getattr(context, "naru_began", None)
        if began is not None:
            seen, at = began
            seen.took.append((time.perf_counter() - at) * 1e3)


def drawn(filled: Filled) -> Iterator[int]:
    """Return the numbers of all conversations in random order, each once."""
    return iter(random.sample(range(filled.conversations), filled.conversations))


def walk(rig: RequestRig, filled: Filled, plans: Plans, numbers: Iterator[int]) -> None:
    """Run a question's complete path and every other ending of a request, in the next conversations of `numbers`."""
    number = next(numbers)
    owner, conversation_id = filled.owner(number), filled.conversation_id(number)
    worker_id = rig.worker(MODEL)
    _look(rig, plans, owner=owner, number=number, filled=filled)
    with plans.step("submit"):
        submitted = rig.ask(conversation_id=conversation_id, owner=owner, key=f"key-{time.time_ns()}")
    with plans.step("pickup"), rig.begin() as connection:
        lanes_with_due_requests(connection, [submitted.lane], patience_seconds=0)
    with plans.step("sweep while it waits"):
        sweep(rig.engine, [conversation_id], known=[])
    with plans.step("tick"):
        rig.tick()
    with plans.step("claim"):
        claimed = rig.claim_from(submitted.lane, worker_id)
    assert claimed is not None
    _run(rig, plans, claimed)
    with plans.step("finish"):
        assert lifecycle.finish(rig.engine, claimed, Answer(text="x" * 480, input_tokens=1, output_tokens=100))
    with plans.step("is mine"):
        assert lifecycle.is_mine(rig.engine, claimed, status=Status.SUCCEEDED)
    _other_ends(rig, plans, filled, numbers)
    rig.expire_lease(worker_id)
    rig.tick()


def _look(rig: RequestRig, plans: Plans, *, owner: Owner, number: int, filled: Filled) -> None:
    """Run the reads of the page and the routes."""
    conversation_id, engine = filled.conversation_id(number), rig.engine
    with plans.step("list conversations"):
        listed = conversations.list_conversations(engine, owner=owner, limit=20)
    with plans.step("list the next page"):
        conversations.list_conversations(engine, owner=owner, after=listed[-1], limit=20)
    with plans.step("open a conversation"):
        opened = conversations.open_conversation(engine, conversation_id, owner=owner)
        assert opened.messages
    with plans.step("fleet"):
        fleet.fleet(engine)
    with plans.step("whose is it"):
        conversations.check_owner(engine, conversation_id, owner=owner)
        assert owner_of_conversation(engine, conversation_id) == owner
    with plans.step("was it stored"):
        is_stored(engine, owner=owner, key="unknown")
    with plans.step("gauges"):
        assert list(
            SystemGauges(
                engine,
                Keeping(
                    deleted_days=30, conversation_days=30, session_days=90, session_idle_days=14, spending_days=400
                ),
            ).collect()
        )
    with plans.step("rename"):
        conversations.rename(engine, conversation_id, owner=owner, title="another")


def _run(rig: RequestRig, plans: Plans, claimed: Claimed) -> None:
    """Run the statements during an answer."""
    key = (claimed.request_id, claimed.attempt)
    with plans.step("renew"), rig.begin() as connection:
        renewal = fleet.renew(connection, claimed.worker_id, lease_seconds=60, consumed=True, free={})
        assert renewal is not None
        assert key in renewal.running
    with plans.step("checkpoint"), rig.begin() as connection:
        fleet.checkpoint(connection, claimed.worker_id, {key: "so far"})
    with plans.step("sweep while it runs"):
        known = Known(request_id=claimed.request_id, attempt=1, length=0, is_silent=True)
        assert sweep(rig.engine, [claimed.conversation_id], known=[known])
    with plans.step("best text"):
        assert checkpoint_of(rig.engine, claimed.request_id, claimed.attempt) == "so far"


def _other_ends(rig: RequestRig, plans: Plans, filled: Filled, numbers: Iterator[int]) -> None:
    """Regenerate, fail, release and stop, stop while queued, take back, expire, delete and purge."""
    engine = rig.engine

    def ask(**values: Any) -> Any:
        number = next(numbers)
        owner, conversation_id = filled.owner(number), filled.conversation_id(number)
        return number, rig.ask(owner=owner, conversation_id=conversation_id, **values)

    worker_id = rig.worker(MODEL)
    with plans.step("submit again with the same key"):
        key = f"twice-{time.time_ns()}"
        number, first = ask(key=key)
        again = rig.ask(owner=filled.owner(number), conversation_id=first.conversation_id, key=key)
        assert again.request_id == first.request_id
    claimed = rig.claim(first.request_id, worker_id)
    with plans.step("fail"):
        assert lifecycle.fail(engine, claimed, Answer(text=""), code="overloaded")
    with plans.step("regenerate"):
        rig.ask("", owner=filled.owner(number), conversation_id=first.conversation_id, regenerate=True)
    number, waiting = ask()
    claimed = rig.claim(waiting.request_id, worker_id)
    with plans.step("release"):
        assert lifecycle.release(engine, claimed, text="", outcome=Outcome.RELEASED, code="rate_limited")
    claimed = rig.claim(waiting.request_id, worker_id)
    with plans.step("stop"):
        lifecycle.stop(engine, waiting.request_id, owner=filled.owner(number))
    with plans.step("cancel"):
        assert lifecycle.cancel(engine, claimed, Answer(text="so far"))
    number, waiting = ask()
    with plans.step("stop while it waits"):
        lifecycle.stop(engine, waiting.request_id, owner=filled.owner(number))
    _, lost = ask()
    rig.claim(lost.request_id, worker_id)
    with plans.step("take back"):
        assert rig.lose(worker_id).taken_back == 1
    rig.put(lost.request_id, deadline_at=rig.ago(1))
    with plans.step("expire"):
        assert rig.tick().expired == 1
    with plans.step("delete"):
        conversations.delete(engine, filled.conversation_id(number), owner=filled.owner(number))
    with plans.step("purge"):
        everything = Keeping(
            deleted_days=0,
            conversation_days=1000,
            session_days=1,
            session_idle_days=1,
            spending_days=31,
            worker_days=0,
            key_days=0,
        )
        assert purge_slice(engine, everything, rows=100)


def table(plans: Plans) -> str:
    """Return a table: step, ms until the rows arrived (p50 and maximum), indexes."""
    rows = ["| step | ms p50 | max | by these indexes |", "|---|---|---|---|"]
    for seen in plans.seen.values():
        if seen.indexes() or seen.scanned():
            flaw = f" **reads all of {', '.join(seen.scanned())}**" if seen.scanned() else ""
            names = ", ".join(f"`{name}`" for name in seen.indexes())
            times = f"{statistics.median(seen.took):.2f} | {max(seen.took):.1f}" if seen.took else "– | –"
            rows.append(f"| {seen.step} | {times} | {names}{flaw} |")
    return "\n".join(rows)


def main() -> int:
    """Fill the tables, walk, and print the plans; return 1 if a statement scans a growing table."""
    parser = argparse.ArgumentParser(description="Print the plan of every statement that a question runs")
    parser.add_argument("--messages", type=int, default=100_000, help="number of rows in message")
    parser.add_argument("--walks", type=int, default=100)
    chosen = parser.parse_args()
    filled = Filled("plans", conversations=chosen.messages // 20, messages=20, owners=max(1, chosen.messages // 2000))
    with tempfile.TemporaryDirectory(prefix="naru-plans-") as folder:
        servers = Servers(Path(folder))
        try:
            migrate(servers.postgres_server.url)
            began = time.monotonic()
            fill(servers.postgres_server.url, filled)
            print(f"{chosen.messages:,} messages in {time.monotonic() - began:.0f} s; {_size(servers)}")

            values = {"DATABASE_URL": servers.postgres_server.url, "REDIS_URL": servers.redis_server.url}
            engine = make_engine(load_settings(values), name="plans")
            plans, numbers = Plans(engine), drawn(filled)
            outlast_mercy(engine)
            for _ in range(chosen.walks):
                walk(RequestRig(engine), filled, plans, numbers)
            engine.dispose()
            print(table(plans))
            return 1 if any(seen.scanned() for seen in plans.seen.values()) else 0
        finally:
            servers.close()


def _size(servers: Servers) -> str:
    connection = psycopg2.connect(servers.postgres_server.url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_size_pretty(pg_database_size(current_database()))")
            row = cursor.fetchone()
            return str(row[0]) if row else ""
    finally:
        connection.close()


if __name__ == "__main__":
    raise SystemExit(main())
