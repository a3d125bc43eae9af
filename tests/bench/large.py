"""The calls of a question and a page among millions of rows, alone and beside the purge; for docs/decisions/0037.

    python -m tests.bench.large --messages 100000 1000000 4000000

One durable server, with the options of docker-compose.yml, is filled to each size in turn. The calls run one at a time
on conversations drawn at random. At the last size a part of the conversations is marked as deleted long ago, the
idempotency keys are old anyway, and the purge runs with its own pauses while the calls are timed again.

Two figures do not depend on what else runs on the machine: `cpu` is the time that this process and its server process
spent on a core, and `blocks` are those that the five calls look at, in memory or not, which says how the cost grows
where the data no longer fits into memory.
"""

from __future__ import annotations

import argparse
import random
import secrets
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psycopg2
from sqlalchemy import Engine, text

from deploy.cli.checks import scrub
from deploy.embedded import postgres
from shared import lifecycle
from shared.conversations import list_conversations, open_conversation
from shared.keeping import Keeping
from shared.lifecycle import Answer, Question
from shared.migrations.__main__ import migrate
from shared.postgres.database import make_engine
from shared.retention import purge_slice
from shared.retention.purge import REST_TIMES, SHORTEST_REST_SECONDS, next_rows
from shared.retention.slices import MOST_ROWS
from shared.settings import environment, load_settings
from tests.bench.figure import p
from tests.bench.filling import Filled, fill
from tests.bench.tuned import served
from tests.shared.rig import MODEL, RequestRig
from tests.stack import free_port

COMPOSE = {
    "shared_buffers": "256MB",
    "effective_cache_size": "768MB",
    "max_wal_size": "2GB",
    "wal_buffers": "16MB",
    "random_page_cost": "1.1",
    "autovacuum_vacuum_scale_factor": "0.02",
    "checkpoint_completion_target": "0.9",
}
EACH = 20
CALLS = ("list", "open", "submit", "claim", "finish")
KEEPING = Keeping(deleted_days=30, conversation_days=0, session_days=90, session_idle_days=14, spending_days=400)
SIZES = """
    SELECT relname, pg_size_pretty(pg_table_size(oid)), pg_size_pretty(pg_indexes_size(oid)) FROM pg_class
     WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname NOT LIKE 'alembic%'
     ORDER BY pg_total_relation_size(oid) DESC LIMIT 4
"""
INDEXES = """
    SELECT indexrelname, pg_size_pretty(pg_relation_size(indexrelid)) FROM pg_stat_user_indexes
     ORDER BY pg_relation_size(indexrelid) DESC LIMIT 14
"""
MARK = """
    UPDATE conversation SET deleted_at = now() - interval '31 days'
     WHERE id IN (SELECT id FROM conversation ORDER BY created_at LIMIT %s)
"""
BLOCKS = "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"

T = TypeVar("T")


class Times:
    """The ms of each call: by the clock, and on a core in this process and in the server process `backend`."""

    def __init__(self, backend: int) -> None:
        self._schedule = Path(f"/proc/{backend}/schedstat")
        self.clock: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def add(self, name: str, call: Callable[[], T]) -> T:
        """Time a call, and return its result."""
        on_core, began = self._on_core(), time.perf_counter()
        result = call()
        self.clock.setdefault(name, []).append((time.perf_counter() - began) * 1e3)
        self.cpu.setdefault(name, []).append((self._on_core() - on_core) / 1e6)
        return result

    def _on_core(self) -> int:
        return time.thread_time_ns() + int(self._schedule.read_text().split()[0])


def rows_of(url: str, question: str, *values: object) -> list[tuple[object, ...]]:
    """Run a statement in a transaction of its own; return its rows, if it has any."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(question, values or None)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


class Caller:
    """Makes the calls of one page and one question in random conversations."""

    def __init__(self, engine: Engine, filled: Filled) -> None:
        self._engine, self._filled = engine, filled
        worker_id = RequestRig(engine).worker(MODEL, lease_seconds=7200)
        self._claimant = lifecycle.Claimant(worker_id=worker_id, models=(MODEL,))

    def run(self, *, times: int, until: threading.Event | None = None) -> Times:
        """Return the ms of each call; `until` ends the run early."""
        with self._engine.connect() as connection:
            # The pool gives out the connection that came back last, so all calls use this one.
            took = Times(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        # Those marked as deleted are the oldest.
        for number in random.sample(range(self._filled.conversations // 2, self._filled.conversations), times):
            self._ask(number, took)
            if until is not None and until.is_set():
                break
        return took

    def _ask(self, number: int, took: Times) -> None:
        engine, owner = self._engine, self._filled.owner(number)
        conversation_id = self._filled.conversation_id(number)
        key = secrets.token_hex(16)
        question = Question(owner=owner, conversation_id=conversation_id, text="And?", idempotency_key=key)
        took.add("list", lambda: list_conversations(engine, owner=owner))
        took.add("open", lambda: open_conversation(engine, conversation_id, owner=owner))
        asked = took.add("submit", lambda: lifecycle.submit(engine, question, deadline_seconds=600, max_characters=100))
        claimed = took.add("claim", lambda: lifecycle.claim(engine, asked.lane, self._claimant))
        assert claimed is not None
        answer = Answer(text="x" * 480, input_tokens=10, output_tokens=100)
        assert took.add("finish", lambda: lifecycle.finish(engine, claimed, answer))


class Purger:
    """A thread that runs slices with the pauses of the product's, and keeps their durations."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.took: list[float] = []
        self.gone: Counter[str] = Counter()
        self.is_done = threading.Event()
        self.seconds = 0.0
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Start; `is_done` is set when nothing is due, or after `close`."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the running slice."""
        self.is_done.set()
        self._thread.join()

    def _run(self) -> None:
        first, rows = time.monotonic(), MOST_ROWS
        while not self.is_done.is_set():
            began = time.monotonic()
            removed = purge_slice(self._engine, KEEPING, rows=rows)
            took = time.monotonic() - began
            if not removed:
                break
            self.gone += removed
            self.took.append(took * 1e3)
            rows = next_rows(rows, took)
            self.is_done.wait(max(REST_TIMES * took, SHORTEST_REST_SECONDS))
        self.seconds = time.monotonic() - first
        self.is_done.set()


def engine_on(url: str) -> Engine:
    """Return an engine as a process has it."""
    return make_engine(load_settings({"DATABASE_URL": url, "REDIS_URL": "redis://127.0.0.1:1/0"}), name="large")


def line(name: str, took: Times, blocks: float) -> str:
    """Return two lines of the table, by the clock and on a core: p50 / p99 (longest) of each call."""
    lines = []
    for what, ms in (("", took.clock), (", cpu", took.cpu)):
        cells = [f"{p(ms[call], 50):.2f} / {p(ms[call], 99):.2f} ({max(ms[call]):.0f})" for call in CALLS]
        lines.append(f"| {name}{what} | {' | '.join(cells)} | {blocks:.0f} |")
    return "\n".join(lines)


def measure(url: str, name: str, filled: Filled, *, times: int) -> None:
    """Print the line of one size."""
    engine = engine_on(url)
    Caller(engine, filled).run(times=times // 10)  # connections, catalogues, plans
    engine.dispose()
    time.sleep(0.5)
    ((before,),) = rows_of(url, BLOCKS)
    engine = engine_on(url)
    took = Caller(engine, filled).run(times=times)
    engine.dispose()
    time.sleep(0.5)
    ((after,),) = rows_of(url, BLOCKS)
    print(line(name, took, (int(str(after)) - int(str(before))) / times), flush=True)


def measure_beside_the_purge(url: str, filled: Filled, *, deleted: int, times: int) -> None:
    """Print the line of the calls beside the purge, and the figures of the purge."""
    rows_of(url, MARK, deleted)
    engine, other = engine_on(url), engine_on(url)
    purger = Purger(other)
    purger.start()
    took = Caller(engine, filled).run(times=times, until=purger.is_done)
    purger.close()
    print(line("beside the purge", took, float("nan")))
    rate = purger.gone.total() / purger.seconds
    slices = f"{len(purger.took)} slices of {p(purger.took, 50):.0f} / {p(purger.took, 99):.0f} ms"
    print(f"\npurge: {dict(purger.gone)} in {purger.seconds:.0f} s, {rate:.0f} rows/s; {slices} (p50 / p99)")
    for each in (engine, other):
        each.dispose()


def main() -> int:
    """Fill to each size, and print a table with a line per size."""
    parser = argparse.ArgumentParser(description="Time a question's calls among millions of rows, and beside the purge")
    parser.add_argument("--messages", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--deleted", type=int, default=2000, help="conversations that the purge finds deleted")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="naru-large-") as folder:
        data = Path(folder) / "postgres"
        server = postgres.Postgres(
            data=data, port=free_port(), password=secrets.token_urlsafe(12), run_as=postgres.run_as(data)
        )
        postgres.prepare(server, scrub(environment()))
        with served(server, COMPOSE) as url:
            migrate(url)
            print(f"| messages | {' | '.join(CALLS)} | blocks |\n{'|---' * (len(CALLS) + 2)}|")
            there, filled = 0, Filled("", 0, EACH, 1)
            for wanted in sorted(chosen.messages):
                number = (wanted - there) // EACH
                filled = Filled(f"large-{wanted}", conversations=number, messages=EACH, owners=max(1, number // 100))
                began = time.monotonic()
                fill(url, filled)
                print(f"  (filled in {time.monotonic() - began:.0f} s)", flush=True)
                there = wanted
                measure(url, f"{wanted:,}", filled, times=chosen.times)
            for table in (*rows_of(url, SIZES), *rows_of(url, INDEXES)):
                print("  ", *table, flush=True)
            measure_beside_the_purge(url, filled, deleted=chosen.deleted, times=chosen.times)
            print("  ", *rows_of(url, INDEXES), sep="\n  ")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
