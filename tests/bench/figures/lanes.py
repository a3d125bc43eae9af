"""The delay that a hanging provider and a person who floods cause for others.

`hanging`: twenty people ask one provider again and again, with and without two hundred requests at another provider
that never answers. Both belong to one worker with its default number of slots. The phases take turns.

`flood`: twenty people ask in one moment, with and without one person who asked just before as much as one may. Four
slots answer them. The delay compares the k-th first text of both phases, in answers' durations.
"""

from __future__ import annotations

import asyncio
from time import time_ns
from uuid import UUID

import uvloop

from shared.settings import Settings
from tests.bench.asking import Asker, Page
from tests.bench.event_stream import EventReader
from tests.bench.figure import Figure, Line, Numbers, p, spread
from tests.bench.stacks import Bench, Running
from tests.stack import wait_until

PEOPLE = 20
HANGING = "[[sim: fault=silent]] Tell me."
HANGING_MODEL, NORMAL_MODEL = "openai/hangs", "demo/simulator"
SLOTS = 4
#: 20 tokens at 20 a second, and the time to the first.
ANSWER_SECONDS = 1.2
SHORT_ANSWER = "[[sim: tokens=20 pace=40 first=0.1]] Tell me."
ANSWER = "[[sim: tokens=20 pace=20 first=0.2]] Tell me."


def measure(bench: Bench) -> Numbers:
    """Measure both."""
    turns = bench.pick(full=4, quick=2, smoke=1)
    with bench.own() as running:
        _serve_two_lanes(running)
        hanging = uvloop.run(_measure_hanging(bench, running, turns=turns))
    people = bench.pick(full=PEOPLE, quick=PEOPLE, smoke=6)
    limits = {name: getattr(Settings(), name) for name in ("owner_running_questions", "owner_active_questions")}
    with bench.own(concurrency=SLOTS, **limits) as running:
        flood = uvloop.run(_measure_flood(running, people=people, turns=turns))
    return {**hanging, **flood}


def _serve_two_lanes(running: Running) -> None:
    """Replace the worker by one for which the simulator is two providers."""
    old = running.workers.pop()
    old.terminate()
    old.wait()
    address = f"{running.simulator.url}/v1"
    running.stack.configure(
        openai_api_key="sk-bench", openai_base_url=address, models=f"{NORMAL_MODEL},{HANGING_MODEL}"
    )
    running.wait_for_worker(running.start_worker())


async def _measure_hanging(bench: Bench, running: Running, *, turns: int) -> Numbers:
    alone, beside = list[float](), list[float]()
    times, hanging = bench.pick(full=10, quick=5, smoke=1), bench.pick(full=200, quick=200, smoke=4)
    with Asker(running.stack.settings) as asker:
        for _ in range(turns):
            alone += await _first_texts(running, asker, times=times)
            pages = [asker.page() for _ in range(hanging)]
            asked = [await asker.ask(page, HANGING, model=HANGING_MODEL) for page in pages]
            await asyncio.to_thread(_wait_for_calls, running, asked)
            beside += await _first_texts(running, asker, times=times)
            for page, request_id in zip(pages, asked, strict=True):
                await asker.stop(page, request_id)
    return {**spread("alone", alone, 50, 95), **spread("beside", beside, 50, 95)}


def _wait_for_calls(running: Running, asked: list[UUID]) -> None:
    wait_until(lambda: all(running.journal.calls(each) for each in asked), seconds=60, what="the provider hangs")


async def _first_texts(running: Running, asker: Asker, *, times: int) -> list[float]:
    """Have all people ask so many questions, one after another; return the ms to each first text."""

    async def ask() -> list[float]:
        return [await _first_text(running, asker, asker.page(), SHORT_ANSWER) for _ in range(times)]

    return [each for person in await asyncio.gather(*(ask() for _ in range(PEOPLE))) for each in person]


async def _first_text(running: Running, asker: Asker, page: Page, question: str) -> float:
    reader = await EventReader.open(running.url, page)
    await reader.until(lambda reading: reading.is_open)
    began = time_ns()
    request_id = await asker.ask(page, question, model=NORMAL_MODEL)
    at_ns, _ = await reader.until(lambda reading: reading.grown[0] if reading.grown else None)
    await reader.until(lambda reading: reading.ended(request_id))
    reader.close()
    return (at_ns - began) / 1e6


async def _measure_flood(running: Running, *, people: int, turns: int) -> Numbers:
    most = Settings().owner_active_questions
    delays = []
    with Asker(running.stack.settings) as asker:
        for _ in range(turns):
            alone = await _all_at_once(running, asker, people)
            flooder = asker.page()
            pages = [asker.page(like=flooder) for _ in range(most)]
            asked = [await asker.ask(page, ANSWER) for page in pages]
            beside = await _all_at_once(running, asker, people)
            for page, request_id in zip(pages, asked, strict=True):
                await asker.stop(page, request_id)
            delays += [(later - sooner) / 1000 / ANSWER_SECONDS for sooner, later in zip(alone, beside, strict=True)]
            await asyncio.sleep(2 * ANSWER_SECONDS)
    return {"flood_delay_max": max(delays), "flood_delay_p50": p(delays, 50)}


async def _all_at_once(running: Running, asker: Asker, people: int) -> list[float]:
    """Return the ms to the first text of each, the quickest first."""
    return sorted(await asyncio.gather(*(_first_text(running, asker, asker.page(), ANSWER) for _ in range(people))))


FIGURE = Figure(
    name="lanes",
    measure=measure,
    lines=(
        Line(
            figure="first text beside a provider that hangs with 200 requests, over the same without them",
            reach="≤ 1.1 at p50",
            show=lambda n: (
                f"{n['beside_p50'] / n['alone_p50']:.2f} ({n['alone_p50']:.0f} → {n['beside_p50']:.0f} ms; "
                f"p95 {n['alone_p95']:.0f} → {n['beside_p95']:.0f} ms)"
            ),
            holds=lambda n: n["beside_p50"] <= 1.1 * n["alone_p50"],
        ),
        Line(
            figure="how much later twenty people are answered because one floods, in answers' durations",
            reach="≤ 1 at most",
            show=lambda n: f"p50 {n['flood_delay_p50']:.2f}, at most {n['flood_delay_max']:.2f}",
            holds=lambda n: n["flood_delay_max"] <= 1,
        ),
    ),
)
