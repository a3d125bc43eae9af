"""A program that asks the provider without Naru: `python -m tests.bench.direct sdk|hand URL`.

`sdk` uses the official SDK as its makers show it: typed objects, its default transport, no queue. `hand` uses
by_hand.py. The program reads one job per line, {"id": 1, "messages": [...], "per_second": 60}, and asks the messages
evenly at that rate; 0 asks all at once. It writes one line per job: the seconds to the first token of each answer, the
tokens, the CPU seconds of this process, and the evenness of clocked answers (calculated after the CPU time is read).
{"cancel": 1} ends a job early.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from time import time_ns
from typing import Any

import uvloop

from tests.bench import by_hand
from tests.bench.by_hand import Piece
from tests.bench.evenness import timing
from tests.bench.words import clocks

Call = Callable[[str], Awaitable[list[Piece]]]


def spent() -> float:
    """Return the CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def typed_sdk(url: str) -> Call:
    """Return a function that asks through the SDK."""
    import openai  # noqa: PLC0415 - takes a second, and `hand` does not need it

    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600)

    async def call(message: str) -> list[Piece]:
        stream = await client.chat.completions.create(
            model="simulator",
            messages=[{"role": "user", "content": message}],
            stream=True,
            stream_options={"include_usage": True},
        )
        return [
            (time_ns(), text) async for chunk in stream if chunk.choices and (text := chunk.choices[0].delta.content)
        ]

    return call


def hand(url: str) -> Call:
    """Return a function that asks without the SDK (by_hand.py)."""
    return lambda message: by_hand.ask(url, message)


async def answer(call: Call, message: str, *, after: float, answers: list[list[Piece]], firsts: list[float]) -> None:
    """Ask after `after` seconds; add the answer and its seconds to the first token to the lists."""
    await asyncio.sleep(after)
    began = time_ns()
    pieces = await call(message)
    answers.append(pieces)
    firsts.append((pieces[0][0] - began) / 1e9)


async def work(call: Call, job: dict[str, Any]) -> None:
    """Run one job to its end or its cancellation."""
    answers: list[list[Piece]] = []
    firsts: list[float] = []
    step = 1 / job["per_second"] if job.get("per_second") else 0.0
    cpu, began = spent(), time.perf_counter()
    try:
        await asyncio.gather(
            *(
                answer(call, message, after=number * step, answers=answers, firsts=firsts)
                for number, message in enumerate(job["messages"])
            )
        )
    finally:
        result = {"id": job["id"], "cpu_seconds": spent() - cpu, "seconds": time.perf_counter() - began}
        result |= {"first_seconds": firsts, "tokens": sum(len(pieces) for pieces in answers)}
        arrivals = [[(at, found) for at, text in pieces if (found := clocks(text))] for pieces in answers]
        result["timing"] = timing(arrivals) if arrivals and all(arrivals) else {}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


async def main() -> None:
    """Run jobs until the input ends."""
    call = {"sdk": typed_sdk, "hand": hand}[sys.argv[1]](sys.argv[2])
    lines = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    jobs: dict[int, asyncio.Task[None]] = {}
    while line := await lines.readline():
        job = json.loads(line)
        if "cancel" in job:
            jobs[job["cancel"]].cancel()
        else:
            jobs[job["id"]] = asyncio.create_task(work(call, job))


if __name__ == "__main__":
    uvloop.run(main())
