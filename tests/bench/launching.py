"""`./naru up` as a child process, and the time until it is ready."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.cli.checks import scrub
from deploy.embedded import processes
from tests.bench.processes import accounted

#: The entry point of ./naru, in this environment.
IN_THIS_ENVIRONMENT = (sys.executable, "-P", "-m", "deploy.cli.main")
_READY = re.compile(r"Naru is ready at (\S+)")


@dataclass(frozen=True, slots=True)
class Up:
    """A Naru that is ready: its process id, its URL, and the seconds that its start took."""

    pid: int
    url: str
    ready_seconds: float


@contextmanager
def up(
    folder: Path, *, command: Sequence[str] = IN_THIS_ENVIRONMENT, cwd: Path = processes.ROOT, **environ: str
) -> Iterator[Up]:
    """Start Naru with its data below `folder`; stop it cleanly at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "up.out"
    words = (*command, "up", "--data", str(folder / "data"), "--port", "0")
    began = time.monotonic()
    with log.open("wb") as output:
        child = processes.spawn(
            processes.Command(name="up", argv=words, environ=_environ(environ), cwd=cwd), log=output
        )
    try:
        url = _wait_for_url(child, log)
        yield Up(child.pid, url, time.monotonic() - began)
    finally:
        with accounted():
            processes.end(child, stop_signal=signal.SIGTERM, grace_seconds=40)


def clone(target: Path) -> None:
    """Make a fresh clone of the committed files."""
    git = shutil.which("git") or "git"
    subprocess.run((git, "clone", "--quiet", "--no-hardlinks", str(processes.ROOT), str(target)), check=True)


def _environ(more: Mapping[str, str]) -> dict[str, str]:
    return {**scrub(os.environ), "NARU_OLLAMA_URL": "off", "PYTHONPATH": str(processes.ROOT), **more}


def _wait_for_url(child: subprocess.Popen[bytes], log: Path, *, seconds: float = 300) -> str:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and child.poll() is None:
        if found := _READY.search(log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.02)
    raise AssertionError(f"`up` did not become ready:\n{log.read_text(errors='replace')[-1500:]}")
