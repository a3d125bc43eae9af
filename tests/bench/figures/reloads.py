"""200 random reloads in the middle of answers: gaps, doubled characters, and the time until the text is back.

A page reloads (with no state) or reconnects (with its last event id) at random moments, while several answers run. All
that it receives is compared with the simulator's text, Korean and English. If Chromium is installed, it does some real
reloads: there each token holds its number, and time counts from the reload to the text.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from time import time_ns
from uuid import UUID

import uvloop

from tests.bench.asking import Asker, Page
from tests.bench.chromium import Chromium
from tests.bench.event_stream import EventReader, Reading
from tests.bench.figure import CannotMeasure, Figure, Line, Numbers, spread
from tests.bench.stacks import Bench, Running
from workers.simulator import text_for

TOGETHER = 8
QUESTIONS = (
    "[[sim: tokens={tokens} pace=50 first=0.1]] Where does the ferry land? {number}",
    "[[sim: tokens={tokens} pace=50 first=0.1]] 배는 어디에 닿나요? {number}",
)
#: No reload starts beyond this share of an answer's text: it can take 2 s, and after the end the stream has no text.
RELOADED_UNTIL = 0.6


@dataclass
class Found:
    """The results of the reloads; `back` is in seconds."""

    back: list[float] = field(default_factory=list)
    gaps: int = 0
    doubled: int = 0
    wrong_texts: int = 0
    cut_at_end: int = 0


def measure(bench: Bench) -> Numbers:
    """Measure reloads of the event stream, then in Chromium."""
    running = bench.running()
    reloads = bench.pick(full=200, quick=64, smoke=8)
    tokens = bench.pick(full=600, quick=400, smoke=60)
    found = uvloop.run(_measure(running, reloads=reloads, tokens=tokens))
    numbers: Numbers = {
        **spread("back", found.back, 50, 95),
        "back_max": max(found.back),
        "gaps": float(found.gaps),
        "doubled": float(found.doubled),
        "wrong_texts": float(found.wrong_texts),
        "cut_at_end": float(found.cut_at_end),
    }
    try:
        in_chromium = Found()
        with Chromium() as browser:
            for _ in range(bench.pick(full=10, quick=4, smoke=0)):
                _reload_in(browser, running, in_chromium)
        if in_chromium.back:
            numbers |= spread("chromium_back", in_chromium.back, 50, 95)
        numbers |= {"chromium_gaps": float(in_chromium.gaps), "chromium_doubled": float(in_chromium.doubled)}
    except CannotMeasure:
        numbers["chromium_back_n"] = 0.0
    return numbers


async def _measure(running: Running, *, reloads: int, tokens: int) -> Found:
    found = Found()
    with Asker(running.stack.settings) as asker:
        share = reloads // TOGETHER
        people = (_person(running, asker, found, each, share=share, tokens=tokens) for each in range(TOGETHER))
        await asyncio.gather(*people)
    return found


async def _person(running: Running, asker: Asker, found: Found, number: int, *, share: int, tokens: int) -> None:
    """Ask one question after another, until this person's share of reloads is done."""
    left = share
    while left > 0:
        page = asker.page()
        question = QUESTIONS[number % 2].format(tokens=tokens, number=random.random())
        expected = text_for(question)
        reader = await EventReader.open(running.url, page)
        request_id = await asker.ask(page, question)
        await reader.until(lambda reading: reading.grown)
        while left > 0 and len(reader.look().text) < len(expected) * RELOADED_UNTIL:
            reader = await _reload(running, page, reader, found, expected=expected)
            left -= 1
        await _check_end(asker, reader, request_id, found, expected=expected)


async def _reload(running: Running, page: Page, reader: EventReader, found: Found, *, expected: str) -> EventReader:
    await asyncio.sleep(random.uniform(0.05, 0.6))
    before = reader.look()
    reader.close()
    await asyncio.sleep(random.choice((0.0, 0.05, random.uniform(0.0, 1.5))))
    _note(before, found, expected)
    resumes = random.random() < 0.5
    reading = Reading(shown=before.shown, text=before.text, last_id=before.last_id) if resumes else None
    began, had = time_ns(), len(before.text)
    reader = await EventReader.open(running.url, page, reading=reading)
    at_ns = await reader.until(lambda seen: seen.grown[-1][0] if seen.grown and len(seen.text) >= had else None)
    found.back.append((at_ns - began) / 1e9)
    return reader


async def _check_end(asker: Asker, reader: EventReader, request_id: UUID, found: Found, *, expected: str) -> None:
    await reader.until(lambda reading: reading.ended(request_id))
    _note(reader.reading, found, expected)
    found.wrong_texts += asker.stored(request_id) != [expected]
    found.cut_at_end += reader.reading.text != expected
    reader.close()


def _note(reading: Reading, found: Found, expected: str) -> None:
    found.gaps += reading.gaps
    found.doubled += reading.doubled
    found.wrong_texts += not expected.startswith(reading.text)


def _reload_in(browser: Chromium, running: Running, found: Found) -> None:
    """Reload the page during one answer, and check the text."""
    browser.open(running.url)
    browser.ask("[[sim: emit=clock tokens=300 first=0.1]] reload me")
    browser.wait_for_words(1)
    browser.wait(random.uniform(0.3, 2.0))
    had = browser.words()
    took = browser.reload_until(len(had))
    found.back.append(took)
    for _ in range(10):
        shown = browser.words()
        found.gaps += shown != list(range(len(shown)))
        found.doubled += len(shown) != len(set(shown))
        browser.wait(0.05)


def _show(n: Numbers) -> str:
    text = (
        f"gaps {n['gaps']:.0f}, doubled {n['doubled']:.0f}, wrong texts {n['wrong_texts']:.0f} of {n['back_n']:.0f}; "
        f"text back p50 {n['back_p50'] * 1e3:.0f} / p95 {n['back_p95'] * 1e3:.0f} / max {n['back_max'] * 1e3:.0f} ms"
    )
    if not n.get("chromium_back_n"):
        return text + "; not measured in Chromium"
    back = f"{n['chromium_back_p50']:.2f} / p95 {n['chromium_back_p95']:.2f} s of {n['chromium_back_n']:.0f}"
    return f"{text}; in Chromium p50 {back}"


def _holds(n: Numbers) -> bool:
    whole = not any(n.get(name) for name in FIGURE.zero)
    return whole and n["back_p95"] <= 0.7 and n.get("chromium_back_p95", 0.0) <= 0.7


FIGURE = Figure(
    name="reloads",
    measure=measure,
    lines=(
        Line(
            figure="200 random reloads during answers",
            reach="0 gaps, 0 doubled characters; text back ≤ 0.7 s",
            show=_show,
            holds=_holds,
        ),
    ),
    zero=("gaps", "doubled", "wrong_texts", "cut_at_end", "chromium_gaps", "chromium_doubled"),
)
