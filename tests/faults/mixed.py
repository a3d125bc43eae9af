"""The mixed round: random faults at seeded moments under a steady load, judged as one history."""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

from tests.faults import run
from tests.faults.life import load
from tests.faults.nemesis import Nemesis, shape_of
from tests.faults.rig import Rig
from tests.faults.run import Result, described
from tests.faults.shot import Shot

#: The request deadline. Each request must end at most 30 s after it.
DEADLINE_SECONDS = 180.0


def mixed(
    place: Path,
    *,
    seed: int,
    seconds: float,
    rate: float,
    workers: int = 3,
    webs: int = 2,
    pauses: tuple[float, float] = (2.0, 8.0),
) -> Result:
    """Run one round; return the result for the store."""
    began = time.monotonic()
    dice = random.Random(f"{seed}:mixed")
    shape = shape_of(workers=workers, webs=webs, deadline_seconds=DEADLINE_SECONDS, total_seconds=DEADLINE_SECONDS)
    with Rig.running(place, shape) as rig:
        shot = Shot(rig, dice, 0)
        shot.strike()
        people = rig.crowd.start(load(rig.crowd, random.Random(f"{seed}:people"), rate=rate, seconds=seconds))
        nemesis = Nemesis(rig, dice, pauses=pauses)
        nemesis.rage(seconds=seconds)
        rig.whole_again()
        rig.wait(people.done, seconds=DEADLINE_SECONDS + 120, what="all visits are over")
        shot.settle(patience=DEADLINE_SECONDS + 30)
        verdict = shot.judge(provider_struck=True)
        shot.note_accepts()
        note_stops(shot)
        (place / "nemesis.json").write_text(json.dumps(nemesis.log))
        broken_visits = people.result()
        if broken_visits or rig.exits or not verdict.is_clean:
            run.keep_logs(rig, f"mixed-{seed}")
        return {
            "fault": "mixed",
            "name": f"random faults under load, {seconds / 60:.0f} min",
            "seed": seed,
            "index": 0,
            **described(verdict),
            "at": round(time.time(), 1),
            "recovery": [],
            "figures": shot.figures,
            "exits": dict(rig.exits),
            "strikes": dict(nemesis.struck),
            "broken_visits": broken_visits,
            "seconds": round(time.monotonic() - began, 1),
        }


def note_stops(shot: Shot) -> None:
    """Record the seconds from each Stop until the page shows the end."""
    pressed: dict[tuple[int, str], float] = {}
    for entry in shot.entries:
        if entry.what == "stop":
            pressed.setdefault((entry.page, entry.request), entry.at)
        elif entry.what == "ended" and (at := pressed.pop((entry.page, entry.request), None)):
            shot.figures["stop to its end"].append(entry.at - at)


def tell(result: Result) -> None:
    """Print a summary of the result."""
    bad = {kind: number for kind, number in result["counts"].items() if number}
    words = f"mixed, seed {result['seed']}: {result['accepted']} accepted, {result['succeeded']} succeeded, "
    words += f"{result['cancelled']} stopped, {result['failed']} failed, {result['refused']} refused, "
    words += f"extra calls {result['extra_calls']}, losses {result['losses']}, exits {result['exits']}, "
    words += f"strikes {sum(result['strikes'].values())}"
    words += f"\n  WRONG: {bad}\n  {result['findings']}" if bad else ", all zero"
    words += f"\n  VISITS THAT BROKE OFF: {result['broken_visits'][:5]}" if result["broken_visits"] else ""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {words}\n")
