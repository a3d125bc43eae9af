"""What following costs: `python -m tests.web.bench_viewers [viewers] [streams]` prints one line of figures.

A writer sends every stream's tokens as a worker's flusher does (one pipeline per 25 ms), each token being the moment
of its XADD; viewers read over HTTP and compare. Figures, not a test: a busy machine fails nothing.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from shared.database import make_engine
from shared.live.events import Event, Kind, key_of, to_fields
from shared.migrations.__main__ import migrate
from tests.stack import Servers, Stack
from tests.web.eyes import Hand, browser

TOKENS_PER_SECOND = 50
FLUSH_SECONDS = 0.025
SECONDS = 10.0
WARM_UP_SECONDS = 2.0
STAMP = re.compile(rb"(\d+\.\d{4}) ")


async def view(url: str, conversation_id: UUID, cookie: str, delays: list[tuple[float, float]]) -> None:
    """One viewer: (moment, delay) of every token it is sent."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    path = f"/api/conversations/{conversation_id}/events"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\nCookie: {cookie}\r\n\r\n".encode())
    try:
        while chunk := await reader.read(65_536):
            now = time.monotonic()
            delays.extend((float(stamp), now - float(stamp)) for stamp in STAMP.findall(chunk))
    finally:
        writer.close()


def look(url: str, seen: list[tuple[UUID, str]], pipe: Any) -> None:
    """All viewers, in a process of their own."""
    delays: list[tuple[float, float]] = []

    async def all_of_them() -> None:
        tasks = [asyncio.create_task(view(url, conversation, cookie, delays)) for conversation, cookie in seen]
        await asyncio.sleep(WARM_UP_SECONDS)
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(all_of_them())
    pipe.send(delays)


def write(hand: Hand, offsets: dict[UUID, int], seconds: float) -> int:
    """Tokens of all streams; how many were sent."""
    requests, sent, began = list(offsets), 0, time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        due = int(passed * TOKENS_PER_SECOND) * len(requests) - sent
        count = due // len(requests)
        if count:
            with hand.redis.pipeline(transaction=False) as pipeline:
                for request_id in requests:
                    text = f"{time.monotonic():.4f} " * count
                    fields: Any = to_fields(Event(Kind.DELTA, 1, offsets[request_id], text))
                    pipeline.xadd(key_of(request_id), fields)
                    offsets[request_id] += len(text)
                pipeline.execute()
            sent += due
        time.sleep(max(0.0, FLUSH_SECONDS - (time.monotonic() - began - passed)))
    return sent


def cpu_seconds(pid: int) -> float:
    """What a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(stack: Stack, *, viewers: int, streams: int) -> str:
    """The figures of one run."""
    web = stack.start_web()
    engine = make_engine(stack.settings, name="bench")
    hand = Hand(stack, engine)
    hand.enter(slots=1000)
    owners = [browser(stack) for _ in range(streams)]
    asked = [hand.question(owners[number][0]) for number in range(streams)]
    for _, request_id in asked:
        hand.claim(request_id)
    cookies = {conversation: owners[number][1] for number, (conversation, _) in enumerate(asked)}
    seen = [(asked[number % streams][0], cookies[asked[number % streams][0]]) for number in range(viewers)]
    ours, theirs = multiprocessing.Pipe()
    looking = multiprocessing.Process(target=look, args=(web.url, seen, theirs))
    looking.start()
    ours.recv()
    offsets = {request_id: 0 for _, request_id in asked}
    write(hand, offsets, WARM_UP_SECONDS)
    before, before_redis, since = cpu_seconds(web.pid), cpu_seconds(stack.servers.redis.pid), time.monotonic()
    sent = write(hand, offsets, SECONDS)
    used, used_redis = cpu_seconds(web.pid) - before, cpu_seconds(stack.servers.redis.pid) - before_redis
    time.sleep(0.5)
    ours.send("end")
    delays = sorted(1000 * delay for moment, delay in ours.recv() if moment >= since)
    looking.join()
    hand.redis.close()
    engine.dispose()
    web.kill()
    got = sent * viewers // streams
    cuts = statistics.quantiles(delays, n=100)
    return (
        f"{viewers} viewers of {streams} streams at {TOKENS_PER_SECOND} tokens/s: "
        f"web {1000 * used / (got / 1000):.1f} ms CPU per 1,000 tokens seen ({used / SECONDS:.0%} of a core), "
        f"Redis {1000 * used_redis / (sent / 1000):.1f}; XADD to client p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, "
        f"longest {delays[-1]:.0f} ms; tokens seen {len(delays)} of {got}"
    )


def main() -> None:
    """The command."""
    viewers = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    streams = int(sys.argv[2]) if len(sys.argv) > 2 else viewers
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(Path(folder))
        try:
            migrate(servers.postgres_server.url)
            stack = Stack(Path(folder) / "logs", servers.postgres_server.url, servers.redis_server.url, servers)
            try:
                print(measure(stack, viewers=viewers, streams=streams))
            finally:
                stack.close()
        finally:
            servers.close()


if __name__ == "__main__":
    main()
