"""Submit → first text at an SSE client, compared with the direct call of the SDK: one at a time, and with 20 running.

Naru and the direct call take turns against the same simulator. "Over" is the difference between the same percentiles
of both. The simulator's log splits the time: until its call begins (submit, hint, claim, prompt), and from its first
token to the client (worker, Redis, web).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import time_ns

import uvloop

from tests.bench import words
from tests.bench.asking import Asker
from tests.bench.direct_call import DirectCall, direct_call
from tests.bench.event_stream import EventReader
from tests.bench.figure import Figure, Line, Numbers, p, spread
from tests.bench.stacks import Bench, Running

TOKENS = 10
FIRST_SECONDS = 0.2
RUNNING = 20
#: Long enough to outlast a phase; they are stopped at its end.
BACKGROUND = {"tokens": 20_000, "first_seconds": 0.2}


@dataclass
class Samples:
    """The samples of one phase, in ms."""

    ours: list[float] = field(default_factory=list)
    direct: list[float] = field(default_factory=list)
    until_call: list[float] = field(default_factory=list)
    after_first: list[float] = field(default_factory=list)
    whole: words.Wholeness = field(default_factory=words.Wholeness)

    def numbers(self, name: str) -> Numbers:
        """Return percentiles and losses as named numbers."""
        return {
            f"{name}_over_p50": p(self.ours, 50) - p(self.direct, 50),
            f"{name}_over_p95": p(self.ours, 95) - p(self.direct, 95),
            **{f"{name}_{key}": value for key, value in self.whole.numbers().items()},
            **spread(f"{name}_ours", self.ours, 50, 95),
            **spread(f"{name}_direct", self.direct, 50, 95),
            **spread(f"{name}_until_call", self.until_call, 50, 95),
            **spread(f"{name}_after_first", self.after_first, 50, 95),
        }


def measure(bench: Bench) -> Numbers:
    """Measure both phases."""
    running = bench.running()
    return uvloop.run(_measure(running, times=bench.pick(full=60, quick=20, smoke=2)))


async def _measure(running: Running, *, times: int) -> Numbers:
    alone, among = Samples(), Samples()
    with Asker(running.stack.settings) as asker:
        async with direct_call(running.stack, running.simulator.url) as direct:
            for _ in range(times):
                await _ours(running, asker, alone)
                await _direct(direct, alone)
            for _ in range(2):  # in turn, so that other load on the machine affects both
                async with _running(running, asker):
                    for _ in range(max(1, times // 2)):
                        await _ours(running, asker, among)
                job, _ = direct.begin([words.clocked_question(**BACKGROUND)] * RUNNING)  # type: ignore[arg-type]
                await asyncio.sleep(1)
                for _ in range(max(1, times // 2)):
                    await _direct(direct, among)
                await direct.cancel(job)
    return {**alone.numbers("alone"), **among.numbers("among")}


async def _ours(running: Running, asker: Asker, samples: Samples) -> None:
    page = asker.page()
    reader = await EventReader.open(running.url, page)
    await reader.until(lambda reading: reading.is_open)
    await asyncio.sleep(0.05)
    began = time_ns()
    request_id = await asker.ask(page, words.clocked_question(tokens=TOKENS, first_seconds=FIRST_SECONDS))
    at_ns, text = await reader.until(lambda reading: reading.grown[0] if reading.grown else None)
    await reader.until(lambda reading: reading.ended(request_id))
    reader.close()
    samples.ours.append((at_ns - began) / 1e6)
    samples.until_call.append(running.journal.calls(request_id)[0]["start"] * 1e3 - began / 1e6)
    samples.after_first.append((at_ns - words.clocks(text)[0]) / 1e6)
    samples.whole.check(reader.reading.text, asker.stored(request_id), tokens=TOKENS)


async def _direct(direct: DirectCall, samples: Samples) -> None:
    result = await direct.ask([words.clocked_question(tokens=TOKENS, first_seconds=FIRST_SECONDS)])
    samples.direct += [seconds * 1e3 for seconds in result.first_seconds]
    await asyncio.sleep(0.05)


@asynccontextmanager
async def _running(running: Running, asker: Asker) -> AsyncIterator[None]:
    """Keep `RUNNING` watched answers running; stop them at the end."""
    pages = [asker.page() for _ in range(RUNNING)]
    readers = [await EventReader.open(running.url, page) for page in pages]
    asked = [await asker.ask(page, words.clocked_question(**BACKGROUND)) for page in pages]  # type: ignore[arg-type]
    for reader in readers:
        await reader.until(lambda reading: reading.grown)
    yield
    for page, request_id in zip(pages, asked, strict=True):
        await asker.stop(page, request_id)
    for reader, request_id in zip(readers, asked, strict=True):
        await reader.until(lambda reading, asked=request_id: reading.ended(asked))  # type: ignore[misc]
        reader.close()


def _line(name: str, words: str) -> Line:
    return Line(
        figure=f"submit → first text at an SSE client, over the direct SDK; {words}",
        reach="+ ≤ 10 ms p50, + ≤ 30 ms p95",
        show=lambda n: (
            f"+ {n[f'{name}_over_p50']:.1f} / + {n[f'{name}_over_p95']:.1f} ms "
            f"(to the call {n[f'{name}_until_call_p50']:.1f}, after the first token {n[f'{name}_after_first_p50']:.1f})"
        ),
        holds=lambda n: n[f"{name}_over_p50"] <= 10 and n[f"{name}_over_p95"] <= 30,
    )


FIGURE = Figure(
    name="first-text",
    measure=measure,
    lines=(_line("alone", "one at a time"), _line("among", f"with {RUNNING} running")),
    zero=tuple(f"{phase}_{what}" for phase in ("alone", "among") for what in ("lost", "cut_at_end")),
)
