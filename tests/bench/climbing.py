"""A search for the highest load that holds: it goes up in steps, repeats a failed step once, then bisects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tests.bench.evenness import is_even
from tests.bench.figure import Numbers


@dataclass
class Climb:
    """The loads tried, with their numbers. `carried` is the highest load that held; 0 if none did."""

    carried: int = 0
    failed: int = 0
    found: dict[int, Numbers] = field(default_factory=dict)
    #: Sums over all tries, including repeated ones.
    lost: float = 0.0
    cut_at_end: float = 0.0

    @property
    def shown(self) -> int:
        """Return the load to show: the highest that held, or else the lowest tried."""
        return self.carried or min(self.found)

    def numbers(self, name: str) -> Numbers:
        """Return the numbers of each load and the total losses, by name."""
        numbers: Numbers = {f"{name}_carried": float(self.carried), f"{name}_failed": float(self.failed)}
        for load, found in self.found.items():
            numbers |= {f"{name}_{key}_at_{load}": value for key, value in found.items()}
        return numbers | {f"{name}_lost": self.lost, f"{name}_cut_at_end": self.cut_at_end}

    def at_best(self) -> Numbers:
        """Return the numbers at `shown`."""
        return self.found[self.shown]


async def climb(
    attempt: Callable[[int], Awaitable[Numbers]], steps: Sequence[int], *, is_thorough: bool, finest: int = 20
) -> Climb:
    """Try loads, lowest first; repeat a failed one once, because a neighbour may have disturbed it.

    With `is_thorough`, halve the gap between the highest load that held and the lowest that failed, down to `finest`.
    """
    climbed = Climb()
    for load in steps:
        if not await _holds(attempt, climbed, load, tries=2):
            break
    while is_thorough and climbed.carried and climbed.failed - climbed.carried > finest:
        middle = (climbed.carried + climbed.failed) // 2
        await _holds(attempt, climbed, middle - middle % 5, tries=1)
    return climbed


async def _holds(attempt: Callable[[int], Awaitable[Numbers]], climbed: Climb, load: int, *, tries: int) -> bool:
    for _ in range(tries):
        found = climbed.found[load] = await attempt(load)
        climbed.lost += found.get("lost", 0.0)
        climbed.cut_at_end += found.get("cut_at_end", 0.0)
        if is_even(found):
            climbed.carried = load
            return True
    climbed.failed = load
    return False
