"""What a figure is: a name, a function that returns named numbers, and the lines of the table made from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.bench.stacks import Bench

Numbers = dict[str, float]


class Size(StrEnum):
    """How long a run may take: the real one, a look of some minutes, or seconds to see that it all still works."""

    FULL = "full"
    QUICK = "quick"
    SMOKE = "smoke"


class CannotMeasure(Exception):
    """Something that the figure needs is not here; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table."""

    figure: str
    reach: str
    show: Callable[[Numbers], str]
    holds: Callable[[Numbers], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One module of `figures/`. Numbers named in `zero` are about correctness: anything else fails the run."""

    name: str
    measure: Callable[[Bench], Numbers]
    lines: tuple[Line, ...]
    zero: tuple[str, ...] = ()

    def broken(self, numbers: Numbers) -> list[str]:
        """What was lost or doubled."""
        return [f"{name} = {numbers[name]:g}" for name in self.zero if numbers.get(name)]


def p(values: Sequence[float], percent: int) -> float:
    """A percentile of what was measured, interpolated between measured values only."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def spread(name: str, values: Sequence[float], *percents: int) -> Numbers:
    """`name_p50` … and how many values there were."""
    return {f"{name}_n": float(len(values))} | {f"{name}_p{percent}": p(values, percent) for percent in percents}
