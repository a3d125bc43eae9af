"""Turns: how many page runs (or openings of pages) are under way at once, and whose comes next.

A run is work for the interpreter, which does one thing at a time. More runs at once make none of them quicker, and they
keep the event loop waiting, which answers everybody. So few run at once, and of those that wait the owner comes first
who has run the least lately. A run counts more where more messages wait behind it: fifty sockets that click without
end stand behind one person who clicks now and then, although that person gets more turns than each of the fifty.

For the event loop's thread only.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

#: A run counts half after this long.
HALF_LIFE_SECONDS = 10.0
#: Who was never here begins as if they had just run this often: a crowd of new identities stands behind the people who
#: are here already, for some seconds. Somebody who clicks once a second has a count of 14.
NEWCOMER_RUNS = 20.0
_DECAY = math.log(2) / HALF_LIFE_SECONDS
#: Owners are remembered until there are this many; then those are forgotten whose runs have faded.
_MANY_OWNERS = 2048
_FADED_RUNS = 0.05


class Turn:
    """One run's turn: waiting, then held, then ended."""

    __slots__ = ("_timer", "_turns", "granted", "owner", "was_granted", "weight")

    def __init__(self, turns: Turns, owner: str, granted: Callable[[], None], *, weight: int) -> None:
        self.owner, self.granted, self.weight = owner, granted, weight
        self._turns = turns
        self._timer: asyncio.TimerHandle | None = None
        self.was_granted = False

    def begin(self, seconds: float) -> None:
        """Hold the turn, for `seconds` at most. Called by `Turns` only."""
        self.was_granted = True
        self._timer = asyncio.get_running_loop().call_later(seconds, self._turns.overdue, self)
        self.granted()

    def end(self) -> None:
        """Give the turn back, or stop waiting for it. Again is harmless."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._turns.ended(self)


class Turns:
    """At most `at_once` turns are held; one that is held for `seconds` makes room for another.

    It makes room because it waits, for a Postgres that does not answer, and keeps nobody from running. On an overloaded
    machine it may still be working, so no more than `most_overdue` turns make room.
    """

    def __init__(
        self, *, at_once: int, seconds: float, most_overdue: int, newcomer_runs: float = NEWCOMER_RUNS
    ) -> None:
        self._at_once, self._seconds, self._most_overdue = at_once, seconds, most_overdue
        self._newcomer_runs = newcomer_runs
        self._held: set[Turn] = set()
        self._overdue: set[Turn] = set()
        self._waiting: list[Turn] = []
        self._counts: dict[str, tuple[float, float]] = {}

    def ask(self, owner: str, granted: Callable[[], None], *, weight: int = 1) -> Turn:
        """Ask for a turn, which counts as `weight` runs. `granted` may be called before this returns."""
        self._counts.setdefault(owner, (self._newcomer_runs, time.monotonic()))
        turn = Turn(self, owner, granted, weight=weight)
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
        """Let another one run beside this one. Called by `Turn` only."""
        if turn in self._held:
            self._held.remove(turn)
            self._overdue.add(turn)
            self._grant()

    def _grant(self) -> None:
        # One moment for all: what is looked at later would seem less used than its equal.
        now = time.monotonic()
        while self._waiting and self._has_room():
            turn = min(self._waiting, key=lambda each: self._recent(each.owner, now))
            self._waiting.remove(turn)
            self._held.add(turn)
            self._counts[turn.owner] = (self._recent(turn.owner, now) + turn.weight, now)
            self._forget_faded(now)
            turn.begin(self._seconds)

    def _has_room(self) -> bool:
        surplus = max(0, len(self._overdue) - self._most_overdue)
        return len(self._held) + surplus < self._at_once

    def _recent(self, owner: str, now: float) -> float:
        count, at = self._counts.get(owner, (0.0, 0.0))
        return count * math.exp((at - now) * _DECAY)

    def _forget_faded(self, now: float) -> None:
        if len(self._counts) > _MANY_OWNERS:
            self._counts = {each: used for each, used in self._counts.items() if self._recent(each, now) > _FADED_RUNS}
