"""Faults of workers: killed, frozen, stuck, told to go."""

from __future__ import annotations

from tests.faults.fault import fault
from tests.faults.shot import Shot


@fault(1, "worker killed in mid-answer", recovery="kill → the page shows the new attempt")
def killed(shot: Shot) -> None:
    """kill -9 before the first word, at it, in the middle, near the end, in turn; others run beside."""
    asked = shot.ask(6, shot.words(tokens=90, pace=30, first=0.5))
    tokens = (0, 1, 30, 80)[shot.index % 4]
    if tokens:
        shot.see_text(asked, tokens=tokens)
    victim = shot.rig.runner_of(asked[0].request)
    shot.strike()
    shot.rig.kill(victim)
    shot.see_ends(asked)
    shot.recovered_by_attempts(asked)


@fault(5, "worker frozen for 25 s, then thawed", recovery="freeze → the page shows the new attempt")
def frozen(shot: Shot) -> None:
    """SIGSTOP, so that it wakes in the belief that nothing happened; it must not write."""
    asked = shot.ask(6, shot.words(tokens=90, pace=30))
    shot.see_text(asked, tokens=shot.rng.randint(1, 60))
    victim = shot.rig.runner_of(asked[0].request)
    shot.strike()
    victim.freeze()
    shot.rig.sleep(25)
    victim.thaw()
    shot.see_ends(asked)
    shot.recovered_by_attempts(asked)
    shot.rig.sleep(2)  # the thawed worker's own writes, if it tries any


@fault(4, "hint lost between Redis and the worker", recovery="question → its first word")
def brpop_window(shot: Shot) -> None:
    """SIGSTOP of the only worker that could take it, publish, kill -9: BRPOP has destroyed the message."""
    for worker in shot.rig.workers:
        worker.freeze()
    shot.strike()
    asked = shot.ask(3, shot.words(tokens=20, pace=40), seconds=5)
    shot.rig.sleep(0.3)
    for worker in shot.rig.workers:
        shot.rig.kill(worker)
    shot.see_ends(asked)
    shot.recovered_by_text(asked)
