"""A cheap writer: `python -m tests.bench.writing` writes live streams through the product's own publisher.

It makes web the bottleneck of a figure: it has no provider and stores no rows, but flushes to Redis as a worker does.
It reads one job per line, {"requests": [ids], "pace": 50, "seconds": 10}, and writes clocked tokens to every request at
that pace, in four groups out of step. Its reply is {"tokens": per request, "cpu_seconds": in total}.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from time import time_ns
from typing import Any
from uuid import UUID

import uvloop

from shared.live.answer import LiveAnswer
from shared.live.publisher import Publisher
from shared.settings import load_settings

#: Number of groups. Answers of one group get their tokens at the same time; several groups spread them as in reality.
GROUPS = 4


async def write(publisher: Publisher, job: dict[str, Any]) -> dict[str, float]:
    """Run one job to its end."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    lives = [publisher.open(UUID(request_id), 1) for request_id in job["requests"]]
    tokens = int(job["pace"] * job["seconds"])
    groups = [lives[number::GROUPS] for number in range(GROUPS)]
    await asyncio.gather(
        *(
            _feed(group, tokens=tokens, pace=job["pace"], after=number / GROUPS / job["pace"])
            for number, group in enumerate(groups)
        )
    )
    await asyncio.sleep(0.1)  # the last flush
    for live in lives:
        publisher.close(live, status=None)
    spent = resource.getrusage(resource.RUSAGE_SELF)
    cpu = spent.ru_utime + spent.ru_stime - used.ru_utime - used.ru_stime
    return {"tokens": float(tokens), "cpu_seconds": cpu}


async def _feed(lives: list[LiveAnswer], *, tokens: int, pace: float, after: float) -> None:
    """Write the same tokens to every answer of a group; making them once keeps the cost of measuring low."""
    await asyncio.sleep(after)
    began, sent = time.perf_counter(), 0
    while sent < tokens:
        due = min(tokens, int((time.perf_counter() - began) * pace) + 1)
        text = "".join(f"w{number}@{time_ns()} " for number in range(sent, due))
        if text:
            for live in lives:
                live.add(text)
        sent = due
        await asyncio.sleep(max(0.0, began + sent / pace - time.perf_counter()))


async def main() -> None:
    """Run jobs until the input ends."""
    settings = load_settings()
    publisher = Publisher(settings)
    flusher = asyncio.create_task(publisher.run())
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        sys.stdout.write(json.dumps(await write(publisher, json.loads(line))) + "\n")
        sys.stdout.flush()
    flusher.cancel()


if __name__ == "__main__":
    uvloop.run(main())
