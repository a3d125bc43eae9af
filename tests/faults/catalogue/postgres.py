"""Faults of Postgres and of the way to it: restarted, away, full, slow."""

from __future__ import annotations

import signal

from deploy.local import processes
from tests.faults.fault import fault
from tests.faults.shot import Shot


def immediate_restart(shot: Shot, *, away_seconds: float) -> None:
    """`pg_ctl -m immediate restart`: no checkpoint, no goodbye; crash recovery at the start."""
    server = shot.rig.servers.postgres
    processes.send(server.pid, signal.SIGQUIT)
    server.wait()
    shot.rig.sleep(away_seconds)
    shot.rig.servers.start_postgres()


@fault(
    15, "Postgres restarted at once, without a checkpoint", recovery="Postgres is back → a new question's first word"
)
def restarted(shot: Shot) -> None:
    """With answers under way and questions being asked; no answer may begin again for it."""
    asked = shot.ask(6, shot.words(tokens=150, pace=30))
    shot.see_text(asked, tokens=shot.rng.randint(1, 60))
    shot.strike()
    more = shot.rig.crowd.start(shot._ask(6, shot.words(tokens=20), {}))
    shot.rig.sleep(shot.rng.uniform(0, 0.02))
    immediate_restart(shot, away_seconds=shot.rng.choice([0, 2, 10]))
    shot.strike()
    new = shot.ask(2, shot.words(tokens=10, pace=50, first=0.05))
    shot.see_ends(new)
    shot.recovered_by_text(new)
    shot.asked += more.result(90)
    shot.see_ends(shot.asked)
