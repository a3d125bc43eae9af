"""Child processes of the launcher and the tests: start them so that none outlives its parent, and end them.

A child leads its own session, so a Ctrl-C in the terminal reaches only the parent. On Linux it dies with its parent. A
pid file records it with its start time, so that the next run can end the children of a killed one. supervisor.py
restarts and orders them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

ROOT = Path(__file__).resolve().parents[2]
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One program to run, and how to end it."""

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 5.0
    # The kernel sends this signal when the parent dies. Servers that write to disk need a gentler one than KILL.
    death_signal: signal.Signals = signal.SIGKILL
    cwd: Path = ROOT


class Child(Protocol):
    """A child process: subprocess.Popen, or a forked one of the tests."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...


def spawn(command: Command, *, log: IO[bytes] | int, pid_file: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a child process. Call this from a thread that outlives the child (the main thread)."""
    child = subprocess.Popen(
        command.argv,
        env=dict(command.environ),
        cwd=command.cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=die_with_parent(command.death_signal),  # noqa: PLW1509 - it only makes system calls
    )
    if pid_file is not None:
        write_pid_file(pid_file, pid=child.pid, stop_signal=command.stop_signal)
    return child


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """Return a function for the child to call between fork and exec; None where the kernel offers nothing."""
    if LIBC is None:
        return None
    prctl, parent, number = LIBC.prctl, os.getpid(), int(death_signal)

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(1)

    return ask


def write_pid_file(path: Path, *, pid: int, stop_signal: signal.Signals) -> None:
    """Record a child for a later run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"pid": pid, "started": started_at(pid), "stop_signal": int(stop_signal)}))


def started_at(pid: int) -> str:
    """Return when a process started, in a form that exposes a reused pid; empty if there is no process."""
    if sys.platform != "linux":
        return subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if stat[0] == "Z" else f"{boot} {stat[19]}"


def end(child: Child, *, stop_signal: signal.Signals, grace_seconds: float) -> None:
    """Send `stop_signal`, wait for the grace time, then kill the whole group."""
    send(child.pid, stop_signal)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_seconds)
    send_to_group(child.pid, signal.SIGKILL)
    child.wait()


def end_left_over(folder: Path, *, grace_seconds: float = 10.0) -> list[str]:
    """End the processes that an earlier run left behind, by their pid files; return their names."""
    left = {path: pid for path in sorted(folder.glob("*.json")) if (pid := still_running(path)) is not None}
    for path, pid in left.items():
        send(pid, signal.Signals(json.loads(path.read_text())["stop_signal"]))
    limit = time.monotonic() + grace_seconds
    for path, pid in left.items():
        while still_running(path) and time.monotonic() < limit:
            time.sleep(0.02)
        send_to_group(pid, signal.SIGKILL)
        while still_running(path):
            time.sleep(0.02)
    forget(folder.glob("*.json"))
    return [path.stem for path in left]


def still_running(pid_file: Path) -> int | None:
    """Return the pid in the file if exactly that process still runs."""
    try:
        record = json.loads(pid_file.read_text())
        pid, started = int(record["pid"]), str(record["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if started and started_at(pid) == started else None


def forget(pid_files: Iterable[Path]) -> None:
    """Remove pid files of children that are gone."""
    for path in pid_files:
        path.unlink(missing_ok=True)


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process, if it exists."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def send_to_group(pid: int, number: signal.Signals) -> None:
    """Signal the group that a child leads."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
