"""A curve: series of points over one kind of work, with an exponent fitted to each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import log
from statistics import linear_regression

from tests.bench.stacks import Bench

Point = tuple[float, float]
#: By series name, ordered by work.
Points = dict[str, list[Point]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A chart. `is_cost`: lower is better, and a good exponent is at most 1; otherwise at least 1."""

    name: str
    title: str
    work: str
    unit: str
    measure: Callable[[Bench], Points]
    is_cost: bool = True


@dataclass
class Drawn:
    """A measured curve, or why it is missing."""

    curve: Curve
    points: Points = field(default_factory=dict)
    missing: str = ""
    #: Reasons to distrust it.
    noise: list[str] = field(default_factory=list)

    def exponents(self) -> dict[str, float]:
        """Return each series' exponent."""
        return {name: exponent(points) for name, points in self.points.items()}

    def ends(self) -> dict[str, float]:
        """Return the exponents between the last two points, where a constant cost hides growth least."""
        return {name: exponent(points[-2:]) for name, points in self.points.items()}


def exponent(points: Sequence[Point]) -> float:
    """Return the least-squares slope of log y over log x, positive values only; NaN with fewer than two distinct x."""
    seen = [(log(x), log(y)) for x, y in points if x > 0 and y > 0]
    if len({x for x, _ in seen}) < 2:
        return float("nan")
    return linear_regression([x for x, _ in seen], [y for _, y in seen]).slope


def add(points: Points, work: float, found: dict[str, float]) -> None:
    """Append a value to each series."""
    for name, value in found.items():
        points.setdefault(name, []).append((work, value))
