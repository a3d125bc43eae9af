"""Stop in the page → the provider's connection is closed (by the simulator's log), from any web process.

Stops go through two web processes in turn: first with Redis up, then with Redis stopped, for answers that began before
and after it stopped. Each request must end as `cancelled`.
"""

from __future__ import annotations

import asyncio
import random
import time
from http.client import HTTPConnection
from urllib.parse import urlsplit
from uuid import UUID

import uvloop

from shared.tables import Status
from tests.bench import words
from tests.bench.asking import Asker, Page
from tests.bench.figure import Figure, Line, Numbers, spread
from tests.bench.stacks import Bench, Running
from tests.stack import wait_until

TOKENS = 5_000


def measure(bench: Bench) -> Numbers:
    """Measure stops with Redis up, then down."""
    times = bench.pick(full=40, quick=10, smoke=2)
    with bench.own(webs=2, own_servers=True) as running, Asker(running.stack.settings) as asker:
        up = [_stop_one(running, asker, _begin(running, asker), number=number) for number in range(times)]
        early = [_begin(running, asker) for _ in range(times // 2)]
        running.stack.servers.stop_redis()
        time.sleep(1)
        down = [_stop_one(running, asker, each, number=number) for number, each in enumerate(early)]
        down += [_stop_one(running, asker, _begin(running, asker), number=each) for each in range(times - len(early))]
    return {
        **spread("up", [ms for ms, _ in up], 50, 95),
        "up_max": max(ms for ms, _ in up),
        **spread("down", [ms for ms, _ in down], 50, 95),
        "down_max": max(ms for ms, _ in down),
        "not_cancelled": float(sum(status is not Status.CANCELLED for _, status in (*up, *down))),
    }


def _begin(running: Running, asker: Asker) -> tuple[Page, UUID]:
    """Ask, and return shortly after the provider's first token."""
    page = asker.page()
    request_id = uvloop.run(asker.ask(page, words.clocked_question(tokens=TOKENS, first_seconds=0.05)))
    running.journal.wait_for(request_id, "first")
    uvloop.run(asyncio.sleep(random.uniform(0.05, 0.3)))
    return page, request_id


def _stop_one(running: Running, asker: Asker, asked: tuple[Page, UUID], *, number: int) -> tuple[float, Status]:
    """Return the ms from the click to the closed connection, and how the request ended."""
    page, request_id = asked
    connection = HTTPConnection(urlsplit(running.webs[number % len(running.webs)].url).netloc, timeout=10)
    connection.connect()  # a browser keeps one open
    headers = {"Cookie": page.cookie, "X-Naru": "1"}
    began = time.time()
    connection.request("POST", f"/api/requests/{request_id}/stop", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()
    closed = running.journal.wait_for(request_id, "closed")
    status = wait_until(lambda: (found := asker.row(request_id)[0]) is not Status.RUNNING and found, what="it ends")
    return (closed - began) * 1e3, status or Status.RUNNING


FIGURE = Figure(
    name="stops",
    measure=measure,
    lines=(
        Line(
            figure="stop → the provider's connection closed, from any web process",
            reach="p95 ≤ 30 ms",
            show=lambda n: f"p50 {n['up_p50']:.0f} / p95 {n['up_p95']:.0f} / max {n['up_max']:.0f} ms",
            holds=lambda n: n["up_p95"] <= 30,
        ),
        Line(
            figure="the same with Redis down",
            reach="p95 ≤ 30 ms, every time ≤ 2 s",
            show=lambda n: f"p50 {n['down_p50']:.0f} / p95 {n['down_p95']:.0f} / max {n['down_max']:.0f} ms",
            holds=lambda n: n["down_p95"] <= 30 and n["down_max"] <= 2000,
        ),
    ),
    zero=("not_cancelled",),
)
