"""A comparison of PostgreSQL settings by the statements of a question, for docs/operations/tuning.md.

    python -m tests.bench.tuned --messages 1000000 --rounds 3

One durable server restarts on the same data with each variant's options. Each round runs every variant once, in random
order, to spread other load on the machine over all of them. Conversations are drawn at random; asking is submit, claim
and finish with their commits. The table shows the median of the rounds' medians, and of their 95th percentiles.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from sqlalchemy import Engine

from deploy.cli.checks import scrub
from deploy.embedded import postgres
from shared import lifecycle
from shared.conversations import list_conversations, open_conversation
from shared.lifecycle import Answer
from shared.migrations.__main__ import migrate
from shared.postgres.database import make_engine
from shared.settings import environment, load_settings
from tests.bench.filling import Filled, fill
from tests.shared.rig import MODEL, RequestRig
from tests.stack import Process, free_port, start

#: The embedded server's settings, and the variants on top of them.
VARIANTS: Mapping[str, Mapping[str, str]] = {
    "as embedded (shared_buffers 64MB)": {},
    "shared_buffers 256MB": {"shared_buffers": "256MB"},
    "shared_buffers 1GB": {"shared_buffers": "1GB"},
    "random_page_cost 1.1": {"random_page_cost": "1.1"},
    "effective_cache_size 1GB": {"effective_cache_size": "1GB"},
    "wal_buffers 16MB": {"wal_buffers": "16MB"},
    "max_wal_size 1GB": {"max_wal_size": "1GB"},
    "wal_compression on": {"wal_compression": "on"},
    "the guide's, together": {
        "shared_buffers": "256MB",
        "effective_cache_size": "1GB",
        "maintenance_work_mem": "64MB",
        "checkpoint_completion_target": "0.9",
        "wal_buffers": "16MB",
        "default_statistics_target": "100",
        "random_page_cost": "1.1",
    },
}
Figures = dict[str, list[float]]


@contextmanager
def served(server: postgres.Postgres, options: Mapping[str, str]) -> Iterator[str]:
    """Start the server with these extra options; yield its address."""
    command = server.command(scrub(environment()))
    extra = tuple(word for name, value in options.items() for word in ("-c", f"{name}={value}"))
    process: Process = start(
        dataclasses.replace(command, argv=(*command.argv, *extra)), log=server.data.parent / "postgres.log"
    )
    try:
        if not postgres.wait(server, process.child):
            raise AssertionError(process.log_text()[-1000:])
        yield server.url
    finally:
        process.terminate()
        process.wait(seconds=120)


def timed(figures: Figures, name: str, action: Callable[[], object]) -> None:
    """Run `action`, and add its duration in ms to `figures`."""
    began = time.perf_counter()
    action()
    figures.setdefault(name, []).append((time.perf_counter() - began) * 1e3)


def measure(engine: Engine, filled: Filled, *, times: int) -> Figures:
    """Time listing, opening and asking in turn, `times` times each."""
    figures: Figures = {}
    rig = RequestRig(engine)
    worker_id = rig.worker(MODEL, lease_seconds=3600)
    for number in random.sample(range(filled.conversations), times):
        owner, conversation_id = filled.owner(number), filled.conversation_id(number)
        timed(figures, "list", lambda: list_conversations(engine, owner=owner))  # noqa: B023 - called here
        timed(figures, "open", lambda: open_conversation(engine, conversation_id, owner=owner))  # noqa: B023

        def ask() -> None:
            asked = rig.ask(owner=owner, conversation_id=conversation_id)  # noqa: B023
            claimed = rig.claim(asked.request_id, worker_id)
            assert lifecycle.finish(engine, claimed, Answer(text="x" * 480, input_tokens=10, output_tokens=100))

        timed(figures, "ask", ask)
    return figures


def counted(url: str) -> tuple[int, int]:
    """Return the total of blocks read outside shared_buffers, and of WAL bytes. Noise changes neither."""
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT blks_read, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') FROM pg_stat_database"
                " WHERE datname = current_database()"
            )
            row = cursor.fetchone()
            assert row is not None
            return int(row[0]), int(row[1])
    finally:
        connection.close()


def settled(url: str) -> tuple[int, int]:
    """Return `counted` after the ended backends have reported their statistics."""
    time.sleep(0.3)
    return counted(url)


def reindex(url: str, figures: Figures) -> None:
    """Time a REINDEX, which uses maintenance_work_mem."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            timed(figures, "reindex", lambda: cursor.execute("REINDEX INDEX ix_message_conversation_id"))
    finally:
        connection.close()


def main() -> int:
    """Fill once, run every variant in every round, and print a table with a line per variant."""
    parser = argparse.ArgumentParser(description="Compare PostgreSQL settings by the statements of a question")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=300)
    chosen = parser.parse_args()
    filled = Filled("tuned", conversations=chosen.messages // 20, messages=20, owners=max(1, chosen.messages // 2000))
    found: dict[str, list[Figures]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory(prefix="naru-tuned-") as folder:
        data = Path(folder) / "postgres"
        server = postgres.Postgres(
            data=data, port=free_port(), password=secrets.token_urlsafe(12), run_as=postgres.run_as(data)
        )
        postgres.prepare(server, scrub(environment()))
        with served(server, {"max_wal_size": "4GB"}) as url:
            migrate(url)
            fill(url, filled)
        for _ in range(chosen.rounds):
            for name in random.sample(list(VARIANTS), len(VARIANTS)):
                with served(server, VARIANTS[name]) as url:
                    values = {"DATABASE_URL": url, "REDIS_URL": "redis://127.0.0.1:1/0"}
                    engine = make_engine(load_settings(values), name="tuned")
                    measure(engine, filled, times=chosen.times // 10)  # connections, catalogues, plans
                    engine.dispose()
                    before = settled(url)
                    figures = measure(engine, filled, times=chosen.times)
                    engine.dispose()
                    after = settled(url)
                    figures["blocks read"] = [(after[0] - before[0]) / chosen.times]
                    figures["WAL KB"] = [(after[1] - before[1]) / chosen.times / 1024]
                    if "maintenance_work_mem" in VARIANTS[name] or not VARIANTS[name]:
                        reindex(url, figures)
                    found[name].append(figures)
    print(table(found))
    return 0


def table(found: Mapping[str, list[Figures]]) -> str:
    """Return a table of variants and figures: p50 / p95 in ms, and the spread of the rounds' p50."""
    names = ("list", "open", "ask", "reindex", "blocks read", "WAL KB")
    rows = ["| variant | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for variant, rounds in found.items():
        cells = []
        for name in names:
            given = [each[name] for each in rounds if name in each]
            if not given:
                cells.append("")
                continue
            middles = [statistics.median(each) for each in given]
            tails = [sorted(each)[int(len(each) * 0.95)] for each in given]
            spread = f"{min(middles):.2f}-{max(middles):.2f}"
            cells.append(f"{statistics.median(middles):.2f} / {statistics.median(tails):.2f} ({spread})")
        rows.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    raise SystemExit(main())
