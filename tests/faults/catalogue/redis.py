"""Faults of Redis and of the way to it: killed, flushed, hanging, cut."""

from __future__ import annotations

import shutil

from tests.faults.fault import fault
from tests.faults.rig import Shape
from tests.faults.shot import Shot


def forget_data(shot: Shot) -> None:
    """What the next start finds: nothing."""
    shutil.rmtree(shot.rig.servers.redis_server.data / "appendonlydir", ignore_errors=True)


def new_work(shot: Shot) -> None:
    """A question asked now: how long until its first word; the recovery of everything that is about new work."""
    shot.strike()
    asked = shot.ask(2, shot.words(tokens=45, pace=30, first=0.05))
    shot.see_ends(asked)
    shot.recovered_by_text(asked)


@fault(8, "Redis killed and started again empty", recovery="Redis is back → a new question's first word")
def killed(shot: Shot) -> None:
    """kill -9, 4 s away, empty; half of the shots with answers under way."""
    running = shot.ask(5, shot.words(tokens=200, pace=30)) if shot.index % 2 else []
    shot.see_text(running, tokens=shot.rng.randint(1, 50))
    shot.strike()
    shot.rig.servers.redis.kill()
    asked = shot.ask(3, shot.words(tokens=20))
    shot.note_accepts()
    shot.rig.sleep(4)
    if shot.index % 4 < 2:
        forget_data(shot)
    shot.rig.servers.start_redis()
    new_work(shot)
    shot.see_ends([*running, *asked])


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


@fault(
    12,
    "TCP reset of every connection to Redis",
    recovery="reset → a new question's first word",
    shape=Shape(proxied=("worker.redis", "web.redis")),
)
def reset(shot: Shot) -> None:
    """By CLIENT KILL, and by a proxy between, in turn; nothing may start twice."""
    asked = shot.ask(6, shot.words(tokens=150, pace=30))
    shot.see_text(asked, tokens=shot.rng.randint(1, 60))
    if shot.index % 2:
        shot.rig.proxies["worker.redis"].reset()
        shot.rig.proxies["web.redis"].reset()
    else:
        with shot.rig.stack.redis_client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal")
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    new_work(shot)
    shot.see_ends(asked)
