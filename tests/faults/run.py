"""Runs faults of the catalogue, and stores the result of each shot in a file that a later run can continue."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.embedded.processes import ROOT
from tests.bench.table import conditions
from tests.faults.checker import Verdict
from tests.faults.fault import CannotInject, Fault
from tests.faults.rig import Rig
from tests.faults.shot import Shot

Result = dict[str, Any]
KEPT_FINDINGS = 8
TEXTBOOK_FAULTS = (1, 4, 8, 10, 12)


class Store:
    """An append-only file with one JSON line per shot. Runs add up; a repeated shot counts once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def results(self) -> list[Result]:
        """Return the newest result of each shot."""
        if not self.path.exists():
            return []
        lines = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return list({(each["fault"], each["seed"], each["index"]): each for each in lines}.values())

    def add(self, result: Result) -> None:
        """Append a result."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result, ensure_ascii=False) + "\n")

    def done(self, fault: str, seed: int) -> set[int]:
        """Return the finished shots of a fault and seed, without those that broke off."""
        mine = [each for each in self.results() if each["fault"] == fault and each["seed"] == seed]
        return {each["index"] for each in mine if "error" not in each}


def run(fault: Fault, store: Store, *, seed: int, indices: Iterable[int]) -> list[Result]:
    """Run these shots of one fault. After a shot that breaks off, the rest run on a new rig."""
    left, results = list(indices), []
    while left:
        with folder(f"fault-{fault.number}") as place:
            try:
                with Rig.running(place / "rig", fault.shape) as rig:
                    while left:
                        result = shoot(fault, rig, seed=seed, index=left.pop(0))
                        store.add(result)
                        results.append(result)
                        tell(fault, result)
                        if result.get("error"):
                            break
            except CannotInject as reason:
                store.add(base(fault, seed, -1) | {"cannot": str(reason)})
                return results
    return results


def shoot(fault: Fault, rig: Rig, *, seed: int, index: int) -> Result:
    """Run one shot, and return its result."""
    shot = Shot(rig, random.Random(f"{seed}:{fault.number}:{index}"), index)
    result, began, exits = base(fault, seed, index), time.monotonic(), Counter(rig.exits)
    try:
        fault.inject(shot)
        rig.whole_again()
        shot.settle(patience=fault.patience)
        verdict = shot.judge(provider_struck=fault.strikes_provider)
    except CannotInject:
        raise
    except Exception as error:  # noqa: BLE001 - a failed shot is a result, too
        traceback.print_exc()
        keep_logs(rig, f"fault-{fault.number}-{index}")
        return result | {"error": f"{type(error).__name__}: {str(error)[:300]}"}
    if not verdict.is_clean:
        keep_logs(rig, f"fault-{fault.number}-{index}")
    return (
        result
        | described(verdict)
        | {
            "recovery": [round(each, 3) for each in shot.recovery],
            "figures": {name: [round(each, 4) for each in values] for name, values in shot.figures.items()},
            "exits": dict(rig.exits - exits),
            "seconds": round(time.monotonic() - began, 1),
        }
    )


def base(fault: Fault, seed: int, index: int) -> Result:
    """Return the fields that identify a shot."""
    return {"fault": str(fault.number), "seed": seed, "index": index, "at": round(time.time(), 1)}


def described(verdict: Verdict) -> Result:
    """Return a verdict as JSON."""
    numbers = {name: getattr(verdict, name) for name in Verdict.__slots__ if name != "findings"}
    findings = [[each.kind, each.request, each.detail] for each in verdict.findings[:KEPT_FINDINGS]]
    return {**numbers, "counts": verdict.counts, "findings": findings}


def tell(fault: Fault, result: Result) -> None:
    """Print one line about the shot."""
    if result.get("error"):
        words = f"BROKE OFF: {result['error']}"
    else:
        bad = {kind: number for kind, number in result["counts"].items() if number}
        recovery = max(result["recovery"], default=0.0)
        words = f"{result['accepted']} asked, recovery ≤ {recovery:.2f} s, extra calls {result['extra_calls']}"
        words += f", exits {result['exits']}" if result["exits"] else ""
        words += f"  WRONG: {bad} {result['findings'][:2]}" if bad else ""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {fault.number:>2} {fault.name} #{result['index']}: {words}\n")
    sys.stderr.flush()


def textbook(store: Store, *, seed: int, times: int, only: Sequence[int] | None) -> None:
    """Run the textbook chat in a separate process, because importing its app reads other settings."""
    for fault in TEXTBOOK_FAULTS:
        left = sorted(set(range(times)) - store.done(f"{fault} textbook", seed))
        if (only and fault not in only) or not left:
            continue
        command = [sys.executable, "-m", "tests.faults.textbook.shots", str(fault), str(seed), *map(str, left)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
            for line in child.stdout or ():
                result = json.loads(line)
                store.add(result)
                bad = {kind: number for kind, number in result["counts"].items() if number}
                sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {fault} textbook #{result['index']}: {bad}\n")


def note_conditions(store: Store) -> None:
    """Store the versions and the machine, once per file."""
    if not any(each["fault"] == "conditions" for each in store.results()):
        store.add({"fault": "conditions", "seed": 0, "index": 0, **conditions()})


_kept: Path | None = None


def keep_logs_in(place: Path | None) -> None:
    """Set the folder for the logs of failed shots, or None to keep no logs."""
    global _kept  # noqa: PLW0603 - set once per command
    _kept = place


def keep_logs(rig: Rig, name: str) -> None:
    """Copy the history and all logs of a rig to the folder for failed shots."""
    if _kept is None:
        return
    target = _kept / f"{name}-{int(time.time())}"
    target.mkdir(parents=True)
    for path in (
        *rig.folder.glob("*.json"),
        *rig.disk.glob("*.log"),
        *rig.folder.glob("*.jsonl"),
        *(rig.folder / "logs").iterdir(),
    ):
        (target / path.name).write_bytes(path.read_bytes())


@contextmanager
def folder(name: str) -> Iterator[Path]:
    """Yield a temporary folder for a rig."""
    with tempfile.TemporaryDirectory(prefix=f"naru-{name}-", ignore_cleanup_errors=True) as made:
        yield Path(made)
