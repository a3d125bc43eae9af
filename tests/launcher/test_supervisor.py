"""The supervisor, with small programs as parts."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from deploy.embedded import parts, processes, supervisor
from deploy.embedded.processes import Command, started_at
from deploy.embedded.supervisor import LARGEST_LOG_BYTES, Part, PartFailed, Supervisor, trim
from tests.patience import patient
from tests.stack import Stack, free_port, wait_until

LIVES = "import sys, time; print('alive', flush=True); time.sleep(60)"


class Rig:
    """A supervisor, the lines that it printed and its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        (folder / "logs").mkdir()
        self.supervisor = Supervisor(logs=folder / "logs", pids=folder / "pids", say=self.lines.append)
        self.seen: list[int] = []

    def part(self, name: str, code: str = LIVES, *, grace_seconds: float = 5.0) -> Part:
        """Return a part that is ready when it has written `alive`."""
        argv = (sys.executable, "-I", "-c", code)
        command = Command(name=name, argv=argv, environ=dict(os.environ), grace_seconds=grace_seconds)
        return Part(command=command, is_ready=lambda pid: self.look(name, pid))

    def look(self, name: str, pid: int) -> bool:
        """Record a new process; return whether every process so far has written `alive`."""
        if pid not in self.seen:
            self.seen.append(pid)
        return (self.folder / "logs" / f"{name}.log").read_text().count("alive") >= len(self.seen)

    def run(self, steps: Callable[[Supervisor], Awaitable[None]]) -> None:
        """Run the steps, then kill what they left running."""

        async def all_steps() -> None:
            try:
                await asyncio.wait_for(steps(self.supervisor), 30)
            finally:
                self.supervisor.kill()

        asyncio.run(all_steps())


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def until(condition: Callable[[], object]) -> None:
    """Wait without blocking the event loop."""
    while not condition():  # noqa: ASYNC110 - another process makes it true
        await asyncio.sleep(0.02)


def test_supervisor_restarts_a_part_that_crashes(rig: Rig) -> None:
    async def steps(supervisor: Supervisor) -> None:
        await supervisor.start(rig.part("web"))
        os.kill(rig.seen[0], signal.SIGKILL)
        await until(lambda: "  web is back" in rig.lines)

    rig.run(steps)
    assert len(rig.seen) == 2
    assert "  web ended (signal 9); starting it again in 0.5 s" in rig.lines


@pytest.mark.parametrize("fault", [False, OSError("broken")])
def test_supervisor_keeps_restarting_a_part_once_ready(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, fault: object
) -> None:
    monkeypatch.setattr(supervisor, "READY_SECONDS", 0.3)
    pids: list[int] = []

    def look(pid: int) -> bool:
        if pid not in pids:
            pids.append(pid)
        if len(pids) not in {2, 3}:
            return True
        if isinstance(fault, Exception):
            raise fault
        return False

    async def steps(made: Supervisor) -> None:
        await made.start(Part(command=rig.part("worker").command, is_ready=look))
        os.kill(pids[0], signal.SIGKILL)
        await until(lambda: "  worker is back" in rig.lines)

    rig.run(steps)
    assert rig.lines[1:] == [
        "  worker ended (signal 9); starting it again in 0.5 s",
        "  worker was not ready within 0.3 s; starting it again in 1 s",
        "  worker was not ready within 0.6 s; starting it again in 2 s",
        "  worker is back",
    ]


def test_part_that_is_never_ready_fails_the_start(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "READY_SECONDS", 0.3)
    with pytest.raises(PartFailed, match=r"web was not ready within 0\.3 s"):
        rig.run(lambda made: made.start(Part(command=rig.part("web").command, is_ready=lambda _: False)))


def test_worker_restarted_without_redis_counts_as_working(stack: Stack) -> None:
    stack.configure(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    part = parts.worker(stack.environ(), number=1, settings=stack.settings)
    assert part.is_at_work is not None
    assert not part.is_at_work(1), "another process is no worker"
    worker = stack.start_worker(consuming=False)
    assert part.is_at_work(worker.pid)
    assert not part.is_ready(worker.pid), "a first start must be fully ready"


def test_parts_waiting_for_postgres_count_as_working(stack: Stack) -> None:
    stack.configure(database_url=f"postgresql://naru@127.0.0.1:{free_port()}/naru")
    web = stack.start_web(ready=False)
    looks = [
        parts.web(stack.environ(), url=web.url).is_at_work,
        parts.worker(stack.environ(), number=1, settings=stack.settings).is_at_work,
    ]
    assert wait_until(lambda: all(look is not None and look(1) for look in looks), seconds=20)


def test_failed_start_quotes_the_last_output(rig: Rig) -> None:
    async def steps(supervisor: Supervisor) -> None:
        await supervisor.start(rig.part("web", "raise SystemExit('no such table')"))

    with pytest.raises(PartFailed, match=r"web does not start \(exit code 1\)[\s\S]*no such table"):
        rig.run(steps)


def test_parts_stop_in_order_and_without_being_started_again(rig: Rig) -> None:
    ended: list[int] = []

    async def steps(supervisor: Supervisor) -> None:
        for name in ("web", "postgres"):
            rig.seen.clear()
            await supervisor.start(rig.part(name))
            ended.append(rig.seen[-1])
        await supervisor.stop([["web"], ["postgres"]])

    rig.run(steps)
    assert not any(started_at(pid) for pid in ended)
    assert not [line for line in rig.lines if "again" in line]
    assert not list((rig.folder / "pids").iterdir())


def test_stubborn_part_is_killed_after_its_grace(rig: Rig) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('alive', flush=True); time.sleep(60)"
    began = 0.0

    async def steps(supervisor: Supervisor) -> None:
        nonlocal began
        await supervisor.start(rig.part("web", stubborn, grace_seconds=0.3))
        began = time.monotonic()
        await supervisor.stop([["web"]])

    rig.run(steps)
    assert time.monotonic() - began < patient(3)
    assert not started_at(rig.seen[0])


def test_one_shot_program_must_succeed(rig: Rig) -> None:
    async def steps(supervisor: Supervisor) -> None:
        await supervisor.run_once(rig.part("migrate", "print('done')").command)
        with pytest.raises(PartFailed, match="exit code 3"):
            await supervisor.run_once(rig.part("migrate", "raise SystemExit(3)").command)

    rig.run(steps)
    assert (rig.folder / "logs" / "migrate.log").read_text() == "done\n"


def test_supervisor_cuts_a_grown_log_under_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    with log.open("ab") as writer:
        writer.write(b"x" * (LARGEST_LOG_BYTES + 1))
        writer.flush()
        trim(log)
        writer.write(b"next\n")
    assert log.read_bytes() == b"next\n"
    assert (tmp_path / "web.log.1").stat().st_size > LARGEST_LOG_BYTES
    assert processes.ROOT not in log.parents
