"""The beat: the moments, a flush interval apart, at which the readers of a worker take the text that has arrived.

A provider sends a token about every 20 ms to each of hundreds of answers, and waking a task for it costs as much as
everything else that is done for it. Text that arrives between two flushes waits for the flush anyway. So a reader hands
its `take` function to `Beat.wait`, and each beat calls all of these functions in one pass, right before the flush. The
reader's task wakes only when its function finds nothing.

Gains: 32-43 µs became 22-31 µs per token with 300 streams in one process (decision 0011). The pause that grows with the
load saved another 0.17 of a core with 300 answers (docs/performance.md).

Relies on: `Stream.take`, which never waits; aiohttp's buffer, which holds the text between two beats; asyncio running
`call_soon` callbacks in order, so that the flush comes after the tasks that the beat woke.

Enforced by `tests/shared/test_beat.py` and `tests/shared/test_publisher.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

#: Readers served in a row. Then the loop runs whatever else is ready, such as a new answer.
READERS_IN_A_ROW = 8
#: Pause BEAT_TIMES × the average duration of a beat with its flush: the busier the machine, the more text each beat
#: carries, here, in Redis and in web. With 300 answers on two cores, 30 instead of 20 ms saved 0.17 of a core
#: in all, and a quarter of the time of a new question (docs/performance.md).
BEAT_TIMES = 4.0
#: Weight of the latest beat in the moving average, which thus covers about ten beats.
BEAT_WEIGHT = 0.1
#: The pause is at most this many flush intervals.
LONGEST_TIMES = 1.5

#: Takes the text that has arrived since the last beat and returns whether there was any.
Take = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _Reader:
    """A task that waits in `Beat.wait`."""

    future: asyncio.Future[None]
    take: Take | None

    def keeps_waiting(self) -> bool:
        """Take the reader's text and return True; if there is none, wake its task and return False."""
        if self.future.done():  # cancelled
            return False
        try:
            if self.take is not None and self.take():
                return True
        except Exception as error:  # noqa: BLE001 - raised in the task that waits
            self.future.set_exception(error)
        else:
            self.future.set_result(None)
        return False


class Beat:
    """The beat of one publisher, used in its event loop.

    `on_beat` is called at the end of each beat, once the tasks that it woke have run, with the monotonic time at which
    the beat began.
    """

    def __init__(self, *, flush_seconds: float, on_beat: Callable[[float], None]) -> None:
        self._flush_seconds, self._on_beat = flush_seconds, on_beat
        self._readers: list[_Reader] = []
        self._timer: asyncio.TimerHandle | None = None
        self._average_seconds = 0.0

    async def wait(self, take: Take | None = None) -> None:
        """Return at the next beat, right before its flush; at most `interval_seconds` later, even while Redis fails.

        With `take`, return at the first beat at which it returns False. Each beat until then calls it, and the text
        that it adds goes out with that beat's flush. An exception of `take` is raised here.
        """
        future = asyncio.get_running_loop().create_future()
        self._readers.append(_Reader(future, take))
        self.schedule()
        await future

    def schedule(self) -> None:
        """Schedule the next beat, if none is scheduled yet."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.interval_seconds, self._begin)

    def record(self, seconds: float) -> None:
        """Record how long a beat took, including its flush."""
        self._average_seconds += BEAT_WEIGHT * (seconds - self._average_seconds)

    @property
    def interval_seconds(self) -> float:
        """The pause before the next beat: the flush interval, and more where a beat takes long."""
        shortest = self._flush_seconds
        return min(max(shortest, BEAT_TIMES * self._average_seconds), LONGEST_TIMES * shortest)

    def _begin(self) -> None:
        self._timer = None
        readers, self._readers = self._readers, []
        self._serve(readers, time.monotonic())

    def _serve(self, readers: list[_Reader], began: float) -> None:
        self._readers += [each for each in readers[:READERS_IN_A_ROW] if each.keeps_waiting()]
        del readers[:READERS_IN_A_ROW]
        # The flush comes after the tasks that were woken: the text that they read now goes out with it.
        after = (self._serve, readers, began) if readers else (self._on_beat, began)
        asyncio.get_running_loop().call_soon(*after)
        if self._readers:
            self.schedule()
