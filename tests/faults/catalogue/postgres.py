"""Faults of Postgres and of the way to it: restarted, away, dark, slow, crowded, full, read-only, without ticks."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psycopg2
from psycopg2 import sql

from deploy.embedded import processes
from tests.faults.fault import CannotInject, fault
from tests.faults.proxy import STORES, Trap
from tests.faults.rig import Shape
from tests.faults.shot import Shot

BACK = "Postgres is back → a new question's first word"
LINES = Shape(proxied=("worker.postgres", "web.postgres"))
#: A tmpfs of this size holds the whole cluster and can be filled.
SMALL = Shape(disk_megabytes=400)


def new_work(shot: Shot) -> None:
    """A question asked now: how long until its first word."""
    shot.strike()
    new = shot.ask(2, shot.words(tokens=45, pace=30, first=0.05))
    shot.see_ends(new)
    shot.recovered_by_text(new)


@fault(15, "Postgres restarted without a checkpoint, also within COMMIT", recovery=BACK, shape=LINES)
def restarted(shot: Shot) -> None:
    """With answers under way and questions being asked; no answer may begin again, no refused question be answered."""
    asked = shot.ask(6, shot.words(tokens=150, pace=30))
    shot.see_text(asked, tokens=shot.rng.randint(1, 60))
    shot.strike()
    trap = None
    if shot.index % 2:
        # The first commit of a question reaches Postgres (or, every other time, does not); its reply reaches nobody.
        trap = Trap(STORES, forward=shot.index % 4 == 1)
        shot.rig.proxies["web.postgres"].set(trap=trap)
    more = shot.rig.crowd.start(shot._ask(6, shot.words(tokens=20), {"again": shot.index % 3 == 0}))
    if trap is not None:
        shot.rig.wait(trap.sprung.is_set, seconds=20, what="a question is being committed")
    shot.rig.sleep(shot.rng.uniform(0, 0.02))
    server = shot.rig.servers.postgres
    processes.send(server.pid, signal.SIGQUIT)
    server.wait()
    shot.rig.sleep(shot.rng.choice([0, 2, 10]))
    shot.rig.servers.start_postgres()
    new_work(shot)
    shot.asked += more.result(90)
    shot.see_ends(shot.asked)
    shot.figures["answers begun again"].append(float(shot.restarts(asked)))


@fault(16, "Postgres away for 30 and 60 s, slow, away for 150 s", recovery=BACK, times=8, shape=LINES, patience=180)
def away(shot: Shot) -> None:
    """The answers under way go on and wait to be stored; 150 s is longer than they may wait (120 s)."""
    asked = shot.ask(6, shot.words(tokens=240, pace=30))
    shot.see_text(asked, tokens=10)
    kind = shot.index % 4
    if kind == 2:
        for proxy in shot.rig.proxies.values():
            proxy.set(delay_seconds=0.5)
        shot.rig.sleep(30)
        for proxy in shot.rig.proxies.values():
            proxy.pass_all()
    else:
        shot.rig.servers.stop_postgres()
        shot.rig.sleep((30, 60, 0, 150)[kind])
        shot.rig.servers.start_postgres()
    new_work(shot)
    shot.see_ends(asked, seconds=120)
    shot.figures["answers begun again " + ("(30 s)", "(60 s)", "(slow)", "(150 s)")[kind]].append(
        float(shot.restarts(asked))
    )


@fault(
    17, "Postgres without connections, and with a full disk", recovery="room → a new question's first word", shape=SMALL
)
def crowded(shot: Shot) -> None:
    """Refused in words, nothing stored by half; the answers under way are stored afterwards."""
    asked = shot.ask(4, shot.words(tokens=150, pace=30))
    shot.see_text(asked)
    if shot.index % 2:
        _without_connections(shot)
    else:
        _with_a_full_disk(shot)
    new_work(shot)
    shot.see_ends(asked)


def _without_connections(shot: Shot) -> None:
    taken = []
    try:
        with contextlib.suppress(psycopg2.OperationalError):
            while True:
                taken.append(psycopg2.connect(shot.rig.servers.postgres_server.url))
        with taken[0].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'naru%'")
            taken[0].commit()
        with contextlib.suppress(psycopg2.OperationalError):
            while True:
                taken.append(psycopg2.connect(shot.rig.servers.postgres_server.url))
        shot.ask(4, shot.words(tokens=20), again=False)
        shot.rig.sleep(3)
    finally:
        for each in taken:
            each.close()


def _with_a_full_disk(shot: Shot) -> None:
    filler = shot.rig.disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    try:
        for _ in range(4):
            shot.ask(6, shot.words(tokens=20) + "y" * 20_000, again=False)
        shot.rig.sleep(2)
    finally:
        filler.unlink()
    if not os.statvfs(shot.rig.disk).f_bavail:
        raise CannotInject("the disk could not be filled and emptied again")


@fault(
    27, "no reconciler for 40 s, then all of them", recovery="ticks are back → the lost worker's answers begin again"
)
def without_ticks(shot: Shot) -> None:
    """Somebody holds the ticks' lock: the normal path works, a killed worker's answers wait; then all tick at once."""
    lock = psycopg2.connect(shot.rig.servers.postgres_server.url)
    with lock.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(62781)")
        lock.commit()
        asked = shot.ask(4, shot.words(tokens=300, pace=30))
        shot.see_text(asked)
        shot.rig.kill(shot.rig.runner_of(asked[0].request))
        limit = time.monotonic() + (40 if shot.index == 0 else 12)
        while time.monotonic() < limit:
            shot.see_ends(shot.ask(1, shot.words(tokens=10, pace=50)))
            shot.rig.sleep(1)
        shot.strike()
        cursor.execute("SELECT pg_advisory_unlock(62781)")
        lock.commit()
    lock.close()
    shot.see_ends(asked)
    shot.recovered_by_attempts(asked)


@fault(
    41,
    "Postgres's address dark for 10, 20 and 60 s; workers and web return at different times",
    recovery="the address answers again → a new question's first word",
    times=12,
    shape=Shape(workers=4, proxied=("worker.postgres", "web.postgres")),
    patience=180,
)
def dark(shot: Shot) -> None:
    """No packet passes, and the open connections stay half-open, as in a failover or behind a cut network."""
    seconds = (10, 20, 60)[shot.index % 3]
    asked = shot.ask(12, shot.words(tokens=30 * seconds, pace=25))
    shot.see_text(asked, tokens=10)
    began = time.time()
    ways = list(shot.rig.proxies.values())
    for way in ways:
        way.black_hole()
        way.forget()
    shot.rig.sleep(seconds)
    shot.rng.shuffle(ways)
    ways[0].pass_all()
    shot.rig.sleep(shot.rng.choice([0, 2, 5]))
    ways[1].pass_all()
    new_work(shot)
    shot.see_ends(asked, seconds=180)
    shot.expect_no_harm(asked, began=began, kind=f"{seconds} s")


@fault(
    42,
    "Postgres read-only for 3, 10 and 20 s, then writable for new sessions",
    recovery="writable again → a new question's first word",
    times=12,
    shape=Shape(workers=4),
    patience=120,
)
def read_only(shot: Shot) -> None:
    """The old sessions refuse writes for ever, as after an address has moved from a former primary to the new one."""
    seconds = (3, 10, 20)[shot.index % 3]
    asked = shot.ask(12, shot.words(tokens=30 * seconds + 300, pace=25))
    shot.see_text(asked, tokens=10)
    began = time.time()
    writable = psycopg2.connect(shot.rig.servers.postgres_server.url, options="-c default_transaction_read_only=off")
    writable.autocommit = True
    with contextlib.closing(writable), writable.cursor() as cursor:
        database = sql.Identifier(writable.info.dbname)
        cursor.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database))
        cursor.execute(_END_SESSIONS)
        shot.rig.sleep(seconds)
        cursor.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(database))
    new_work(shot)
    shot.see_ends(asked, seconds=120)
    shot.expect_no_harm(asked, began=began, kind=f"{seconds} s")


@fault(
    43,
    "Postgres without a free connection for 20 s, the leases' own connections cut",
    recovery="connections are free again → a new question's first word",
    times=10,
    shape=Shape(workers=4),
    patience=120,
)
def full(shot: Shot) -> None:
    """The pools keep what they have; each worker keeps its lease over them."""
    asked = shot.ask(12, shot.words(tokens=900, pace=25))
    shot.see_text(asked, tokens=10)
    began, taken = time.time(), []
    try:
        for _ in range(2):
            with contextlib.suppress(psycopg2.OperationalError):
                while True:
                    taken.append(psycopg2.connect(shot.rig.servers.postgres_server.url))
            with taken[0].cursor() as cursor:
                cursor.execute(_END_LEASES)
                taken[0].commit()
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            with contextlib.suppress(psycopg2.OperationalError):
                taken.append(psycopg2.connect(shot.rig.servers.postgres_server.url))
            shot.rig.sleep(0.05)
    finally:
        for each in taken:
            each.close()
    new_work(shot)
    shot.see_ends(asked, seconds=120)
    shot.expect_no_harm(asked, began=began, kind="20 s")


_END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'naru%'"
_END_LEASES = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'naru-worker-lease'"
