"""CPU time of the worker per 1,000 tokens at 60 streams, compared with the direct call of the typed SDK.

The two take turns on one core; everything else (simulator, servers, web, watching pages) shares a second core. The
target applies to complete answers of 1,000 tokens, from before the first submit to after the last end, so it includes
hints, claims, finishes and all other work of the worker. The cost while all answers only stream is reported too.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from statistics import median

import uvloop

from tests.bench import words
from tests.bench.asking import Asker
from tests.bench.direct_call import DirectCall, direct_call
from tests.bench.event_stream import EventReader
from tests.bench.figure import Figure, Line, Numbers
from tests.bench.processes import apart, cpu_seconds
from tests.bench.stacks import Bench, Running

PACE = 50.0


@dataclass
class Costs:
    """ms of CPU per 1,000 tokens, by round."""

    whole: list[float] = field(default_factory=list)
    streaming: list[float] = field(default_factory=list)

    def numbers(self, name: str) -> Numbers:
        """Return the medians as named numbers."""
        return {
            f"{name}_ms_per_1000": median(self.whole),
            f"{name}_streaming_ms_per_1000": median(self.streaming),
        }


def measure(bench: Bench) -> Numbers:
    """Measure both in turn, for some rounds."""
    running = bench.running()
    streams = bench.pick(full=60, quick=60, smoke=6)
    tokens = bench.pick(full=1000, quick=600, smoke=60)
    return uvloop.run(_measure(running, streams=streams, tokens=tokens, rounds=bench.pick(full=3, quick=1, smoke=1)))


async def _measure(running: Running, *, streams: int, tokens: int, rounds: int) -> Numbers:
    ours, direct, whole = Costs(), Costs(), words.Wholeness()
    with Asker(running.stack.settings) as asker:
        async with direct_call(running.stack, running.simulator.url) as call:
            with apart([running.workers[0].pid, call.pid], running.others()) as is_apart:
                for _ in range(rounds):
                    await _direct(call, direct, streams=streams, tokens=tokens)
                    await _ours(running, asker, whole, ours, streams=streams, tokens=tokens)
    return {
        "streams": float(streams),
        "tokens": float(tokens),
        **ours.numbers("ours"),
        **direct.numbers("direct"),
        "ratio": median(mine / theirs for mine, theirs in zip(ours.whole, direct.whole, strict=True)),
        "streaming_ratio": median(mine / theirs for mine, theirs in zip(ours.streaming, direct.streaming, strict=True)),
        "on_a_core_of_its_own": float(is_apart),
        **whole.numbers(),
    }


async def _streaming(pid: int, costs: Costs, *, streams: int, tokens: int) -> None:
    """Measure the cost in the middle, when all have begun and none has ended."""
    await asyncio.sleep(0.1 * tokens / PACE + 0.5)
    loop = asyncio.get_running_loop()
    before, began = cpu_seconds(pid), loop.time()
    await asyncio.sleep(0.6 * tokens / PACE)
    costs.streaming.append((cpu_seconds(pid) - before) / ((loop.time() - began) * PACE * streams) * 1e6)


async def _direct(call: DirectCall, costs: Costs, *, streams: int, tokens: int) -> None:
    _, asked = call.begin([words.clocked_question(tokens=tokens, pace=PACE) for _ in range(streams)])
    await _streaming(call.pid, costs, streams=streams, tokens=tokens)
    result = await asked
    assert result.tokens == streams * tokens
    costs.whole.append(result.cpu_seconds / result.tokens * 1e6)


async def _ours(
    running: Running, asker: Asker, whole: words.Wholeness, costs: Costs, *, streams: int, tokens: int
) -> None:
    worker = running.workers[0].pid
    pages = [asker.page() for _ in range(streams)]
    readers = [await EventReader.open(running.url, page) for page in pages]
    await asyncio.sleep(0.5)
    before = cpu_seconds(worker)
    asked = [await asker.ask(page, words.clocked_question(tokens=tokens, pace=PACE)) for page in pages]
    await _streaming(worker, costs, streams=streams, tokens=tokens)
    for reader, request_id in zip(readers, asked, strict=True):
        await reader.until(lambda reading, asked=request_id: reading.ended(asked), seconds=120)  # type: ignore[misc]
        reader.close()
    await asyncio.sleep(0.3)  # the last answers' threads end
    costs.whole.append((cpu_seconds(worker) - before) / (streams * tokens) * 1e6)
    for reader, request_id in zip(readers, asked, strict=True):
        whole.check(reader.reading.text, asker.stored(request_id), tokens=tokens)


FIGURE = Figure(
    name="cpu",
    measure=measure,
    lines=(
        Line(
            figure="worker CPU per 1,000 tokens at 60 streams",
            reach="≤ 0.45 × direct typed SDK",
            show=lambda n: (
                f"{n['ratio']:.2f} × ({n['ours_ms_per_1000']:.0f} ms, direct {n['direct_ms_per_1000']:.0f} ms); "
                f"while streaming {n['streaming_ratio']:.2f} × ({n['ours_streaming_ms_per_1000']:.0f} ms, direct "
                f"{n['direct_streaming_ms_per_1000']:.0f} ms)"
            ),
            holds=lambda n: n["ratio"] <= 0.45,
        ),
    ),
    zero=("lost", "cut_at_end"),
)
