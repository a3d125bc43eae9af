"""The event loop of a worker process, in a separate thread. Every stream runs in it.

The loop records the time of each tick, so that the lease thread stops renewing when the loop stalls.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")
TICK_SECONDS = 0.25


class LoopThread:
    """An event loop that other threads hand work to."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self.ticked_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine in the loop, and return the future of its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Schedule a call of `function` in the loop."""
        self.loop.call_soon_threadsafe(function, *arguments)

    def stalled_seconds(self) -> float:
        """Return how late the next tick of the loop is; 0 if it is on time."""
        return max(0.0, time.monotonic() - self.ticked_at - TICK_SECONDS)

    def close(self) -> None:
        """Cancel all tasks, then stop the loop."""
        self.submit(_cancel_all()).result(timeout=5)
        self.call(self.loop.stop)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.create_task(self._tick())
        self.loop.run_forever()

    async def _tick(self) -> None:
        while True:
            self.ticked_at = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
