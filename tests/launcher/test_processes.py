"""Child processes do not outlive us, and leftovers of a killed run are ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from deploy.embedded.processes import Command, end, end_left_over, spawn, started_at, write_pid_file
from tests.stack import wait_until

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def sleeper(code: str = SLEEP) -> Command:
    """Return a command that does nothing for a minute."""
    return Command(name="sleeper", argv=(sys.executable, "-I", "-c", code), environ=dict(os.environ))


def test_supervisor_ends_a_left_over_process_by_its_pid_file(tmp_path: Path) -> None:
    child = spawn(sleeper(), log=subprocess.DEVNULL, pid_file=tmp_path / "sleeper.json")
    assert end_left_over(tmp_path) == ["sleeper"]
    assert child.wait(5) == -signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_stubborn_leftover_process_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        child = spawn(sleeper(STUBBORN), log=output, pid_file=tmp_path / "sleeper.json")
    wait_until(log.read_bytes, what="the signal handler is set")
    assert end_left_over(tmp_path, grace_seconds=0.2) == ["sleeper"]
    assert child.wait(5) == -signal.SIGKILL


def test_cleanup_spares_a_reused_pid(tmp_path: Path) -> None:
    child = spawn(sleeper(), log=subprocess.DEVNULL)
    try:
        file = tmp_path / "sleeper.json"
        write_pid_file(file, pid=child.pid, stop_signal=signal.SIGTERM)
        file.write_text(json.dumps(json.loads(file.read_text()) | {"started": "another boot 42"}))
        assert end_left_over(tmp_path) == []
        assert child.poll() is None
    finally:
        end(child, stop_signal=signal.SIGTERM, grace_seconds=5)


def test_damaged_pid_file_ends_no_process(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"pid": 1')
    assert end_left_over(tmp_path) == []


def test_child_dies_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert started_at(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not started_at(child), what="the child is gone")


PARENT = f"""
import subprocess, sys, time, os
from deploy.embedded.processes import Command, spawn
child = spawn(
    Command(name="x", argv=(sys.executable, "-I", "-c", {SLEEP!r}), environ=dict(os.environ)), log=subprocess.DEVNULL
)
print(child.pid, flush=True)
time.sleep(60)
"""
