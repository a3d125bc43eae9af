"""Pages of one web process: the memory of a page, idle and busy, and the clicks that are drawn per second.

Each page is the WebSocket of a separate browser. It draws the empty page (idle) and then clicks ten times, at the same
time as all others (busy: the peak memory of the process meanwhile, divided by the pages). The click rate is from the
same time. There is no Streamlit frontend: the client makes the messages by hand and reads each run to its end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import uvloop

from tests.attacks.person import Page
from tests.bench.asking import Asker
from tests.bench.figure import Figure, Line, Numbers, spread
from tests.bench.processes import cpu_seconds, pss_megabytes
from tests.bench.stacks import Bench, Running

CLICKS = 10
OPEN_AT_ONCE = 10
#: A person reads and thinks between two clicks or questions.
SECONDS_BETWEEN_CLICKS = 30
#: The share of a process's click rate that people may use on average, so that a click in a busy moment waits little.
SHARE = 0.5
LOOK_SECONDS = 0.2


def measure(bench: Bench) -> Numbers:
    """Open the pages, rest, click, and measure memory and click rate."""
    pages = bench.pick(full=400, quick=100, smoke=4)
    with (
        bench.own(sockets=2 * pages, sockets_per_address=2 * pages) as running,
        Asker(running.stack.settings) as asker,
    ):
        return uvloop.run(_measure(running, [asker.page().cookie for _ in range(pages)]))


async def _measure(running: Running, cookies: Sequence[str]) -> Numbers:
    pid = running.webs[0].pid
    before = pss_megabytes(pid)
    door = asyncio.Semaphore(OPEN_AT_ONCE)

    async def opened(cookie: str) -> Page:
        async with door:
            return await Page.open(running.url, cookie)

    made = await asyncio.gather(*map(opened, cookies))
    await asyncio.sleep(1)
    idle = pss_megabytes(pid)
    used, began = cpu_seconds(pid), time.monotonic()
    clicking = asyncio.create_task(_click(made))
    most = idle
    while not clicking.done():
        await asyncio.sleep(LOOK_SECONDS)
        most = max(most, pss_megabytes(pid))
    took, used = time.monotonic() - began, cpu_seconds(pid) - used
    waits = await clicking
    for page in made:
        page.socket.abort()
    return {
        "pages": float(len(cookies)),
        "idle_mb": (idle - before) / len(cookies),
        "busy_mb": (most - before) / len(cookies),
        "clicks_per_second": len(waits) / took,
        "click_cpu_ms": 1000 * used / len(waits),
        "people": SHARE * SECONDS_BETWEEN_CLICKS * len(waits) / took,
    } | spread("click", waits, 50, 95)


async def _click(pages: Sequence[Page]) -> list[float]:
    """Click in every page as soon as its last click is drawn; return the seconds that each click took."""

    async def click(page: Page) -> list[float]:
        waits = []
        for _ in range(CLICKS):
            began = time.monotonic()
            await page.click()
            waits.append(time.monotonic() - began)
        return waits

    return [wait for waits in await asyncio.gather(*(click(page) for page in pages)) for wait in waits]


FIGURE = Figure(
    name="pages",
    measure=measure,
    lines=(
        Line(
            figure="memory of one open page in web (PSS), idle / busy",
            reach="≤ 0.5 / ≤ 1 MB",
            show=lambda n: f"{n['idle_mb']:.2f} / {n['busy_mb']:.2f} MB at {n['pages']:.0f} pages",
            holds=lambda n: n["idle_mb"] <= 0.5 and n["busy_mb"] <= 1,
        ),
        Line(
            figure="clicks that one web process draws; people who click every 30 s, at half that rate",
            reach="≥ 30 a second",
            show=lambda n: (
                f"{n['clicks_per_second']:.0f} a second, {n['click_cpu_ms']:.0f} ms of CPU each; "
                f"{n['people']:.0f} people"
            ),
            holds=lambda n: n["clicks_per_second"] >= 30,
        ),
    ),
)
