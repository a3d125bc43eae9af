"""Faults of the network between all parts at once."""

from __future__ import annotations

import time

from tests.faults.fault import fault
from tests.faults.rig import Shape
from tests.faults.shot import Shot

EVERY_WAY = ("worker.postgres", "worker.redis", "worker.provider", "web.postgres", "web.redis")


@fault(
    47,
    "slow network for 30 s: 100 ms each way, 1 % of the packets lost",
    recovery="question on the slow network → its first word",
    times=10,
    shape=Shape(proxied=EVERY_WAY),
    patience=120,
)
def slow(shot: Shot) -> None:
    """Everything takes longer; no worker counts as lost, and no answer begins again."""
    asked = shot.ask(6, shot.words(tokens=600, pace=30))
    shot.see_text(asked, tokens=10)
    began = time.time()
    for way in shot.rig.proxies.values():
        way.set(delay_seconds=0.1, loss=0.01)
    shot.strike()
    new = []
    for _ in range(10):
        new += shot.ask(2, shot.words(tokens=20))
        shot.rig.sleep(3)
    shot.note_accepts()
    shot.see_ends(new)
    shot.recovered_by_text(new[:2])
    for way in shot.rig.proxies.values():
        way.pass_all()
    shot.see_ends(asked)
    shot.expect_no_harm([*asked, *new], began=began, kind="30 s")
