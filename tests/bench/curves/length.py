"""Cost by the length of the answer, and by the length of the conversation before it."""

from __future__ import annotations

import asyncio
import time

import uvloop

from shared.conversations import open_conversation
from tests.bench import filling, words
from tests.bench.asking import Asker, Page
from tests.bench.crowd import pids_of
from tests.bench.curves.curve import Curve, Points, add
from tests.bench.event_stream import EventReader
from tests.bench.figure import Numbers, Size, p
from tests.bench.filling import Filled
from tests.bench.processes import cpu_seconds, tree_cpu_seconds
from tests.bench.stacks import Bench, Running

TOKENS = {Size.FULL: (100, 300, 1000, 3000, 10_000), Size.QUICK: (100, 500, 2500), Size.SMOKE: (20, 100)}
#: Tokens a second, so fast that the longest answer does not take minutes; and the answers asked together.
FAST_PACE, TOGETHER = 500.0, 10
MESSAGES = {Size.FULL: (2, 10, 30, 100, 300, 1000), Size.QUICK: (2, 30, 300), Size.SMOKE: (2, 20)}
SERIES = ("worker", "web", "postgres")


def answers(bench: Bench) -> Points:
    """Measure answers of growing length, from the first submit to after the last end."""
    running, points = bench.running(), Points()
    for tokens in TOKENS[bench.size]:
        rounds = bench.pick(full=4, quick=2, smoke=1)
        add(points, tokens, uvloop.run(_answers(running, tokens=tokens, rounds=rounds)))
    return points


async def _answers(running: Running, *, tokens: int, rounds: int) -> Numbers:
    with Asker(running.stack.settings) as asker:
        before = _used(running)
        for _ in range(rounds):
            pages = [asker.page() for _ in range(TOGETHER)]
            await asyncio.gather(*(_watched(running, asker, page, tokens=tokens, pace=FAST_PACE) for page in pages))
        await asyncio.sleep(0.5)
        after = _used(running)
    return {name: (after[name] - before[name]) / (rounds * TOGETHER) * 1e3 for name in SERIES}


async def _watched(running: Running, asker: Asker, page: Page, *, tokens: int, pace: float) -> None:
    reader = await EventReader.open(running.url, page)
    request_id = await asker.ask(page, words.clocked_question(tokens=tokens, pace=pace, first_seconds=0.05))
    await asyncio.sleep(tokens / pace)
    await reader.until(lambda reading: reading.ended(request_id))
    reader.close()


def _used(running: Running) -> Numbers:
    pids = pids_of(running)
    used = {name: cpu_seconds(pids[name]) for name in ("worker", "web")}
    return used | {"postgres": tree_cpu_seconds(pids["postgres"])}


def history(bench: Bench) -> Points:
    """Measure the same short question after more and more messages."""
    running, points = bench.running(), Points()
    times = bench.pick(full=25, quick=8, smoke=2)
    for messages in MESSAGES[bench.size]:
        filled = Filled(f"history-curve-{messages}", conversations=times, messages=messages, owners=1)
        with Asker(running.stack.settings) as asker:
            page = asker.page()
            filling.fill(running.stack.database_url, filled, owner=page.owner)
            pages = [Page(page.owner, page.cookie, filled.conversation_id(number)) for number in range(times)]
            add(points, messages, uvloop.run(_behind(running, asker, pages)))
    return points


async def _behind(running: Running, asker: Asker, pages: list[Page]) -> Numbers:
    loop, calls, opens, before = asyncio.get_running_loop(), [], [], _used(running)
    for page in pages:
        began = loop.time()
        open_conversation(asker.engine, page.conversation_id, owner=page.owner)
        opens.append((loop.time() - began) * 1e3)
        wall = time.time()
        request_id = await asker.ask(page, "[[sim: tokens=5 pace=0 first=0]] And?")
        await asyncio.to_thread(running.journal.wait_for, request_id, "end")
        calls.append((running.journal.calls(request_id)[0]["start"] - wall) * 1e3)
    await asyncio.sleep(0.3)
    used = (_used(running)["worker"] - before["worker"]) / len(pages) * 1e3
    return {"submit → provider's call, ms": p(calls, 50), "worker's CPU, ms": used, "open, ms": p(opens, 50)}


ANSWER = Curve(
    name="answer-length",
    title=f"CPU of a watched answer over its length, {FAST_PACE:.0f} tokens/s",
    work="tokens of the answer",
    unit="ms of CPU for each answer",
    measure=answers,
)
HISTORY = Curve(
    name="history-length",
    title="A short question behind a long conversation",
    work="messages before it",
    unit="ms",
    measure=history,
)
