"""A cheap reader: `python -m tests.bench.reading` reads live streams through the product's own readers.

It makes Redis the subject of a figure: it has no pages and reads no rows, but follows streams as a web process does. It
reads one job per line, {"requests": [ids], "seconds": 10}, and follows these streams for that time. Its reply is
{"tokens": in total, "cpu_seconds": in total}.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from typing import Any
from uuid import UUID, uuid4

import uvloop

from shared.settings import load_settings
from web.watch.readers import Readers
from web.watch.viewer import Conversation, LiveStream


async def read(readers: Readers, job: dict[str, Any]) -> dict[str, float]:
    """Run one job to its end."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    streams = [LiveStream(UUID(each), Conversation(uuid4()), now=0.0) for each in job["requests"]]
    for stream in streams:
        readers.follow(stream)
    await asyncio.sleep(job["seconds"])
    for stream in streams:
        readers.drop(stream)
    spent = resource.getrusage(resource.RUSAGE_SELF)
    cpu = spent.ru_utime + spent.ru_stime - used.ru_utime - used.ru_stime
    return {"tokens": float(sum(stream.text.since(0).count("w") for stream in streams)), "cpu_seconds": cpu}


async def main() -> None:
    """Run jobs until the input ends."""
    readers = Readers(load_settings(), on_change=lambda *_: None, on_health=lambda _: None)
    running = asyncio.create_task(readers.run())
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        sys.stdout.write(json.dumps(await read(readers, json.loads(line))) + "\n")
        sys.stdout.flush()
    running.cancel()


if __name__ == "__main__":
    uvloop.run(main())
