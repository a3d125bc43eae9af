"""The number of viewers that one web process serves on one core at 50 tokens a second, each with a separate answer.

Web has a core to itself. A cheap process writes the streams with the product's own publisher (no provider, no rows), so
that web is the bottleneck. The requests are real rows that the bench claims as a worker, because web follows nothing
else. Delay is from the moment a token was made to its arrival at the client, so it includes the flush interval.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import uvloop

from deploy.embedded.processes import ROOT
from shared import fleet, lifecycle
from shared.fleet import Member, Model
from tests.bench import words
from tests.bench.asking import Asker, Page
from tests.bench.climbing import Climb, climb
from tests.bench.crowd import PACE
from tests.bench.evenness import timing
from tests.bench.event_stream import EventReader
from tests.bench.figure import Figure, Line, Numbers, Size
from tests.bench.processes import apart, core_shares
from tests.bench.stacks import Bench, Running

STEPS = {Size.FULL: (200, 400, 500, 600, 800, 1000), Size.QUICK: (300, 500), Size.SMOKE: (10,)}
MODEL = "demo/hand"
ONE_HOUR = 3600.0


def measure(bench: Bench) -> Numbers:
    """Climb to the highest number of viewers that holds."""
    running = bench.running()
    seconds = float(bench.pick(full=20, quick=8, smoke=1))
    climbed = uvloop.run(_measure(running, STEPS[bench.size], seconds=seconds, is_thorough=bench.size is Size.FULL))
    return climbed.numbers("viewers") | {"shown": float(climbed.shown)}


async def _measure(running: Running, steps: tuple[int, ...], *, seconds: float, is_thorough: bool) -> Climb:
    with Asker(running.stack.settings) as asker:
        member = Member(
            worker_id=uuid4(),
            host="bench",
            pid=0,
            version="0",
            slots=10_000,
            models=[Model(name=MODEL, demo=True)],
        )
        fleet.register(asker.engine, member, lease_seconds=ONE_HOUR)
        async with _writer(running) as writer:
            web = running.webs[0].pid
            with apart([web], [pid for pid in running.others() if pid != web] + [writer.pid]):

                async def attempt(viewers: int) -> Numbers:
                    return await _serve(running, asker, writer, member, viewers=viewers, seconds=seconds)

                return await climb(attempt, steps, is_thorough=is_thorough, finest=25)


@asynccontextmanager
async def _writer(running: Running) -> AsyncIterator[Process]:
    environ = running.stack.environ()
    command = (sys.executable, "-m", "tests.bench.writing")
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environ, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def _serve(
    running: Running, asker: Asker, writer: Process, member: Member, *, viewers: int, seconds: float
) -> Numbers:
    pages = [asker.page() for _ in range(viewers)]
    claims = [await asyncio.to_thread(_begin, asker, page, member.worker_id) for page in pages]
    readers = [await EventReader.open(running.url, page) for page in pages]
    await asyncio.sleep(1)
    job = {"requests": [str(claimed.request_id) for claimed in claims], "pace": PACE, "seconds": seconds}
    assert writer.stdin is not None
    assert writer.stdout is not None
    writer.stdin.write(json.dumps(job).encode() + b"\n")
    await asyncio.sleep(seconds / 4)
    servers = running.stack.servers
    pids = {"web": running.webs[0].pid, "writer": writer.pid, "redis": servers.redis.pid}
    shares = await core_shares(pids, seconds=seconds / 2)
    written = json.loads(await writer.stdout.readline())
    await asyncio.sleep(0.5)
    for reader in readers:
        reader.look()
        reader.close()
    lost = sum(_lost(reader, tokens=int(written["tokens"])) for reader in readers)
    for claimed, reader in zip(claims, readers, strict=True):
        answer = lifecycle.Answer(text=reader.reading.text, finish="stop")
        await asyncio.to_thread(lifecycle.finish, asker.engine, claimed, answer)
    arrivals = [[(at, words.clocks(text)) for at, text in reader.reading.grown] for reader in readers]
    return {
        **timing(arrivals),
        **{f"{name}_core_share": share for name, share in shares.items()},
        "lost": float(lost),
    }


def _begin(asker: Asker, page: Page, worker_id: UUID) -> lifecycle.Claimed:
    """Store a question and claim it at once, so that no hint is ever sent."""
    submitted = asker.store(page, "나루?")
    claimed = lifecycle.claim(asker.engine, submitted.lane, lifecycle.Claimant(worker_id=worker_id, models=(MODEL,)))
    assert claimed is not None
    return claimed


def _lost(reader: EventReader, *, tokens: int) -> int:
    found = words.numbers(reader.reading.text)
    return len(set(range(tokens)) ^ set(found)) + (found != sorted(set(found)))


def _show(n: Numbers) -> str:
    at = f"_at_{n['shown']:.0f}"
    failed = f" ({n['viewers_failed']:.0f} did not hold)" if n["viewers_failed"] else ""
    share = n[f"viewers_web_core_share{at}"]
    return (
        f"{n['viewers_carried']:.0f}{failed}; at {n['shown']:.0f}: gap p99 {n[f'viewers_gap_p99{at}']:.0f} ms, delay "
        f"{n[f'viewers_delay_p50{at}']:.0f} / {n[f'viewers_delay_p99{at}']:.0f} ms; web {share:.0%} of a core "
        f"({share / n['shown'] / PACE * 1e6:.0f} ms for 1,000 tokens), Redis {n[f'viewers_redis_core_share{at}']:.0%}, "
        f"writer {n[f'viewers_writer_core_share{at}']:.0%}"
    )


FIGURE = Figure(
    name="viewers",
    measure=measure,
    lines=(
        Line(
            figure=f"viewers per web process and core at {PACE} tokens/s, each with an answer of their own",
            reach="≥ 500: all delivered, gap p99 < 80 ms, delay p50 ≤ 40, p99 ≤ 150 ms",
            show=_show,
            holds=lambda n: n["viewers_carried"] >= 500,
        ),
    ),
    zero=("viewers_lost",),
)
