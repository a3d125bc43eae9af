"""A Docker engine: the one that is already running, or one started here with its own socket and data."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from shared.settings import environment

START_SECONDS = 60.0
PACKAGES = "apt-get install docker.io docker-compose debootstrap iptables"


class NoEngine(Exception):
    """There is no engine and none can be started; the message says what to install."""


class Engine:
    """A Docker engine, and the environment in which to reach it."""

    def __init__(self, environ: Mapping[str, str], *, is_ours: bool) -> None:
        self.environ = dict(environ)
        self.is_ours = is_ours

    def docker(self, *words: str, seconds: float = 600, check: bool = True, stdin: str | None = None) -> str:
        """Run a docker command and return its output."""
        return self.run(["docker", *words], seconds=seconds, check=check, stdin=stdin)

    def run(
        self,
        command: Sequence[str],
        *,
        seconds: float = 600,
        check: bool = True,
        stdin: str | None = None,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command that talks to the engine and return its output; a failure quotes the end of it."""
        done = subprocess.run(
            command,
            env={**self.environ, **(environ or {})},
            cwd=cwd,
            input=stdin if stdin is not None else "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if check else subprocess.DEVNULL,
            text=True,
            timeout=seconds,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command[:6])} … ended with {done.returncode}:\n{done.stdout[-4000:]}")
        return done.stdout


@contextlib.contextmanager
def engine(folder: Path, *, keep: bool) -> Iterator[Engine]:
    """Yield the running engine, else one started below `folder`, which is stopped and, unless `keep`, removed."""
    for program in ("docker", "docker-compose"):
        if shutil.which(program) is None:
            raise NoEngine(f"there is no {program} here: {PACKAGES}")
    found = Engine(environment(), is_ours=False)
    if answers(found):
        yield found
        return
    if shutil.which("dockerd") is None or os.getuid() != 0:
        raise NoEngine(f"no engine answers, and none can be started here: run as root, after {PACKAGES}")
    with daemon(folder) as made:
        yield made
    for namespace in (folder / "exec" / "netns").glob("*"):  # dockerd leaves the host's namespace mounted
        subprocess.run(["umount", str(namespace)], stderr=subprocess.DEVNULL, timeout=60)
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def daemon(folder: Path) -> Iterator[Engine]:
    """Run dockerd with its own configuration, socket and data."""
    folder.mkdir(parents=True, exist_ok=True)
    socket = folder / "docker.sock"
    configuration = {
        "hosts": [f"unix://{socket}"],
        "data-root": str(folder / "data"),
        "exec-root": str(folder / "exec"),
        "pidfile": str(folder / "pid"),
        "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 20_000, "Hard": 20_000}},
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
    }
    (folder / "daemon.json").write_text(json.dumps(configuration))
    (folder / "pid").unlink(missing_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["dockerd", "--config-file", str(folder / "daemon.json")],
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C must not reach it: containers stop first
        )
    try:
        made = Engine({**environment(), "DOCKER_HOST": f"unix://{socket}"}, is_ours=True)
        limit = time.monotonic() + START_SECONDS
        while not answers(made):
            if process.poll() is not None or time.monotonic() > limit:
                raise NoEngine(f"dockerd does not start: {(folder / 'log').read_text()[-1500:]}")
            time.sleep(0.2)
        yield made
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            print(f"dockerd did not stop and was killed: see {folder}", file=sys.stderr)


def answers(made: Engine) -> bool:
    """Return whether the engine answers."""
    try:
        made.run(["docker", "version", "--format", "{{.Server.Version}}"], seconds=20)
    except (AssertionError, subprocess.TimeoutExpired):
        return False
    return True
