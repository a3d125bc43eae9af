"""Drives the program `direct`, whose calls are a baseline."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from deploy.embedded.processes import ROOT
from tests.stack import Stack


@dataclass(frozen=True, slots=True)
class Result:
    """The measurements of one job."""

    first_seconds: list[float]
    tokens: int
    cpu_seconds: float
    seconds: float
    #: The evenness of clocked answers, as from `evenness.timing`; empty for others.
    timing: dict[str, float]


class DirectCall:
    """The running program; jobs may overlap."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._count = 0
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        """Return the program's process id."""
        return self._process.pid

    async def ask(self, messages: Sequence[str]) -> Result:
        """Ask all questions at once; return when all are answered."""
        return await self.begin(messages)[1]

    def begin(self, messages: Sequence[str], *, per_second: float = 0) -> tuple[int, asyncio.Future[Result]]:
        """Start a job; return its number and its future result. `per_second` 0 asks everything at once."""
        self._count += 1
        self._waiting[self._count] = asyncio.get_running_loop().create_future()
        self._write({"id": self._count, "messages": list(messages), "per_second": per_second})
        return self._count, self._waiting[self._count]

    async def cancel(self, number: int) -> None:
        """End a job early."""
        self._write({"cancel": number})
        await self._waiting[number]

    async def close(self) -> None:
        """End the program."""
        self._reading.cancel()
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def _write(self, job: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            found = json.loads(line)
            self._waiting[found.pop("id")].set_result(Result(**found))
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(AssertionError("the direct call's program ended; its error is above"))


@asynccontextmanager
async def direct_call(stack: Stack, url: str, *, by: Literal["sdk", "hand"] = "sdk") -> AsyncIterator[DirectCall]:
    """Start the program, warm it up with one call to the simulator at `url`, and yield it."""
    command = (sys.executable, "-m", "tests.bench.direct", by, url)
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=stack.environ(), stdin=PIPE, stdout=PIPE)
    call = DirectCall(process)
    try:
        await call.ask(["[[sim: tokens=5 first=0 pace=0]] warm"])
        yield call
    finally:
        await call.close()
