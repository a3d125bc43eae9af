"""The one event loop of a worker process, in a thread of its own: every stream runs in it.

It says when it last ticked, so that the lease thread can stop renewing for a loop that stands still.
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
BEAT_SECONDS = 0.25


class LoopThread:
    """An event loop that other threads hand work to."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self.beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    def start(self) -> None:
        """Begin to run."""
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine in the loop; its result is waited for with the future."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function in the loop, soon."""
        self.loop.call_soon_threadsafe(function, *arguments)

    def stalled_seconds(self) -> float:
        """How long the loop has been late with its next tick."""
        return max(0.0, time.monotonic() - self.beat - BEAT_SECONDS)

    def close(self) -> None:
        """Stop; whatever still runs is cancelled first."""
        self.submit(_cancel_all()).result(timeout=5)
        self.call(self.loop.stop)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.create_task(self._beats())
        self.loop.run_forever()

    async def _beats(self) -> None:
        while True:
            self.beat = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
