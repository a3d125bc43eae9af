"""Take turns: limit how many pages run (or open) at once, and choose the next.

The interpreter does one thing at a time, so parallel runs are no faster, and they delay the event loop. Few run at
once, and the next is the one whose names have run least recently. A run counts more if more messages are queued after
it: fifty sockets that click without end come after one person who clicks now and then, although that person gets more
turns than each of the fifty.

For the event loop's thread only.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable

#: The half-life of a run's count.
HALF_LIFE_SECONDS = 10.0
#: A new name starts as if it had just run this often, so that for some seconds a crowd of new identities comes after
#: the people who are here already. Clicking once a second gives a count of 14.
NEWCOMER_RUNS = 20.0
_DECAY = math.log(2) / HALF_LIFE_SECONDS
#: Remember this many names, about 3 MB; beyond that, forget the one that ran least recently.
_MOST_NAMES = 20_000


class Turn:
    """One run's turn: waiting, then held, then ended."""

    __slots__ = ("_timer", "_turns", "granted", "is_over", "names", "was_granted", "weight")

    def __init__(
        self,
        turns: Turns,
        names: tuple[str, ...],
        granted: Callable[[], None],
        *,
        is_over: Callable[[], bool],
        weight: int,
    ) -> None:
        self.names, self.granted, self.is_over, self.weight = names, granted, is_over, weight
        self._turns = turns
        self._timer: asyncio.TimerHandle | None = None
        self.was_granted = False

    def begin(self, seconds: float) -> None:
        """Hold the turn. It is overdue after `seconds`. Called by `Turns` only."""
        self.was_granted = True
        self.look_again(seconds)
        self.granted()

    def look_again(self, seconds: float) -> None:
        """Check again after `seconds` whether the run is over. Called by `Turns` only."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._turns.overdue, self)

    def end(self) -> None:
        """Give the turn back, or stop waiting for it. May be called repeatedly."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._turns.ended(self)


class Turns:
    """Hands out at most `at_once` turns. A turn held for `seconds` is overdue and no longer counts.

    An overdue run may be waiting for Postgres, and then blocks nobody. On an overloaded machine it may still be
    working, so at most `most_overdue` turns stop counting. The caller provides a way to check that a run is over,
    in case nobody ends its turn.
    """

    def __init__(
        self, *, at_once: int, seconds: float, most_overdue: int, newcomer_runs: float = NEWCOMER_RUNS
    ) -> None:
        self._at_once, self._seconds, self._most_overdue = at_once, seconds, most_overdue
        self._newcomer_runs = newcomer_runs
        self._held: set[Turn] = set()
        self._overdue: set[Turn] = set()
        self._waiting: list[Turn] = []
        #: The runs of each name and the time of the count, the least recent name first.
        self._counts: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def ask(
        self,
        *names: str,
        granted: Callable[[], None],
        is_over: Callable[[], bool] = lambda: False,
        weight: int = 1,
    ) -> Turn:
        """Request a turn, which counts as `weight` runs for each name. `granted` may be called before this returns."""
        now = time.monotonic()
        for name in names:
            self._counts.setdefault(name, (self._newcomer_runs, now))
        turn = Turn(self, names, granted, is_over=is_over, weight=weight)
        self._waiting.append(turn)
        self._grant()
        return turn

    def ended(self, turn: Turn) -> None:
        """Let the next one run. Called by `Turn` only."""
        if turn in self._waiting:
            self._waiting.remove(turn)
        self._held.discard(turn)
        self._overdue.discard(turn)
        self._grant()

    def overdue(self, turn: Turn) -> None:
        """End the turn if its run is over; otherwise let another one run beside it. Called by `Turn` only."""
        if turn.is_over():
            turn.end()
            return
        turn.look_again(self._seconds)
        if turn in self._held:
            self._held.remove(turn)
            self._overdue.add(turn)
            self._grant()

    def _grant(self) -> None:
        # Use one time for all, or names compared later would seem less used.
        now = time.monotonic()
        while self._waiting and self._has_room():
            turn = min(self._waiting, key=lambda each: self._recent(each.names, now))
            self._waiting.remove(turn)
            self._held.add(turn)
            for name in turn.names:
                self._counts[name] = (self._recent((name,), now) + turn.weight, now)
                self._counts.move_to_end(name)
            while len(self._counts) > _MOST_NAMES:
                self._counts.popitem(last=False)
            turn.begin(self._seconds)

    def _has_room(self) -> bool:
        surplus = max(0, len(self._overdue) - self._most_overdue)
        return len(self._held) + surplus < self._at_once

    def _recent(self, names: tuple[str, ...], now: float) -> float:
        counted = (self._counts.get(name, (0.0, 0.0)) for name in names)
        return sum(count * math.exp((at - now) * _DECAY) for count, at in counted)
