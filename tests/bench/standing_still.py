"""What standing still costs: ticks, sweeps, commits that tell, idle pages, idle workers, checkpoints.

Run it by hand, on a quiet machine; docs/decisions/0036 has the figures before and after:

    python -m tests.bench.standing_still [tick] [rush] [commits] [idle] [wal] [fleet]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import psycopg2
from psycopg2.extensions import set_wait_callback

from deploy.embedded.postgres import programs
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
CONNECTIONS = 16
COMMIT_SECONDS = 2
COMMIT_ROUNDS = 6
IDLE_SECONDS = 15.0
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
    """Ticks and sweeps with ROWS waiting and ROWS running requests in a lane that is full."""
    rig.serve("demo", room=4)
    rig.fill_with_queued(ROWS)
    rig.fill_with_running(rig.worker(slots=2 * ROWS), ROWS)
    set_wait_callback(None)  # no limit on a statement's time
    slow = psycopg2.connect(rig.engine.url.render_as_string(hide_password=False).replace("+psycopg2", ""))
    slow.autocommit = True
    slow.cursor().execute("VACUUM ANALYZE")
    slow.close()
    limit_waits()
    rig.ticked()
    print(f"tick with {ROWS:,} + {ROWS:,}:", _ms(lambda: tick(rig.engine, stop_patience_seconds=3, lease_seconds=6)))
    asked = rig.ask()
    print("sweep of one waiting page:", _ms(lambda: sweep(rig.engine, [asked.conversation_id], known=[])))
    many = [rig.ask().conversation_id for _ in range(100)]
    print("sweep of 100 waiting pages:", _ms(lambda: sweep(rig.engine, many, known=[])))


def measure_rush(rig: RequestRig) -> None:
    """One tick that ends 500 requests past their deadline."""
    rig.fill_with_queued(500)
    rig.scalar("WITH u AS (UPDATE chat_request SET deadline_at = now() - interval '1 s' RETURNING 1) SELECT 1")
    began = time.perf_counter()
    expired = rig.tick().expired
    print(f"tick that ends {expired}: {(time.perf_counter() - began) * 1e3:.0f} ms")


def measure_commits(servers: Servers, folder: Path) -> None:
    """Commits a second of CONNECTIONS connections while somebody listens: NOTIFY inside, notices behind, neither.

    The server writes to the disk, as in production. "Behind", a sender gets 5,000 notices a second meanwhile.
    """
    servers.stop_postgres()
    servers.postgres_server = replace(servers.postgres_server, durable=True)
    servers.start_postgres()
    url = servers.postgres_server.url
    listener = psycopg2.connect(url)
    listener.autocommit = True
    with listener.cursor() as cursor:
        cursor.execute("CREATE TABLE bench_commits (id int PRIMARY KEY, n int)")
        cursor.execute(f"INSERT INTO bench_commits SELECT i, 0 FROM generate_series(0, {CONNECTIONS}) i")
        cursor.execute(f"LISTEN {notify.ENDED}")
    inside = f", pg_notify('{notify.ENDED}', gen_random_uuid() || ':' || gen_random_uuid())"
    for _ in range(COMMIT_ROUNDS):
        before = _commits(url, folder, inside)
        with _sending(url):
            behind = _commits(url, folder, "")
        neither = _commits(url, folder, "")
        print(
            f"commits a second: NOTIFY inside {before:,.0f}, notices behind {behind:,.0f} "
            f"({behind / before:.1f} times), neither {neither:,.0f}"
        )
    listener.close()


@contextmanager
def _sending(url: str) -> Iterator[None]:
    settings, is_over = load_settings({"DATABASE_URL": url}), threading.Event()
    sender = NoticeSender(lambda: make_listening_engine(settings, name="bench-notices"))

    def feed() -> None:
        while not is_over.wait(0.005):
            sender.send([notify.Notice(notify.ENDED, uuid4(), uuid4()) for _ in range(25)])

    feeding = threading.Thread(target=feed)
    feeding.start()
    yield
    is_over.set()
    feeding.join()
    sender.close()


def _commits(url: str, folder: Path, column: str) -> float:
    script = folder / "commit.sql"
    script.write_text(f"UPDATE bench_commits SET n = n + 1 WHERE id = :client_id RETURNING n{column};\n")
    words = f"-n -M prepared -c {CONNECTIONS} -j 2 -T {COMMIT_SECONDS} -f".split()
    done = subprocess.run(
        [str(programs() / "pgbench"), *words, str(script), url], check=True, capture_output=True, text=True, timeout=60
    )
    return float(done.stdout.split("tps = ")[1].split()[0])


def _transactions(rig: RequestRig) -> float:
    """Return the transactions a second of the next IDLE_SECONDS, without our own."""
    query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    time.sleep(6)
    before = rig.scalar(query)
    time.sleep(IDLE_SECONDS)
    return float(rig.scalar(query) - before - 1) / IDLE_SECONDS


def measure_idle(stack: Stack, rig: RequestRig) -> None:
    """Transactions a second of an idle web, of each idle worker, and of idle pages, with the default intervals."""
    usual = Settings()
    names = ("lease_seconds", "renew_seconds", "stall_seconds", "tick_seconds")
    stack.configure(**{name: getattr(usual, name) for name in names})
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
            measure_commits(servers, folder)
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
