"""The nemesis: random faults at seeded moments while people keep asking. Each strike repairs what it broke.

A strike is a function of the rig and the random generator. `checker.py` judges the outcome.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable

import psycopg2
from redis import RedisError

from deploy.embedded import processes
from shared.queue import Dispatcher
from tests.faults.rig import Rig, Shape

Strike = Callable[[Rig, random.Random], None]

#: All connections go through proxies, so that any of them can be cut.
LINES = ("worker.postgres", "worker.redis", "worker.provider", "web.postgres", "web.redis")
STRIKES: dict[str, Strike] = {}
#: Fault 16 covers longer outages of Postgres.
LONGEST_SECONDS = 8.0


def shape_of(*, workers: int, webs: int, **settings: object) -> Shape:
    """Return the shape of a rig that the nemesis can strike."""
    return Shape(workers=workers, webs=webs, proxied=LINES, settings=settings)


def strike(name: str) -> Callable[[Strike], Strike]:
    """Register a strike under its name."""

    def enter(function: Strike) -> Strike:
        STRIKES[name] = function
        return function

    return enter


class Nemesis:
    """A series of random strikes, and its log."""

    def __init__(self, rig: Rig, dice: random.Random, *, pauses: tuple[float, float]) -> None:
        self._rig, self._dice, self._pauses = rig, dice, pauses
        self.struck: Counter[str] = Counter()
        self.log: list[tuple[float, str]] = []

    def rage(self, *, seconds: float) -> None:
        """Run all strikes in a shuffled order, again and again, until the time is over."""
        limit, order = time.monotonic() + seconds, list[str]()
        while time.monotonic() < limit:
            self._rig.sleep(self._dice.uniform(*self._pauses))
            if not order:
                order = self._dice.sample(sorted(STRIKES), len(STRIKES))
            name = order.pop()
            self.log.append((time.time(), name))
            self.struck[name] += 1
            STRIKES[name](self._rig, self._dice)


def _for_a_while(rig: Rig, dice: random.Random, least: float = 1.0, most: float = LONGEST_SECONDS) -> None:
    rig.sleep(dice.uniform(least, most))


@strike("worker killed")
def kill_worker(rig: Rig, dice: random.Random) -> None:
    """Kill a worker with SIGKILL, and start another."""
    rig.kill(dice.choice(rig.workers))


@strike("worker frozen")
def freeze_worker(rig: Rig, dice: random.Random) -> None:
    """Freeze a worker for longer or shorter than its lease."""
    worker = dice.choice(rig.workers)
    worker.freeze()
    _for_a_while(rig, dice, 2, 10)
    if worker.running:
        worker.thaw()


@strike("worker terminated")
def drain_worker(rig: Rig, dice: random.Random) -> None:
    """Start another worker and drain this one, as a deploy does."""
    worker = dice.choice(rig.workers)
    rig.start_worker(ready=False)
    rig.let_go(worker)


@strike("web killed")
def kill_web(rig: Rig, dice: random.Random) -> None:
    """Kill a web process, and start another. Its pages reconnect elsewhere."""
    rig.kill(dice.choice(rig.webs))


@strike("web frozen")
def freeze_web(rig: Rig, dice: random.Random) -> None:
    """Freeze and thaw a web process (SIGSTOP, SIGCONT)."""
    web = dice.choice(rig.webs)
    web.freeze()
    _for_a_while(rig, dice, 1, 4)
    if web.running:
        web.thaw()


@strike("Redis killed")
def kill_redis(rig: Rig, dice: random.Random) -> None:
    """Kill Redis, and restart it with the data that it has saved."""
    rig.servers.redis.kill()
    _for_a_while(rig, dice, 0.2, 5)
    rig.servers.start_redis()


@strike("Redis frozen")
def freeze_redis(rig: Rig, dice: random.Random) -> None:
    """Freeze Redis: connections stay open, but nothing is answered."""
    rig.servers.redis.freeze()
    _for_a_while(rig, dice)
    rig.servers.redis.thaw()


@strike("Redis flushed")
def flush_redis(rig: Rig, _: random.Random) -> None:
    """Delete all data in Redis (FLUSHALL)."""
    with rig.stack.redis_client() as client:
        client.flushall()


@strike("Redis connections killed")
def kill_redis_connections(rig: Rig, _: random.Random) -> None:
    """Close every connection of Redis (CLIENT KILL)."""
    with rig.stack.redis_client() as client:
        for kind in ("normal", "pubsub"):
            try:
                client.execute_command("CLIENT", "KILL", "TYPE", kind)
            except RedisError:
                return


@strike("Postgres restarted as after a crash")
def restart_postgres(rig: Rig, dice: random.Random) -> None:
    """Stop Postgres without a checkpoint (SIGQUIT), and restart it."""
    server = rig.servers.postgres
    processes.send(server.pid, signal.SIGQUIT)
    server.wait()
    _for_a_while(rig, dice, 0.1, 5)
    rig.servers.start_postgres()


@strike("Postgres frozen")
def freeze_postgres(rig: Rig, dice: random.Random) -> None:
    """Freeze Postgres with the processes of all connections."""
    rig.servers.postgres.freeze()
    time.sleep(dice.uniform(1, 6))
    rig.servers.postgres.thaw()


@strike("Postgres connections ended")
def terminate_backends(rig: Rig, _: random.Random) -> None:
    """Terminate all of Naru's backends (pg_terminate_backend)."""
    try:
        rig.ask_rows(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND application_name LIKE 'naru%'"
        )
    except psycopg2.Error:
        return


@strike("lines reset")
def reset_lines(rig: Rig, dice: random.Random) -> None:
    """Reset every TCP connection of two proxies."""
    for name in dice.sample(sorted(rig.proxies), 2):
        rig.proxies[name].reset()


@strike("line silent")
def silence_line(rig: Rig, dice: random.Random) -> None:
    """Hold back all bytes of a proxy, then deliver them at once."""
    proxy = rig.proxies[dice.choice(sorted(rig.proxies))]
    proxy.black_hole()
    _for_a_while(rig, dice)
    proxy.pass_all()


@strike("line cut in the middle")
def cut_line(rig: Rig, dice: random.Random) -> None:
    """Reset connections after a random number of bytes from the server, in the middle of replies and words."""
    for _ in range(5):
        rig.proxies[dice.choice(sorted(rig.proxies))].set(cut_after=dice.randint(1, 3000))
        rig.sleep(0.3)
    for proxy in rig.proxies.values():
        proxy.pass_all()


@strike("line half closed")
def half_close_line(rig: Rig, dice: random.Random) -> None:
    """Send FIN to the client on every connection of a proxy."""
    rig.proxies[dice.choice(sorted(rig.proxies))].half_close()


@strike("line slow")
def slow_line(rig: Rig, dice: random.Random) -> None:
    """Delay each piece of data by 50 to 400 ms."""
    proxy = rig.proxies[dice.choice(sorted(rig.proxies))]
    proxy.set(delay_seconds=dice.uniform(0.05, 0.4))
    _for_a_while(rig, dice)
    proxy.pass_all()


@strike("hints doubled")
def double_hints(rig: Rig, dice: random.Random) -> None:
    """Send ten more hints for each queued or running request, up to 50 requests."""
    try:
        rows = rig.ask_rows("SELECT lane FROM chat_request WHERE status IN ('queued', 'running') LIMIT 50")
    except psycopg2.Error:
        return
    dispatcher = Dispatcher(rig.stack.settings)
    for row in [row for row in rows for _ in range(10)]:
        dispatcher.send(row.lane)
    rig.sleep(0.5)
    dispatcher.close()
