"""50 new conversations within a second, from separate browsers: submit → first text, minus the provider's own time.

The pages are already open, as a person's is. Questions are due at fixed moments, so sending late counts as waiting.
"""

from __future__ import annotations

import asyncio
from time import time_ns

import uvloop

from shared.errors import NaruError
from tests.bench import words
from tests.bench.asking import Asker, Page
from tests.bench.event_stream import EventReader
from tests.bench.figure import Figure, Line, Numbers, spread
from tests.bench.stacks import Bench, Running

TOKENS = 50


def measure(bench: Bench) -> Numbers:
    """Measure some bursts, one after another."""
    running = bench.running()
    people = bench.pick(full=50, quick=50, smoke=8)
    bursts = bench.pick(full=5, quick=2, smoke=1)
    return uvloop.run(_measure(running, people=people, bursts=bursts))


async def _measure(running: Running, *, people: int, bursts: int) -> Numbers:
    over: list[float] = []
    refused, whole = 0, words.Wholeness()
    with Asker(running.stack.settings) as asker:
        for _ in range(bursts):
            pages = [asker.page() for _ in range(people)]
            readers = [await EventReader.open(running.url, page) for page in pages]
            for reader in readers:
                await reader.until(lambda reading: reading.is_open)
            begins = time_ns() + 200_000_000
            waits = [
                _one(running, asker, page, reader, whole, at_ns=begins + number * 1_000_000_000 // people)
                for number, (page, reader) in enumerate(zip(pages, readers, strict=True))
            ]
            for found in await asyncio.gather(*waits):
                if found is None:
                    refused += 1
                else:
                    over.append(found)
    return {**spread("over", over, 50, 95, 99), "refused": float(refused), **whole.numbers()}


async def _one(
    running: Running, asker: Asker, page: Page, reader: EventReader, whole: words.Wholeness, *, at_ns: int
) -> float | None:
    """Return the ms beyond the provider's own time; None if the question was refused."""
    await asyncio.sleep((at_ns - time_ns()) / 1e9)
    try:
        request_id = await asker.ask(page, words.clocked_question(tokens=TOKENS))
    except NaruError:
        return None
    await reader.until(lambda reading: reading.ended(request_id))
    reader.close()
    took = (reader.reading.grown[0][0] - at_ns) / 1e6
    whole.check(reader.reading.text, asker.stored(request_id), tokens=TOKENS)
    return took - running.journal.first_token_seconds(request_id) * 1e3


FIGURE = Figure(
    name="burst",
    measure=measure,
    lines=(
        Line(
            figure="50 new conversations within 1 s: submit → first text, over the provider's time",
            reach="p95 ≤ 150 ms, none refused",
            show=lambda n: f"p50 {n['over_p50']:.0f} / p95 {n['over_p95']:.0f} ms, {n['refused']:.0f} refused",
            holds=lambda n: n["over_p95"] <= 150 and n["refused"] == 0,
        ),
    ),
    zero=("refused", "lost", "cut_at_end"),
)
