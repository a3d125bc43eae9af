"""The pace of tokens: one timer for all replies of a loop, and direct writes to their sockets.

A timer and a queued write for each token would cost as much as the token itself, and the simulator shares its machine
with the processes that it measures.
"""

from __future__ import annotations

import asyncio
import heapq
import os
from collections.abc import Callable
from math import ceil

#: Ticks per second. Turns due in the same tick are called together; event loops have no finer timers.
_PER_SECOND = 1000


class Turn:
    """A reply's next step, which can be cancelled."""

    __slots__ = ("is_cancelled", "step")

    def __init__(self, step: Callable[[], None]) -> None:
        self.step = step
        self.is_cancelled = False

    def cancel(self) -> None:
        """Prevent the step from being called."""
        self.is_cancelled = True


class Pacer:
    """Calls each turn when it is due, in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._turns: dict[int, list[Turn]] = {}
        self._moments: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0

    def at(self, when: float, turn: Turn) -> None:
        """Call `turn` at `when` on the loop's clock, or up to 1 ms later."""
        moment = ceil(when * _PER_SECOND)
        turns = self._turns.get(moment)
        if turns is not None:
            turns.append(turn)
            return
        self._turns[moment] = [turn]
        heapq.heappush(self._moments, moment)
        if self._timer is None or moment < self._timer_at:
            self._set()

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._moments[0]
        self._timer = self._loop.call_at(self._timer_at / _PER_SECOND, self._call)

    def _call(self) -> None:
        self._timer = None
        now = self._loop.time() * _PER_SECOND
        while self._moments and self._moments[0] <= now:
            for turn in self._turns.pop(heapq.heappop(self._moments)):
                if not turn.is_cancelled:
                    turn.step()
        if self._moments and self._timer is None:
            self._set()


class Sender:
    """Writes straight to a transport's socket while its queue is empty, else through the queue."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        connection = transport.get_extra_info("socket")
        self._descriptor = -1 if connection is None else int(connection.fileno())

    def write(self, data: bytes) -> None:
        """Send `data` in order. The transport queues the rest that the socket does not accept yet."""
        transport = self._transport
        if self._descriptor >= 0 and not transport.is_closing() and not transport.get_write_buffer_size():
            try:
                sent = os.write(self._descriptor, data)
            except OSError:  # full or broken: the transport handles it
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        transport.write(data)
