"""Faults of Redis and of the way to it: killed, away, flushed, hanging, full, cut; and streams that are trimmed."""

from __future__ import annotations

import shutil
import time

from redis import Redis, RedisError

from tests.faults.fault import fault
from tests.faults.rig import Shape
from tests.faults.shot import Shot
from tests.redis_refusals import refusing

WORK = "Redis is back → a new question's first word"
LINES = Shape(proxied=("worker.redis", "web.redis"))


def new_work(shot: Shot) -> None:
    """A question asked now: how long until its first word; the recovery of everything that is about new work."""
    shot.strike()
    asked = shot.ask(2, shot.words(tokens=45, pace=30, first=0.05))
    shot.see_ends(asked)
    shot.recovered_by_text(asked)


def ask_for(shot: Shot, *, seconds: float) -> None:
    """A question each half second for so long; how long each took to be accepted."""
    shot.strike()
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        shot.ask(1, shot.words(tokens=20))
        shot.rig.sleep(0.5)
    shot.note_accepts()


@fault(8, "Redis killed and started again", recovery=WORK)
def killed(shot: Shot) -> None:
    """kill -9, 4 s away, empty or with what its file had; half of the shots with answers under way."""
    running = shot.ask(5, shot.words(tokens=200, pace=30)) if shot.index % 2 else []
    shot.see_text(running, tokens=shot.rng.randint(1, 50))
    shot.rig.servers.redis.kill()
    ask_for(shot, seconds=4)
    if shot.index % 4 < 2:
        shutil.rmtree(shot.rig.servers.redis_server.data / "appendonlydir", ignore_errors=True)
    shot.rig.servers.start_redis()
    new_work(shot)
    shot.see_ends(shot.asked)


@fault(9, "Redis away for 60 s", recovery=WORK, times=5)
def away(shot: Shot) -> None:
    """Stopped in order; questions all the time."""
    running = shot.ask(5, shot.words(tokens=300, pace=30))
    shot.see_text(running)
    shot.rig.servers.stop_redis()
    ask_for(shot, seconds=60)
    shot.rig.servers.start_redis()
    new_work(shot)
    shot.see_ends(shot.asked)


@fault(10, "FLUSHALL again and again under load", recovery="flush → the next words of each answer")
def flushed(shot: Shot) -> None:
    """Streams, hints and bindings gone at once, three times, with answers and waiting questions."""
    asked = shot.ask(6, shot.words(tokens=240, pace=30))
    shot.see_text(asked, tokens=3)
    for _ in range(3):
        shot.strike()
        with shot.rig.stack.redis_client() as client:
            client.flushall()
        more = shot.ask(2, shot.words(tokens=10, pace=50))
        shot.rig.sleep(shot.rng.uniform(0.5, 2))
        shot.recovered_by_text(asked)
        shot.see_ends(more)
    shot.see_ends(asked)


@fault(11, "Redis hangs for 30 s", recovery=WORK, times=20)
def frozen(shot: Shot) -> None:
    """SIGSTOP: connections stay, nothing answers; questions all the time."""
    running = shot.ask(5, shot.words(tokens=300, pace=30))
    shot.see_text(running)
    shot.rig.servers.redis.freeze()
    ask_for(shot, seconds=30)
    shot.rig.servers.redis.thaw()
    new_work(shot)
    shot.see_ends(shot.asked)


@fault(12, "TCP reset of every connection to Redis", recovery="reset → a new question's first word", shape=LINES)
def reset(shot: Shot) -> None:
    """By CLIENT KILL, and by a proxy between, in turn; nothing may start twice."""
    asked = shot.ask(6, shot.words(tokens=150, pace=30))
    shot.see_text(asked, tokens=shot.rng.randint(1, 60))
    if shot.index % 2:
        for proxy in shot.rig.proxies.values():
            proxy.reset()
    else:
        with shot.rig.stack.redis_client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal")
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    new_work(shot)
    shot.see_ends(asked)


@fault(13, "half-open connections to Redis", recovery="cut → a new question's first word", times=5, shape=LINES)
def half_open(shot: Shot) -> None:
    """Redis has forgotten the connections, the processes have not; and when the worker reads hints again."""
    asked = shot.ask(4, shot.words(tokens=150, pace=30))
    shot.see_text(asked)
    cut = time.monotonic()
    for proxy in shot.rig.proxies.values():
        proxy.forget()
    new_work(shot)
    with shot.rig.stack.redis_client() as client:
        shot.rig.wait(
            lambda: readers(client) >= shot.rig.shape.workers, seconds=120, what="the workers read hints again"
        )
    shot.figures["hints are read again"].append(time.monotonic() - cut)
    shot.see_ends(asked)


def readers(client: Redis) -> int:
    """How many connections wait for hints."""
    try:
        return sum(each["cmd"] == "brpop" for each in client.client_list())
    except RedisError:
        return 0


@fault(14, "Redis out of memory for 15 s", recovery="memory is back → a new question's first word")
def full(shot: Shot) -> None:
    """maxmemory 1 with noeviction: every write is refused."""
    running = shot.ask(5, shot.words(tokens=300, pace=30))
    shot.see_text(running)
    with shot.rig.stack.redis_client() as client:
        client.config_set("maxmemory", 1)
        try:
            ask_for(shot, seconds=15)
        finally:
            client.config_set("maxmemory", 0)
    new_work(shot)
    shot.see_ends(shot.asked)


@fault(
    44,
    "Redis answers and refuses writes for 15 s: a replica, or it cannot save",
    recovery="Redis takes writes → a new question's first word",
)
def refuses_writes(shot: Shot) -> None:
    """PING succeeds all the time. Fault 14 is the third way, a full memory."""
    how = ("replica", "cannot save")[shot.index % 2]
    running = shot.ask(5, shot.words(tokens=300, pace=30))
    shot.see_text(running)
    with shot.rig.stack.redis_client() as client, refusing(client, shot.rig.servers.redis_server.data, how):
        ask_for(shot, seconds=15)
    new_work(shot)
    shot.see_ends(shot.asked)


@fault(29, "live stream trimmed, deleted, expired", recovery="cut → the next words of each answer")
def trimmed(shot: Shot) -> None:
    """XTRIM to nothing or to ten, DEL, and a page that is loaded again in the hole."""
    asked = shot.ask(4, shot.words(tokens=150, pace=30))
    shot.see_text(asked, tokens=20)
    shot.strike()
    with shot.rig.stack.redis_client() as client:
        for each in asked:
            key = f"naru:live:{each.request}"
            if shot.index % 3 == 0:
                client.xtrim(key, maxlen=10, approximate=False)
            elif shot.index % 3 == 1:
                client.delete(key)
            else:
                client.xtrim(key, maxlen=0)
    shot.rig.do(asked[0].page.reload())
    shot.rig.sleep(1)
    shot.recovered_by_text(asked)
    shot.see_ends(asked)
