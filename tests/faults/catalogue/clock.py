"""Faults of clocks: a worker or a web process whose clock is wrong by minutes, or jumps. By libfaketime."""

from __future__ import annotations

from pathlib import Path

from tests.faults.fault import CannotInject, fault
from tests.faults.rig import Shape
from tests.faults.shot import Shot

LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
)


def skewed(seconds: int | Path) -> dict[str, str]:
    """The environment of a process whose clock is wrong by so much, or by what stands in a file."""
    library = next((each for each in LIBRARIES if Path(each).exists()), None)
    if library is None:
        raise CannotInject("no libfaketime here (apt install libfaketime)")
    made = {"LD_PRELOAD": library, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    if isinstance(seconds, Path):
        return made | {"FAKETIME_TIMESTAMP_FILE": str(seconds), "FAKETIME_CACHE_DURATION": "1"}
    return made | {"FAKETIME": f"{seconds:+d}s"}


@fault(
    26,
    "a worker's and a web's clock wrong by ±5 min, or jumping",
    recovery="–",
    times=10,
    shape=Shape(workers=1, webs=1),
    patience=90,
)
def skew(shot: Shot) -> None:
    """Nobody is taken for lost, nothing is expired or shown to the wrong person for it."""
    jumping = shot.rig.folder / "clock"
    jumping.write_text("+0s")
    seconds = (300, -300, jumping)[shot.index % 3]
    environ = skewed(seconds)
    worker = shot.rig.start_worker(environ=environ)
    web = shot.rig.start_web(environ=environ)
    asked = shot.ask(8, shot.words(tokens=150, pace=30))
    shot.see_text(asked)
    shot.strike()
    for jump in ("+300s", "-300s", "+0s"):
        jumping.write_text(jump)
        shot.rig.sleep(1.5)
        asked += shot.ask(2, shot.words(tokens=20))
    shot.see_ends(asked)
    shot.figures["attempts lost"].append(float(shot.losses()))
    for each in (worker, web):
        shot.rig.kill(each, replace=False)
