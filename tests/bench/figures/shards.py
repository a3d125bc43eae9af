"""The number of watched answers that one Redis core carries, with 1, 2 and 4 Redis servers for the live streams.

With N servers there are N times as many writers, readers and answers as with one: each writer and each reader spreads
its answers over all servers, so each server hears N times as many processes, each with an N-th of its answers. Writers
and readers use the product's publisher and readers, without provider, rows and pages. What counts is the CPU time of
the Redis processes for each watched answer; the machine need not have a core for each. More servers are linear when an
answer costs as much with N servers as with one. Equal runs differ by a fifth, so the numbers of servers take turns and
each has its median.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack
from uuid import uuid4

import uvloop

from deploy.embedded.processes import ROOT
from tests.bench.crowd import PACE
from tests.bench.figure import CannotMeasure, Figure, Line, Numbers
from tests.bench.processes import cpu_seconds
from tests.bench.stacks import Bench
from tests.stack import Process as Server

SHARDS = (1, 2, 4)
#: The writers begin this long after the readers, and the readers stay this long after the writers' end.
AROUND_SECONDS = 1.0


def measure(bench: Bench) -> Numbers:
    """Measure each number of servers."""
    answers = bench.pick(full=300, quick=200, smoke=5)
    seconds = bench.pick(full=15, quick=8, smoke=2)
    numbers: Numbers = {"answers_each": float(answers), "lost": 0.0}
    runs: dict[int, list[Numbers]] = {shards: [] for shards in SHARDS}
    for shards in SHARDS * bench.pick(full=5, quick=3, smoke=1):
        with bench.more_redis(shards) as servers:
            urls = ",".join(server.url for server, _ in servers)
            processes = [process for _, process in servers]
            found = uvloop.run(_carry(bench, urls, processes, answers=answers, seconds=seconds))
        numbers["lost"] += found.pop("lost")
        runs[shards].append(found)
    for shards, each in runs.items():
        numbers |= {f"{name}_{shards}": statistics.median(run[name] for run in each) for name in each[0]}
    for shards in SHARDS[1:]:
        numbers[f"linear_{shards}"] = numbers["us_per_token_1"] / numbers[f"us_per_token_{shards}"]
    return numbers


async def _carry(bench: Bench, urls: str, servers: list[Server], *, answers: int, seconds: int) -> Numbers:
    environ = bench.environ(redis_url=urls.partition(",")[0], live_redis_urls=urls)

    async def start(module: str) -> Process:
        command = (sys.executable, "-m", f"tests.bench.{module}")
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environ, stdin=PIPE, stdout=PIPE)
        stack.push_async_callback(process.wait)
        stack.callback(process.kill)
        return process

    async with AsyncExitStack() as stack:
        pairs = [(await start("writing"), await start("reading")) for _ in servers]
        requests = [[str(uuid4()) for _ in range(answers)] for _ in pairs]
        reads = [
            asyncio.create_task(_job(reader, {"requests": each, "seconds": seconds + 4 * AROUND_SECONDS}))
            for (_, reader), each in zip(pairs, requests, strict=True)
        ]
        await asyncio.sleep(AROUND_SECONDS)
        before = [cpu_seconds(server.pid) for server in servers]
        jobs = [{"requests": each, "pace": PACE, "seconds": seconds} for each in requests]
        written = await asyncio.gather(*(_job(writer, job) for (writer, _), job in zip(pairs, jobs, strict=True)))
        spent = [cpu_seconds(server.pid) - begun for server, begun in zip(servers, before, strict=True)]
        heard = await asyncio.gather(*reads)
    tokens = sum(each["tokens"] for each in written) * answers
    if sum(spent) <= 0:
        raise CannotMeasure("Redis used less CPU time than the clock shows")
    return {
        "us_per_token": sum(spent) / tokens * 1e6,
        "answers_per_core": tokens / PACE / sum(spent),
        "busiest_core_share": max(spent) / seconds,
        "lost": abs(tokens - sum(each["tokens"] for each in heard)),
    }


async def _job(process: Process, job: dict[str, object]) -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(job).encode() + b"\n")
    reply: dict[str, float] = json.loads(await process.stdout.readline())
    return reply


def _each(n: Numbers, name: str, form: str) -> str:
    """Return the number for each number of servers."""
    return " / ".join(format(n[f"{name}_{shards}"], form) for shards in SHARDS)


FIGURE = Figure(
    name="shards",
    measure=measure,
    lines=(
        Line(
            figure=f"watched answers at {PACE} tokens/s for each Redis core, with 1, 2, 4 servers for live text",
            reach="≥ 0.9 of linear in Redis's own CPU time",
            show=lambda n: (
                f"{_each(n, 'answers_per_core', ',.0f')} ({_each(n, 'us_per_token', '.2f')} µs a token); "
                f"{n['linear_2']:.2f} and {n['linear_4']:.2f} of linear"
            ),
            holds=lambda n: n["linear_2"] >= 0.9 and n["linear_4"] >= 0.9,
        ),
    ),
    zero=("lost",),
)
