"""What standing still costs: ticks, sweeps, commits that tell, idle pages, idle workers, checkpoints.

Run it by hand, on a quiet machine; docs/decisions/0036 has the figures before and after:

    python -m tests.bench.standing_still [tick] [rush] [commits] [idle] [wal] [fleet]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import psycopg2
from psycopg2.extensions import set_wait_callback
from sqlalchemy import text

from shared import fleet
from shared.following.sweep import sweep
from shared.migrations.__main__ import migrate
from shared.postgres import notify
from shared.postgres.connections import limit_waits
from shared.postgres.database import make_engine, make_listening_engine
from shared.postgres.notices import NoticeSender
from shared.reconciler import tick
from shared.settings import Settings, load_settings
from tests.shared.rig import RequestRig
from tests.stack import Servers, Stack
from tests.web.clients import EventReader, browser
from workers.process import checkpoints as checkpoints_module
from workers.process.checkpoints import Checkpoints

ROWS = 50_000
THREADS = 16
COMMIT_SECONDS = 5.0
IDLE_SECONDS = 30.0
#: An answer that grows by 200 characters a second, as one of 50 tokens a second does.
PACE, LENGTH = 200, 20_000


def _ms(work: Callable[[], object], *, times: int = 30) -> str:
    work()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1e3)
    return f"{statistics.median(took):.2f} ms at the median, {max(took):.1f} at most"


def measure_tick(rig: RequestRig) -> None:
    """Ticks and sweeps with ROWS waiting and ROWS running requests, none of which is due."""
    rig.fill_with_waiting(ROWS)
    rig.fill_with_running(rig.worker(slots=2 * ROWS), ROWS)
    set_wait_callback(None)  # no limit on a statement's time
    slow = psycopg2.connect(rig.engine.url.render_as_string(hide_password=False).replace("+psycopg2", ""))
    slow.autocommit = True
    slow.cursor().execute("VACUUM ANALYZE")
    slow.close()
    limit_waits()
    rig.ticked()
    tick(rig.engine, stop_patience_seconds=3)  # the only hint that is due
    print(f"tick with {ROWS:,} + {ROWS:,}:", _ms(lambda: tick(rig.engine, stop_patience_seconds=3)))
    asked = rig.ask()
    print("sweep of one waiting page:", _ms(lambda: sweep(rig.engine, [asked.conversation_id], known=[])))
    many = [rig.ask().conversation_id for _ in range(100)]
    print("sweep of 100 waiting pages:", _ms(lambda: sweep(rig.engine, many, known=[])))


def measure_rush(rig: RequestRig) -> None:
    """One tick that ends 500 requests past their deadline."""
    rig.fill_with_waiting(500)
    rig.scalar("WITH u AS (UPDATE chat_request SET deadline_at = now() - interval '1 s' RETURNING 1) SELECT 1")
    began = time.perf_counter()
    expired = rig.tick().expired
    print(f"tick that ends {expired}: {(time.perf_counter() - began) * 1e3:.0f} ms")


def measure_commits(url: str, settings: Settings) -> None:
    """Commits a second of THREADS connections, while somebody listens: telling inside, behind, and not at all."""
    sender = NoticeSender(lambda: make_listening_engine(settings, name="bench-notices"))
    listener = psycopg2.connect(url)
    listener.autocommit = True
    listener.cursor().execute(f"LISTEN {notify.ENDED}")
    told = notify.Notice(notify.ENDED, uuid4(), uuid4())

    def behind() -> None:
        sender.send([notify.Notice(notify.ENDED, uuid4(), told.conversation_id)])

    inside = f", pg_notify('{notify.ENDED}', gen_random_uuid() || ':' || gen_random_uuid())"
    for name, column, after in (
        ("NOTIFY inside", inside, None),
        ("notices behind", "", behind),
        ("silent", "", None),
        ("NOTIFY inside", inside, None),
        ("notices behind", "", behind),
    ):
        print(f"commits a second, {name}: {_commits(url, column, after):,.0f}")
    sender.close()
    listener.close()


def _commits(url: str, column: str, after: Callable[[], None] | None) -> float:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS bench_commits (id int PRIMARY KEY, n int NOT NULL)")
        cursor.execute(
            f"INSERT INTO bench_commits SELECT i, 0 FROM generate_series(1, {THREADS}) i ON CONFLICT DO NOTHING"
        )
    connection.close()
    counts, until = [0] * THREADS, time.monotonic() + COMMIT_SECONDS

    def commit(number: int) -> None:
        own = psycopg2.connect(url)
        own.autocommit = True
        with own.cursor() as cursor:
            while time.monotonic() < until:
                cursor.execute(f"UPDATE bench_commits SET n = n + 1 WHERE id = {number + 1} RETURNING n{column}")
                counts[number] += 1
                if after is not None:
                    after()
        own.close()

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / COMMIT_SECONDS


def _transactions(rig: RequestRig) -> float:
    """Return the transactions a second of the next IDLE_SECONDS, without our own."""
    query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    time.sleep(2)
    before = rig.scalar(query)
    time.sleep(IDLE_SECONDS)
    return float(rig.scalar(query) - before - 1) / IDLE_SECONDS


def measure_idle(stack: Stack, rig: RequestRig) -> None:
    """Transactions a second of an idle web, of each idle worker, and of idle pages."""
    web = stack.start_web()
    alone = _transactions(rig)
    print(f"transactions a second: web alone {alone:.2f}")
    # Each browser may open 20 pages.
    pages = [EventReader(web.url, uuid4(), browser(stack)[1]).open()]
    one = _transactions(rig)
    print(f"  one idle page {one - alone:+.2f}")
    pages += [EventReader(web.url, uuid4(), browser(stack)[1]).open() for _ in range(99)]
    print(f"  100 idle pages {_transactions(rig) - alone:+.2f}")
    for page in pages:
        page.close()
    stack.start_simulator()
    stack.start_worker()
    first = _transactions(rig)
    for _ in range(2):
        stack.start_worker()
    three = _transactions(rig)
    print(f"  web and 1 worker {first:.2f} ({first - alone:+.2f})")
    print(f"  web and 3 workers {three:.2f} ({(three - first) / 2:+.2f} for each more)")


def measure_wal(rig: RequestRig) -> None:
    """The write-ahead log of one answer's checkpoints."""
    claimed = rig.running()
    now, words = [1000.0], [""]
    live = SimpleNamespace(text=lambda: words[0])
    answer = SimpleNamespace(claimed=claimed, live=live)
    context = SimpleNamespace(
        settings=Settings(), running=SimpleNamespace(answers=lambda: [answer]), publisher=SimpleNamespace(healthy=True)
    )
    vars(checkpoints_module)["time"] = SimpleNamespace(monotonic=lambda: now[0])
    checkpoints, letters = Checkpoints(cast("Any", context)), "the quick brown fox jumps over a lazy dog, again? "
    rig.scalar("SELECT pg_switch_wal()")
    before, writes = rig.scalar("SELECT pg_current_wal_insert_lsn()"), 0
    while len(words[0]) < LENGTH:
        words[0] += "".join(sorted(letters, key=lambda _: uuid4().int)) * (PACE // len(letters))
        live.length = len(words[0])
        now[0] += 1.0
        if now[0] >= checkpoints.due_at:
            with rig.begin() as connection:
                checkpoints.write(connection, claimed.worker_id)
            writes += 1
    wal = rig.scalar(f"SELECT pg_current_wal_insert_lsn() - '{before}'")
    print(f"WAL of {writes} rounds over {LENGTH:,} characters: {float(wal) / 1024:.0f} KiB")


def measure_fleet(rig: RequestRig) -> None:
    """The page's look at a fleet of 250 workers."""
    for _ in range(250):
        rig.worker()
    print(f"fleet of 250: {fleet.fleet(rig.engine).live_workers} counted;", _ms(lambda: fleet.fleet(rig.engine)))


def _measure(name: str, servers: Servers, folder: Path) -> None:
    url = servers.postgres_server.url
    migrate(url)
    settings = load_settings({"DATABASE_URL": url, "REDIS_URL": servers.redis_server.url})
    stack, engine = Stack(folder / "logs", url, settings.redis_url, servers), make_engine(settings, name="still")
    rig = RequestRig(engine)
    try:
        if name == "commits":
            measure_commits(url, settings)
        elif name == "idle":
            measure_idle(stack, rig)
        else:
            {"tick": measure_tick, "rush": measure_rush, "wal": measure_wal, "fleet": measure_fleet}[name](rig)
    finally:
        engine.dispose()
        stack.close()


def main() -> int:
    """Run the named measurements, or all."""
    for name in sys.argv[1:] or ["tick", "rush", "commits", "idle", "wal", "fleet"]:
        with tempfile.TemporaryDirectory(prefix="naru-still-") as folder:
            servers = Servers(Path(folder))
            try:
                _measure(name, servers, Path(folder))
            finally:
                servers.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
