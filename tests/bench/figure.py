"""A figure: a name, a function that returns named numbers, and the table lines made from them."""

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
    """The size of a run: full, quick (some minutes), or smoke (seconds, to see that everything works)."""

    FULL = "full"
    QUICK = "quick"
    SMOKE = "smoke"


class CannotMeasure(Exception):
    """The machine lacks something that the figure needs; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table."""

    figure: str
    reach: str
    show: Callable[[Numbers], str]
    holds: Callable[[Numbers], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure, from a module of `figures/`. Numbers named in `zero` are about correctness: if not 0, the run fails."""

    name: str
    measure: Callable[[Bench], Numbers]
    lines: tuple[Line, ...]
    zero: tuple[str, ...] = ()

    def broken(self, numbers: Numbers) -> list[str]:
        """Return the numbers of `zero` that are not 0: lost or doubled text."""
        return [f"{name} = {numbers[name]:g}" for name in self.zero if numbers.get(name)]


def p(values: Sequence[float], percent: int) -> float:
    """Return a percentile, interpolated between measured values; NaN without values."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def spread(name: str, values: Sequence[float], *percents: int) -> Numbers:
    """Return the percentiles as `name_p50` …, and the number of values as `name_n`."""
    return {f"{name}_n": float(len(values))} | {f"{name}_p{percent}": p(values, percent) for percent in percents}
