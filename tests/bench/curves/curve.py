"""What a curve is: some series of points over one kind of work, and the exponent fitted to each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import log
from statistics import linear_regression

from tests.bench.stacks import Bench

Point = tuple[float, float]
#: By the series' names, in the order of the work.
Points = dict[str, list[Point]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One picture. `is_cost`: less is better, linear or better is an exponent of at most 1; else at least 1."""

    name: str
    title: str
    work: str
    unit: str
    measure: Callable[[Bench], Points]
    is_cost: bool = True


@dataclass
class Drawn:
    """A curve that was measured, or why it was not."""

    curve: Curve
    points: Points = field(default_factory=dict)
    missing: str = ""
    #: Why not to believe it.
    noise: list[str] = field(default_factory=list)

    def exponents(self) -> dict[str, float]:
        """Of each series."""
        return {name: exponent(points) for name, points in self.points.items()}

    def ends(self) -> dict[str, float]:
        """The same between the last two points alone: where costs that rest on a constant show how they grow."""
        return {name: exponent(points[-2:]) for name, points in self.points.items()}


def exponent(points: Sequence[Point]) -> float:
    """The slope of log y over log x, by least squares; NaN where fewer than two points have a logarithm."""
    seen = [(log(x), log(y)) for x, y in points if x > 0 and y > 0]
    if len({x for x, _ in seen}) < 2:
        return float("nan")
    return linear_regression([x for x, _ in seen], [y for _, y in seen]).slope


def add(points: Points, work: float, found: dict[str, float]) -> None:
    """One more value for each series."""
    for name, value in found.items():
        points.setdefault(name, []).append((work, value))
