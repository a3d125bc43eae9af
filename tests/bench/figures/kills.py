"""kill -9 of the worker in the middle of an answer → a page sees the new attempt, with default lease settings.

It is measured with a second worker running, and with only one, restarted at once, as any supervisor does. The kill
comes at a random moment. Afterwards the page and the rows must each have the complete answer exactly once.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from time import time_ns

import uvloop

from tests.bench.asking import Asker
from tests.bench.event_stream import Event, EventReader, Reading
from tests.bench.figure import Figure, Line, Numbers, spread
from tests.bench.stacks import Bench, Running
from tests.stack import wait_until
from workers.simulator import text_for

QUESTION = "[[sim: tokens=150 pace=50 first=0.1]] Tell me of the ferry, time {number}. 나루?"


@dataclass
class Seen:
    """Seconds from each kill to the new attempt and to its text, and the number of wrong texts."""

    attempt: list[float] = field(default_factory=list)
    text: list[float] = field(default_factory=list)
    wrong: int = 0


def measure(bench: Bench) -> Numbers:
    """Measure with a second worker, and with only one."""
    times = bench.pick(full=12, quick=3, smoke=1)
    numbers: Numbers = {}
    for name, workers in (("other", 2), ("only", 1)):
        with bench.own(workers=workers) as running:
            seen = Seen()
            for number in range(times):
                _kill_once(running, seen, number=number)
        numbers |= {
            **spread(f"{name}_attempt", seen.attempt, 50, 95),
            **spread(f"{name}_text", seen.text, 50, 95),
            f"{name}_attempt_max": max(seen.attempt),
            f"{name}_wrong_texts": float(seen.wrong),
        }
    return numbers


def _kill_once(running: Running, seen: Seen, *, number: int) -> None:
    # Killing and starting block, so the loop runs in pieces around them.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, Asker(running.stack.settings) as asker:
        question = QUESTION.format(number=number)
        page = asker.page()
        reader = runner.run(EventReader.open(running.url, page))
        request_id = runner.run(asker.ask(page, question))
        runner.run(reader.until(lambda reading: len(reading.text) > 20))
        runner.run(asyncio.sleep(random.uniform(0.1, 1.5)))
        victim = _worker_of(asker, running, request_id)
        killed = time_ns()
        running.workers[victim].kill()
        del running.workers[victim]
        started = running.start_worker()
        runner.run(reader.until(lambda reading: reading.ended(request_id), seconds=60))
        runner.run(asyncio.sleep(0.1))
        reading = reader.look()
        reader.close()
        first = next(event for event in reading.events if _attempt(event) > 1)
        seen.attempt.append((first.at_ns - killed) / 1e9)
        seen.text.append((reading.grown[0][0] - killed) / 1e9)
        seen.wrong += _is_wrong(reading, asker.stored(request_id), text_for(question))
    running.wait_for_worker(started)


def _worker_of(asker: Asker, running: Running, request_id: object) -> int:
    pid = wait_until(lambda: asker.worker_pid(request_id), what="a worker runs it")
    return next(index for index, worker in enumerate(running.workers) if worker.pid == pid)


def _attempt(event: Event) -> int:
    return int(event.data.get("attempt") or 0)


def _is_wrong(reading: Reading, stored: list[str], expected: str) -> bool:
    whole = expected.startswith(reading.text) and stored == [expected]
    return not whole or reading.gaps > 0 or reading.doubled > 0


def _line(name: str, words: str) -> Line:
    return Line(
        figure=f"kill -9 of the worker in mid-answer → the page shows the new attempt; {words}",
        reach="p95 ≤ 8 s; text doubled: never",
        show=lambda n: (
            f"p50 {n[f'{name}_attempt_p50']:.1f} / p95 {n[f'{name}_attempt_p95']:.1f} / max "
            f"{n[f'{name}_attempt_max']:.1f} s of {n[f'{name}_attempt_n']:.0f} kills (its text: p95 "
            f"{n[f'{name}_text_p95']:.1f} s); wrong texts {n[f'{name}_wrong_texts']:.0f}"
        ),
        holds=lambda n: n[f"{name}_attempt_p95"] <= 8 and n[f"{name}_wrong_texts"] == 0,
    )


FIGURE = Figure(
    name="kills",
    measure=measure,
    lines=(_line("other", "another worker is running"), _line("only", "it is the only worker, restarted at once")),
    zero=("other_wrong_texts", "only_wrong_texts"),
)
