"""Helpers that run a publisher on a real Redis, as a worker process does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from shared.live.publisher import Publisher
from shared.settings import Settings, load_settings
from tests.patience import patient


def settings_for(redis_url: str, **values: object) -> Settings:
    environ = {f"NARU_{name.upper()}": str(value) for name, value in values.items()}
    return load_settings({"REDIS_URL": redis_url, "NARU_FLUSH_SECONDS": "0.005", **environ})


@asynccontextmanager
async def publishing(settings: Settings) -> AsyncIterator[Publisher]:
    """Run a publisher and its flusher; yield the publisher."""
    publisher = Publisher(settings)
    flusher = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        assert not flusher.done(), "the flusher must not end by itself"
        while not flusher.done():  # redis-py swallows a cancellation now and then
            flusher.cancel()
            await asyncio.wait([flusher], timeout=0.1)
        await publisher.aclose()


async def until(condition: Callable[[], object], *, seconds: float = 8.0) -> None:
    limit = time.monotonic() + patient(seconds)
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < limit, "not in time"
        await asyncio.sleep(0.01)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())
