"""A steady load of people who ask, read, stop, reload, press Enter twice, open a tab or give up.

Some questions make the provider fail temporarily, and a few permanently. The coroutines run in the crowd's loop.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

from tests.faults.crowd import Asked, Crowd, Page

#: Provider faults: temporary ones in 9 of 100 questions, permanent ones (`REFUSALS`) in 1 of 100.
MISCHIEF = (
    "fault=429 retry_after=1 times=1",
    "fault=500 times=1",
    "fault=529 times=1",
    "fault=cut at={at} times=1",
    "fault=end at={at} times=1",
    "fault=eof at={at} times=1",
    "fault=malformed at={at} times=1",
    "fault=error at={at} times=1",
    "fault=drip",
)
REFUSALS = ("fault=401", "fault=400")
#: The limit for a page to see a request's end.
END_SECONDS = 120.0


def question(dice: random.Random) -> str:
    """Make a question whose answer takes one to two seconds at the median; some take much longer."""
    tokens = min(300, int(dice.lognormvariate(3.7, 0.6)) + 3)
    pace, luck = dice.choice((20, 30, 40, 60)), dice.random()
    more = ""
    if luck < 0.01:
        more = dice.choice(REFUSALS)
    elif luck < 0.1:
        more = dice.choice(MISCHIEF).format(at=dice.randint(0, tokens))
    key = f"key={dice.getrandbits(48):x}" if more else ""
    text = f"[[sim: emit=call tokens={tokens} pace={pace} first={dice.uniform(0.02, 0.5):.2f} {more} {key}]]"
    return f"{text} question {dice.getrandbits(48):x}?"


async def load(crowd: Crowd, dice: random.Random, *, rate: float, seconds: float) -> list[str]:
    """Start `rate` visits a second until the time is over; wait for them, and return the errors of failed ones."""
    limit, visits = time.monotonic() + seconds, set[asyncio.Task[None]]()
    broken: list[str] = []

    def gone(task: asyncio.Task[None]) -> None:
        visits.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            broken.append(f"{type(error).__name__}: {error}")

    while time.monotonic() < limit:
        task = asyncio.create_task(visit(crowd, random.Random(dice.getrandbits(64))))
        visits.add(task)
        task.add_done_callback(gone)
        await asyncio.sleep(dice.expovariate(rate))
    while visits:
        await asyncio.wait(visits)
        await asyncio.sleep(0)
    return broken


async def visit(crowd: Crowd, dice: random.Random) -> None:
    """Visit as one person: open a page and ask one to three questions in one conversation."""
    page = await crowd.page()
    try:
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            habit = dice.choices(list(HABITS), weights=list(HABITS.values()))[0]
            await habit(crowd, page, dice)
    finally:
        await page.close()
        if page in crowd.pages:
            crowd.pages.remove(page)


async def patient(_: Crowd, page: Page, dice: random.Random) -> None:
    """Ask, press Enter again after an error, and read to the end."""
    asked = await page.ask(question(dice))
    await _end(page, asked)


async def impatient(_: Crowd, page: Page, dice: random.Random) -> None:
    """Give up after the first error; that question must never get an answer."""
    asked = await page.ask(question(dice), again=False)
    await _end(page, asked)


async def stopping(_: Crowd, page: Page, dice: random.Random) -> None:
    """Press Stop soon after Enter, or in the middle of the answer."""
    asked = await page.ask(question(dice))
    if asked is None:
        return
    if dice.random() < 0.6:
        await page.see_text(asked.request, tokens=dice.randint(1, 25), seconds=END_SECONDS)
    else:
        await asyncio.sleep(dice.uniform(0, 0.3))
    while asked.request not in page.ends:
        said = await page.stop(asked.request)
        if not said.startswith(("refused", "unknown")):
            break
        await asyncio.sleep(1)
    await _end(page, asked)


async def reloading(_: Crowd, page: Page, dice: random.Random) -> None:
    """Reload the page during an answer, up to three times."""
    asked = await page.ask(question(dice))
    for _again in range(dice.randint(1, 3)):
        await asyncio.sleep(dice.uniform(0.05, 1))
        await page.reload()
    await _end(page, asked)


async def pressing_twice(_: Crowd, page: Page, dice: random.Random) -> None:
    """Press Enter twice in one composer at the same moment."""
    words, key = question(dice), uuid4().hex
    asked = await asyncio.gather(*(page.ask(words, key=key) for _ in range(2)))
    await _end(page, next((each for each in asked if each), None))


async def in_two_tabs(crowd: Crowd, page: Page, dice: random.Random) -> None:
    """Open the conversation in a second tab, which must show the same."""
    other = Page(crowd, like=page)
    other.open()
    try:
        asked = await page.ask(question(dice))
        await _end(page, asked)
    finally:
        await other.close()


async def _end(page: Page, asked: Asked | None) -> None:
    if asked is not None:
        await page.see_end(asked.request, seconds=END_SECONDS)


HABITS: dict[Callable[[Crowd, Page, random.Random], Awaitable[None]], int] = {
    patient: 60,
    impatient: 8,
    stopping: 12,
    reloading: 8,
    pressing_twice: 6,
    in_two_tabs: 6,
}
