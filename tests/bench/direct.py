"""The direct call: `python -m tests.bench.direct URL`, the official SDK as its makers show it, and nothing else.

Typed objects, its default transport, no queue. Reads one job per line, {"id": 1, "messages": [...]}: all its messages
are asked at once. Answers with one line per job: the seconds to the first token of each, tokens, and the processor
seconds that this process spent. {"cancel": 1} ends a job early.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import Any

import openai
import uvloop


def spent() -> float:
    """Processor seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def answer(client: openai.AsyncOpenAI, message: str, result: dict[str, Any]) -> None:
    """One streamed answer."""
    began, is_first = time.perf_counter(), True
    stream = await client.chat.completions.create(
        model="simulator",
        messages=[{"role": "user", "content": message}],
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            if is_first:
                result["first_seconds"].append(time.perf_counter() - began)
                is_first = False
            result["tokens"] += 1


async def work(client: openai.AsyncOpenAI, job: dict[str, Any]) -> None:
    """One job to its end, or to its cancelling."""
    result: dict[str, Any] = {"id": job["id"], "tokens": 0, "first_seconds": []}
    cpu, began = spent(), time.perf_counter()
    try:
        await asyncio.gather(*(answer(client, message, result) for message in job["messages"]))
    finally:
        result |= {"cpu_seconds": spent() - cpu, "seconds": time.perf_counter() - began}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


async def main() -> None:
    """Until the input ends."""
    client = openai.AsyncOpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0, timeout=600)
    lines = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    jobs: dict[int, asyncio.Task[None]] = {}
    while line := await lines.readline():
        job = json.loads(line)
        if "cancel" in job:
            jobs[job["cancel"]].cancel()
        else:
            jobs[job["id"]] = asyncio.create_task(work(client, job))


if __name__ == "__main__":
    uvloop.run(main())
