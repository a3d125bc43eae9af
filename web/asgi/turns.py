"""Turns: how many page runs are under way at once, and whose comes next.

A run is work for the interpreter, which does one thing at a time. More runs at once make none of them quicker, and they
keep the event loop waiting, which answers everybody. So few run at once, and of those that wait the owner comes first
who has used the least time lately. Time counts more where more messages wait behind: fifty sockets that click without
end stand behind one person who clicks now and then, also when that person gets more turns than each of the fifty.

For the event loop's thread only.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

#: What an owner has used counts half after this long.
HALF_LIFE_SECONDS = 10.0
_DECAY = math.log(2) / HALF_LIFE_SECONDS
#: Who has never run a page begins as if they had used this much: a crowd of new identities stands behind everybody who
#: is here already, for some seconds.
NEWCOMER_SECONDS = 0.25
#: Owners are remembered until there are this many; then those are forgotten whose use has faded.
_MANY_OWNERS = 2048
_FADED_SECONDS = 0.001


class Turn:
    """One run's turn: waiting, then held, then ended."""

    __slots__ = ("_began", "_granted", "_timer", "_turns", "_weight", "owner")

    def __init__(self, turns: Turns, owner: str, granted: Callable[[], None], *, weight: int) -> None:
        self.owner, self._weight = owner, weight
        self._turns, self._granted = turns, granted
        self._began: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_held(self) -> bool:
        """Whether the run may begin."""
        return self._began is not None

    def begin(self, seconds: float) -> None:
        """The turn is granted, for `seconds` at most. Called by `Turns` only."""
        self._began = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end)
        self._granted()

    def end(self) -> None:
        """Give the turn back, or stop waiting for it; again is harmless."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        used = 0.0 if self._began is None else time.monotonic() - self._began
        self._turns.ended(self, used * self._weight)


class Turns:
    """At most `at_once` turns are held; each ends by itself after `seconds`.

    A turn has an end of its own because a run that waits, for a Postgres that does not answer, keeps nobody from
    running.
    """

    def __init__(self, *, at_once: int, seconds: float) -> None:
        self._at_once, self._seconds = at_once, seconds
        self._held: set[Turn] = set()
        self._waiting: list[Turn] = []
        self._used: dict[str, tuple[float, float]] = {}

    def ask(self, owner: str, granted: Callable[[], None], *, weight: int = 1) -> Turn:
        """Ask for a turn, whose time counts `weight` times. `granted` may be called before this returns."""
        self._used.setdefault(owner, (NEWCOMER_SECONDS, time.monotonic()))
        turn = Turn(self, owner, granted, weight=weight)
        self._waiting.append(turn)
        self._grant()
        return turn

    def ended(self, turn: Turn, used: float) -> None:
        """Note what the owner used, and let the next one run. Called by `Turn` only."""
        if turn in self._held:
            self._held.remove(turn)
            self._used[turn.owner] = (self._recent(turn.owner) + used, time.monotonic())
            self._forget_faded()
            self._grant()
        elif turn in self._waiting:
            self._waiting.remove(turn)

    def _grant(self) -> None:
        while self._waiting and len(self._held) < self._at_once:
            turn = min(self._waiting, key=lambda each: self._recent(each.owner))
            self._waiting.remove(turn)
            self._held.add(turn)
            turn.begin(self._seconds)

    def _recent(self, owner: str) -> float:
        used, at = self._used.get(owner, (0.0, 0.0))
        return used * math.exp(-(time.monotonic() - at) * _DECAY) if used else 0.0

    def _forget_faded(self) -> None:
        if len(self._used) > _MANY_OWNERS:
            self._used = {each: self._used[each] for each in self._used if self._recent(each) > _FADED_SECONDS}
