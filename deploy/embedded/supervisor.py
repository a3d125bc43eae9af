"""Keeps the parts of `./naru up` running: starts each, waits until it is ready, restarts it if it ends, stops all.

parts.py defines the parts. All processes are started from the main thread (processes.spawn says why); blocking calls
run in separate threads.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from deploy.embedded import processes, silence

T = TypeVar("T")
LOG = logging.getLogger("naru.up")
CHECK_SECONDS = 0.1  # between two checks whether a starting part is ready
READY_SECONDS = 60.0  # a part that is not ready by then has failed
LONGEST_READY_SECONDS = 960.0  # each restart gets twice as long: a server may have much to recover
TRIES = 3  # starts of a part before it counts as failed
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0  # after running this long, a part starts again with the first pause
LARGEST_LOG_BYTES = 20_000_000


class PartFailed(Exception):
    """A part cannot be started; the message includes the end of its log."""


class NotReadyInTime(PartFailed):
    """A part ran but did not become ready, and was ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process to keep running. The checks may block; `is_ready` may raise if the part can never be ready."""

    command: processes.Command
    is_ready: Callable[[int], bool]  # takes the pid
    # The check after a restart, if it differs: a part that can wait for another is not dead while the other is away.
    is_at_work: Callable[[int], bool] | None = None
    # The address to watch once it is ready, and how long it may accept connections without answering. 0: forever.
    answers_at: str = ""
    silent_seconds: float = 0.0

    @property
    def name(self) -> str:
        """The name in output, logs and pid files."""
        return self.command.name


class Supervisor:
    """Runs the parts, each in a separate task."""

    def __init__(self, *, logs: Path, pids: Path, say: Callable[[str], None]) -> None:
        self._logs = logs
        self._pids = pids
        self._say = say
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, processes.Command] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[str] = set()
        self._threads = ThreadPoolExecutor(64, thread_name_prefix="watch")

    async def blocking(self, call: Callable[[], T]) -> T:
        """Run a blocking call in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def start(self, part: Part) -> None:
        """Start a part and return when it is ready. Raises PartFailed."""
        began = time.monotonic()
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commands[part.name] = part.command
        self._keepers[part.name] = asyncio.create_task(self._keep(part, ready))
        await ready
        self._say(f"  {part.name:<10} ready  {time.monotonic() - began:4.1f} s")

    async def run_once(self, command: processes.Command) -> None:
        """Run a program to its end. Raises PartFailed if it does not succeed."""
        self._commands[command.name] = command
        child = self._spawn(command)
        code = await self.blocking(child.wait)
        self._forget(command.name)
        if code != 0:
            raise PartFailed(self._account(command.name, code))

    async def _keep(self, part: Part, ready: asyncio.Future[None]) -> None:
        """Restart the part whenever it ends, with growing pauses, until it is stopped.

        It can fail only before it is first ready. After that, nobody may be there to start it by hand.
        """
        pause, patience, tries = FIRST_PAUSE_SECONDS, READY_SECONDS, 0
        while part.name not in self._stopping:
            tries += 1
            began = time.monotonic()
            try:
                code = await self._run(part, ready, patience_seconds=patience)
                how = f"ended ({ending(code)})"
                if not ready.done() and tries >= TRIES:
                    raise PartFailed(self._account(part.name, code))
            except Exception as error:  # start() raises whatever the first check raised
                if not ready.done():
                    ready.set_exception(error)
                    return
                how = f"cannot be started ({type(error).__name__})"
                if isinstance(error, NotReadyInTime):
                    how = f"was not ready within {patience:g} s"
                    patience = min(2 * patience, LONGEST_READY_SECONDS)
                LOG.exception("a part is not ready", extra={"name_of_part": part.name})
            if part.name in self._stopping:
                return
            pause = FIRST_PAUSE_SECONDS if time.monotonic() - began > STEADY_SECONDS else pause
            LOG.error("part ended", extra={"name_of_part": part.name, "how": how, "pause_seconds": pause})
            if ready.done():
                self._say(f"  {part.name} {how}; starting it again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _run(self, part: Part, ready: asyncio.Future[None], *, patience_seconds: float) -> int:
        """Start it, wait for its end and return its exit code. Raises NotReadyInTime, and errors of a first check."""
        child = self._spawn(part.command)
        if await self._until_ready(part, child, is_first=not ready.done(), patience_seconds=patience_seconds):
            self._announce(part, ready)
            if part.answers_at and part.silent_seconds:
                await self.blocking(partial(self._end_when_silent, part, child))
        return await self.blocking(child.wait)

    def _end_when_silent(self, part: Part, child: subprocess.Popen[bytes]) -> None:
        """Kill a part that accepts connections but never answers; return when it has ended."""

        def is_over() -> bool:
            return child.poll() is not None

        if silence.outlasts(part.answers_at, child.pid, limit_seconds=part.silent_seconds, is_over=is_over):
            LOG.error("part is silent", extra={"name_of_part": part.name, "silent_seconds": part.silent_seconds})
            self._say(f"  {part.name} did not answer for {part.silent_seconds:g} s; ending it")
            processes.send_to_group(child.pid, signal.SIGKILL)

    def _announce(self, part: Part, ready: asyncio.Future[None]) -> None:
        LOG.info("part ready", extra={"name_of_part": part.name})
        if ready.done():
            self._say(f"  {part.name} is back")
        else:
            ready.set_result(None)

    async def _until_ready(
        self, part: Part, child: subprocess.Popen[bytes], *, is_first: bool, patience_seconds: float
    ) -> bool:
        """Return True when it is ready, False if it ended. A part that hangs while starting is ended."""
        limit = time.monotonic() + patience_seconds
        while child.poll() is None:
            if await self._is_up(part, child.pid, is_first=is_first):
                return True
            if time.monotonic() > limit:
                stop, grace = part.command.stop_signal, part.command.grace_seconds
                await self.blocking(partial(processes.end, child, stop_signal=stop, grace_seconds=grace))
                raise NotReadyInTime(f"{part.name} was not ready within {patience_seconds:g} s.{self._tail(part.name)}")
            await asyncio.sleep(CHECK_SECONDS)
        return False

    async def _is_up(self, part: Part, pid: int, *, is_first: bool) -> bool:
        check = part.is_ready if is_first else (part.is_at_work or part.is_ready)
        try:
            return await self.blocking(partial(check, pid))
        except Exception as error:
            if is_first:
                raise
            LOG.info("a check of a part failed", extra={"name_of_part": part.name, "error": type(error).__name__})
            return False

    def _spawn(self, command: processes.Command) -> subprocess.Popen[bytes]:
        log = self._log_of(command.name)
        trim(log)
        with log.open("ab") as output:
            child = processes.spawn(command, log=output, pid_file=self._pids / f"{command.name}.json")
        self._children[command.name] = child
        return child

    def _forget(self, name: str) -> None:
        self._children.pop(name, None)
        processes.forget([self._pids / f"{name}.json"])

    async def stop(self, groups: Sequence[Sequence[str]]) -> None:
        """Stop the named parts, one group after another; the parts of a group stop in parallel."""
        self._stopping.update(name for group in groups for name in group)
        for group in groups:
            await asyncio.gather(*(self._stop_one(name) for name in group if name in self._children))

    async def _stop_one(self, name: str) -> None:
        child, command = self._children[name], self._commands.get(name)
        if command is not None:
            stop, grace = command.stop_signal, command.grace_seconds
            await self.blocking(lambda: processes.end(child, stop_signal=stop, grace_seconds=grace))
        if keeper := self._keepers.get(name):
            keeper.cancel()
        self._forget(name)

    def kill(self) -> None:
        """End everything at once. On QUIT, PostgreSQL stops at once and recovers from its WAL at the next start."""
        self._stopping.update(self._children)
        for name, child in self._children.items():
            if name == "postgres":
                processes.send(child.pid, signal.SIGQUIT)
            else:
                processes.send_to_group(child.pid, signal.SIGKILL)
        for name, child in list(self._children.items()):
            processes.end(child, stop_signal=signal.SIGCONT, grace_seconds=2.0)
            self._forget(name)

    async def tend_logs(self) -> None:
        """Trim the logs every minute, for as long as Naru runs."""
        while True:
            await asyncio.sleep(60)
            for name in self._children:
                trim(self._log_of(name))

    def _log_of(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _account(self, name: str, code: int) -> str:
        return f"{name} does not start ({ending(code)}).{self._tail(name)}"

    def _tail(self, name: str) -> str:
        log = self._log_of(name)
        lines = log.read_text(errors="replace").splitlines()[-12:] if log.exists() else []
        return "".join(f"\n      | {line[:300]}" for line in lines) + f"\n      The full log is {log}"


def ending(code: int) -> str:
    """Describe how a process ended."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def trim(log: Path) -> None:
    """Move a large log to `.log.1` and empty it. Its writer appends, so the file can be truncated meanwhile."""
    if log.exists() and log.stat().st_size > LARGEST_LOG_BYTES:
        log.with_suffix(".log.1").write_bytes(log.read_bytes())
        with log.open("r+b") as file:
            file.truncate(0)
