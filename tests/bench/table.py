"""The table of the bench: every figure with its target and its measurement, or why it has none; machine; versions."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

from deploy.embedded import postgres, redis_server
from tests.bench.figure import Figure, Numbers
from tests.bench.noise import Quiet

PACKAGES = ("celery", "redis", "sqlalchemy", "openai", "aiohttp", "uvloop", "streamlit", "uvicorn")
NOT_ASKED = "not selected (--only)"


@dataclass
class Outcome:
    """The outcome of one figure."""

    figure: Figure
    numbers: Numbers = field(default_factory=dict)
    #: The reason for having no numbers.
    missing: str = ""
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0
    #: The noise during the figure; None: not measured.
    quiet: Quiet | None = None
    #: The noise during the baseline, if several figures share it.
    borrowed: list[Quiet] = field(default_factory=list)

    def complaints(self, *, quickest: float) -> list[str]:
        """Return the reasons to reject the outcome; empty if it counts."""
        own = self.quiet.complaints(quickest=quickest) if self.quiet is not None else []
        compared = [why for each in self.borrowed for why in each.complaints(quickest=quickest)]
        return own + [f"during its baselines, {why}" for why in compared]

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return a row of cells for each line: mark, figure, target, measurement."""
        if self.missing:
            return [("?", line.figure, line.reach, f"NOT MEASURED: {self.missing}") for line in self.figure.lines]
        wrong = f"  BROKEN: {', '.join(self.broken)}" if self.broken else ""
        return [
            ("+" if line.holds(self.numbers) else "-", line.figure, line.reach, line.show(self.numbers) + wrong)
            for line in self.figure.lines
        ]


def text(outcomes: list[Outcome], *, note: str) -> str:
    """Return the table: + reached, - not reached, ? not measured."""
    lines, quickest = [""], _quickest(outcomes)
    for outcome in outcomes:
        if outcome.missing == NOT_ASKED:
            continue
        for mark, figure, reach, measured in outcome.rows():
            lines += [f"{mark} {figure}", f"    target    {reach}", f"    measured  {measured}"]
            if why := outcome.complaints(quickest=quickest):
                lines.append(f"    TOO NOISY {'; '.join(why)}")
    return "\n".join([*lines, "", *(f"{name}: {value}" for name, value in conditions().items()), note])


def verdict(outcomes: list[Outcome]) -> str:
    """Return a sentence that names the figures measured in noise, if any."""
    quickest = _quickest(outcomes)
    seen = [outcome for outcome in outcomes if outcome.quiet is not None]
    noisy = [each.figure.name for each in seen if each.complaints(quickest=quickest)]
    if not noisy:
        return "noise: the machine was quiet"
    return f"noise: TOO NOISY to trust {len(noisy)} of {len(seen)} figures: {', '.join(noisy)}"


def _quickest(outcomes: list[Outcome]) -> float:
    """Return the fixed loop's best time of the run, in seconds."""
    return min((each.quiet.quick_loop_seconds for each in outcomes if each.quiet is not None), default=1.0)


def conditions() -> dict[str, str]:
    """Return the machine and the versions."""
    python = f"Python {platform.python_version()}"
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    servers = f"PostgreSQL {postgres.VERSION}, {redis_server.program().name}"
    return {"machine": _machine(), "versions": f"{python}, {servers}, {packages}"}


def _machine() -> str:
    cpu, memory, cores = platform.machine(), "", 0
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu, cores = line.partition(":")[2].strip(), cores + 1
        memory = Path("/proc/meminfo").read_text().split()[1]
    except OSError:
        return platform.platform()
    return f"{cores} × {cpu}, {int(memory) // 2**20} GB, {platform.system()} {platform.release()}"


def finite(numbers: Numbers) -> dict[str, float | None]:
    """Replace NaN and infinity, which JSON does not have, by None."""
    return {name: value if isfinite(value) else None for name, value in numbers.items()}


def as_json(outcomes: list[Outcome], *, note: str) -> str:
    """Return the outcomes as JSON, with every number."""
    quickest = _quickest(outcomes)
    figures: dict[str, Any] = {
        each.figure.name: {
            "numbers": finite(each.numbers),
            "missing": each.missing,
            "broken": each.broken,
            "seconds": round(each.seconds, 1),
            "noise": each.quiet.numbers(quickest=quickest) if each.quiet else {},
            "too_noisy": each.complaints(quickest=quickest),
            "rows": [dict(zip(("mark", "figure", "reach", "measured"), row, strict=True)) for row in each.rows()],
        }
        for each in outcomes
    }
    return json.dumps({"conditions": conditions(), "note": note, "figures": figures}, indent=1, ensure_ascii=False)
