"""PostgreSQL runs as another user when we are root, even where the usual way is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from deploy.embedded import postgres, privileges, processes
from tests.stack import free_port, start, wait_until

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")


def refuse(folder: Path, *programs: str) -> None:
    """Put failing programs in front of PATH, as in a container that refuses the system call."""
    folder.mkdir()
    for program in programs:
        (folder / program).write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
        (folder / program).chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore PATH after the test."""
    monkeypatch.setenv("PATH", os.environ["PATH"])


def serve_once(folder: Path) -> int:
    """Make a data folder, start the server, check that it answers, stop it; return the data's owner."""
    server = postgres.Postgres(
        data=folder / "postgres",
        port=free_port(),
        password="pw",
        run_as=postgres.run_as(folder / "postgres"),
        durable=False,
    )
    postgres.prepare(server, os.environ)
    process = start(server.command(os.environ), log=folder / "log")
    try:
        assert postgres.wait(server, process.child), process.log_text()
    finally:
        processes.end(process.child, stop_signal=server.command({}).stop_signal, grace_seconds=20)
    return server.data.stat().st_uid


@AS_ROOT
@pytest.mark.parametrize("refused", [(), ("unshare",)], ids=["unshare allowed", "unshare refused"])
def test_postgres_runs_when_started_by_root(tmp_path: Path, path: None, refused: tuple[str, ...]) -> None:
    tmp_path.chmod(0o700)  # a folder that only root may enter
    refuse(tmp_path / "bin", *refused)
    assert serve_once(tmp_path) in ({0, privileges.NOBODY} if not refused else {privileges.NOBODY})


@AS_ROOT
def test_start_as_another_user_takes_over_the_data(tmp_path: Path, path: None) -> None:
    serve_once(tmp_path)
    refuse(tmp_path / "bin", "unshare")
    assert serve_once(tmp_path) == privileges.NOBODY


@AS_ROOT
@pytest.mark.parametrize(
    "way", privileges.ways()[1:] if os.geteuid() == 0 else [], ids=lambda way: Path(way.prefix[0]).name
)
def test_unprivileged_child_dies_with_its_parent(way: privileges.RunAs) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *way.prefix, "/bin/sleep", "60"],
        env={**os.environ, "PYTHONPATH": str(processes.ROOT)},
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    command = Path(f"/proc/{child}/comm")
    wait_until(lambda: command.read_text() == "sleep\n", what="the child runs the program")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not processes.started_at(child), what="it has ended")


# Shells make background jobs ignore SIGINT, and `sleep` would inherit that. A server sets its own handler.
PARENT = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
from deploy.embedded.processes import Command, spawn
command = Command(name="x", argv=tuple(sys.argv[1:]), environ=dict(os.environ))
print(spawn(command, log=subprocess.DEVNULL).pid, flush=True)
time.sleep(60)
"""


@AS_ROOT
def test_error_for_root_without_tools_says_what_to_set(tmp_path: Path, path: None) -> None:
    tmp_path.chmod(0o700)
    program = tmp_path / "postgres"  # which other users cannot even see
    shutil.copy("/bin/true", program)
    refuse(tmp_path / "bin", "unshare", "setpriv")
    with pytest.raises(privileges.NoOrdinaryUser, match="set DATABASE_URL"):
        privileges.ordinary_user(program, folder=tmp_path)


@AS_ROOT
def test_postgres_explains_an_unnamed_user() -> None:
    nameless = privileges.RunAs((sys.executable, "-I", "-c", privileges.DROP.format(54321)), 54321)
    with tempfile.TemporaryDirectory() as given:  # pytest's own folders let no other user through
        folder = Path(given)
        folder.chmod(0o711)
        if not privileges.works(nameless, program=postgres.programs() / "postgres", folder=folder):
            pytest.skip("another user cannot reach this environment")
        server = postgres.Postgres(data=folder / "postgres", port=free_port(), password="pw", run_as=nameless)
        with pytest.raises(postgres.PostgresProblem, match="does not run as user 54321, who has no name"):
            postgres.prepare(server, os.environ)
