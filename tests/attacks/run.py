"""One attack on one web process while an honest person uses it: latencies before, during and after, and web's memory.

The bounds: each action of the person takes at most 1 s at the 99th percentile, and web's memory grows by at most 100 MB
during the attack and 30 MB a minute later.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from tests.attacks.attacker import Outcome
from tests.attacks.catalogue import Attack
from tests.attacks.person import Person
from tests.bench.figure import p
from tests.stack import Process, Stack, get

MOST_SECONDS = 1.0
MOST_GROWTH_MB = 100.0
MOST_LEFT_MB = 30.0
MEMORY_BACK_SECONDS = 60.0
#: The limit for the attacker to exit after its plan is over.
ATTACKER_PATIENCE_SECONDS = 60.0


@dataclass(slots=True)
class Result:
    """The result of one attack. Latencies are in seconds, by action of the person, then by phase; memory is in MB."""

    attack: Attack
    outcome: Outcome
    took: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    #: The close codes of the person's own sockets.
    person_closed: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)

    def p99(self, name: str, phase: str) -> float:
        """Return the 99th percentile, or infinity if there was no action."""
        return p(self.took[name][phase], 99) if self.took[name][phase] else math.inf

    def broken(self) -> list[str]:
        """Return the bounds that did not hold."""
        found = [
            f"{name} {phase}: {self.p99(name, phase):.2f} s"
            for name in self.took
            for phase in ("during", "after")
            if self.p99(name, phase) > MOST_SECONDS
        ]
        if (grown := self.memory["most"] - self.memory["before"]) > MOST_GROWTH_MB:
            found.append(f"memory grew by {grown:.0f} MB")
        if (left := self.memory["after"] - self.memory["before"]) > MOST_LEFT_MB:
            found.append(f"{left:.0f} MB were not released")
        if self.attack.answer and not self.outcome.closed.get(self.attack.answer):
            found.append(f"nothing was answered with {self.attack.answer}: {self.outcome.closed}")
        found += [f"the person was disconnected: {each}" for each in self.person_closed]
        return found


def attack(
    stack: Stack, web: Process, engine: Engine, one: Attack, *, seconds: float, rest: float, memory_seconds: float
) -> Result:
    """Attack for `seconds`, with `rest` quiet seconds before and after, and wait until web has released the memory."""
    plan = one.plan(stack, web.url, seconds=seconds)
    plan_file = stack.folder / f"{one.name}.json"
    plan_file.write_text(json.dumps(asdict(plan)))
    with Person(stack, web.url, engine) as person:
        person.wait_until_there()
        start = time.monotonic()
        time.sleep(rest)
        memory = {"before": megabytes(web)}
        attacked = time.monotonic()
        attacker = stack.run("attacker", "-m", "tests.attacks.attacker", str(plan_file))
        memory["most"] = _watch(web, attacker, seconds=seconds + ATTACKER_PATIENCE_SECONDS)
        over = time.monotonic()
        time.sleep(rest)
        end = time.monotonic()
    memory["after"] = _wait_for_memory(web, memory["before"], until=over + memory_seconds)
    phases = {"before": (start, attacked), "during": (attacked, over), "after": (over, end)}
    return Result(
        attack=one,
        outcome=outcome_of(attacker),
        took={
            name: {phase: each.between(*times) for phase, times in phases.items()} for name, each in person.took.items()
        },
        memory=memory,
        person_closed=person.closed,
        metrics=closed_counts(web),
    )


def megabytes(web: Process) -> float:
    """Return the resident memory of the web process in MB."""
    status = Path(f"/proc/{web.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def closed_counts(web: Process) -> dict[str, float]:
    """Return how many sockets and connections were closed or refused, by metric and reason, without zeros."""
    pattern = r'^naru_(sockets|connections)_(closed|refused)_total\{reason="(\w+)"\} (\S+)$'
    found = re.findall(pattern, get(f"{web.url}/metrics")[1], re.MULTILINE)
    return {f"{what} {how}: {why}": float(count) for what, how, why, count in found if float(count)}


def outcome_of(attacker: Process) -> Outcome:
    """Return the attacker's outcome. Raises AssertionError when the attacker failed."""
    try:
        found = json.loads(attacker.log_text().splitlines()[-1])
    except (IndexError, ValueError):
        raise AssertionError(f"the attacker failed:\n{attacker.log_text()[-2000:]}") from None
    counts: Mapping[str, dict[str, int]] = {name: found[name] for name in ("closed", "refused")}
    return Outcome(
        opened=found["opened"],
        sent=found["sent"],
        closed={int(code): count for code, count in counts["closed"].items()},
        refused={int(status): count for status, count in counts["refused"].items()},
    )


def _watch(web: Process, attacker: Process, *, seconds: float) -> float:
    """Wait until the attacker exits; return web's peak memory."""
    limit, most = time.monotonic() + seconds, megabytes(web)
    while attacker.running and time.monotonic() < limit:
        time.sleep(0.1)
        most = max(most, megabytes(web))
    assert not attacker.running, "the attacker does not exit"
    return most


def _wait_for_memory(web: Process, before: float, *, until: float) -> float:
    """Wait until web's memory is near its initial value or the time is over; return the memory."""
    while megabytes(web) - before > MOST_LEFT_MB and time.monotonic() < until:
        time.sleep(0.5)
    return megabytes(web)
