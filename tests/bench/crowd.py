"""Load for the cost and capacity figures: many watched answers at once, at a given pace.

Questions are asked evenly while the load grows; each page has its own conversation. Unwatched answers are checked in
Postgres, where they must be complete.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from uuid import UUID

from tests.bench import words
from tests.bench.asking import Asker, Page
from tests.bench.evenness import timing
from tests.bench.event_stream import EventReader
from tests.bench.figure import Numbers
from tests.bench.processes import core_shares
from tests.bench.stacks import Running

PACE = 50
#: Questions per second while the load grows.
RAMP = 60
#: The parts whose cost counts. The rest (the simulator, our client) belongs to the measurement.
PATH = ("worker", "redis", "web")
PARTS = (*PATH, "postgres", "simulator", "client")


def pids_of(running: Running) -> dict[str, int]:
    """Return each part's process id: the first of several worker or web processes."""
    servers = running.stack.servers
    return {
        "worker": running.workers[0].pid,
        "web": running.webs[0].pid,
        "redis": servers.redis.pid,
        "postgres": servers.postgres.pid,
        "simulator": running.simulator.pid,
        "client": os.getpid(),
    }


async def shares(running: Running, *, seconds: float) -> Numbers:
    """Measure each part's share of a core from now on, as `worker_core_share` …"""
    found = await core_shares(pids_of(running), seconds=seconds, trees={"postgres"})
    return {f"{name}_core_share": share for name, share in found.items()}


async def carry(
    running: Running,
    *,
    streams: int,
    window_seconds: float,
    pace: float = PACE,
    watched_of: int = 1,
    meanwhile: Callable[[], Awaitable[Numbers]] | None = None,
) -> Numbers:
    """Run `streams` answers, all of them at once during a window, and watch one in `watched_of`.

    Returns how evenly they arrived, whether they were complete, and what `meanwhile` measured in the window (by
    default, `shares`).
    """
    tokens = int(pace * (streams / RAMP + window_seconds + 2))
    with Asker(running.stack.settings) as asker:
        pages = [asker.page() for _ in range(streams)]
        readers: list[EventReader | None] = [
            await EventReader.open(running.webs[number % len(running.webs)].url, page)
            if number % watched_of == 0
            else None
            for number, page in enumerate(pages)
        ]
        await asyncio.sleep(0.5)
        loop = asyncio.get_running_loop()
        began = loop.time()
        asked = await _ask_evenly(asker, pages, words_of=lambda: words.clocked_question(tokens=tokens, pace=pace))
        await asyncio.sleep(1)
        measured = await (meanwhile() if meanwhile else shares(running, seconds=window_seconds / 2))
        # Parse the events only after the window: parsing would add to the measured cost.
        await asyncio.sleep(max(0.0, began + tokens / pace + streams / RAMP + 0.5 - loop.time()))
        whole = words.Wholeness()
        for reader, request_id in zip(readers, asked, strict=True):
            await _end_of(asker, reader, request_id, whole, tokens=tokens)
    seen = [[(at, words.clocks(text)) for at, text in reader.reading.grown] for reader in readers if reader is not None]
    return {**whole.numbers(), **measured, **timing(seen), "tokens": float(tokens)}


async def _ask_evenly(asker: Asker, pages: list[Page], *, words_of: Callable[[], str]) -> list[UUID]:
    loop = asyncio.get_running_loop()
    began, asked = loop.time(), []
    for number, page in enumerate(pages):
        await asyncio.sleep(max(0.0, began + number / RAMP - loop.time()))
        asked.append(await asker.ask(page, words_of()))
    return asked


async def _end_of(
    asker: Asker, reader: EventReader | None, request_id: UUID, whole: words.Wholeness, *, tokens: int
) -> None:
    """Wait for an answer to end, and check it."""
    if reader is None:
        for _ in range(600):
            if stored := asker.stored(request_id):
                whole.check(stored[0], stored, tokens=tokens)
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"not answered: {request_id}")
    await reader.until(lambda reading: reading.ended(request_id), seconds=60)
    reader.close()
    whole.check(reader.reading.text, asker.stored(request_id), tokens=tokens)
