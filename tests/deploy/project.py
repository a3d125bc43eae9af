"""docker-compose.yml, unchanged, as a separate compose project on free ports."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deploy.embedded.processes import ROOT
from tests.deploy import stand_ins
from tests.deploy.engine import Engine
from tests.stack import free_port

SERVICES = ("nginx", "web", "worker", "flower", "postgres", "redis")
UP_SECONDS = 240.0
SIMULATOR = "http://simulator:8080"


class ComposeProject:
    """One compose project on one engine."""

    def __init__(self, engine: Engine, folder: Path, *, with_stand_ins: bool) -> None:
        self.engine = engine
        self.folder = folder
        self.project = f"naru-test-{os.getpid()}"
        self.https_port, self.http_port = free_port(), free_port()
        self.environ = {
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_PROFILES": "demo",
            "NARU_SIMULATOR_URL": SIMULATOR,
            "NARU_SECRETS": str(folder / "secrets"),
            "NARU_VERSION": "test-1",
            # The rig's visitors are guests.
            "NARU_AUTH": "guest",
            "NARU_OPEN_TO_ANYONE": "true",
            "NARU_ADDRESS": "127.0.0.1",
            "NARU_HTTP_PORT": str(self.http_port),
            "NARU_HTTPS_PORT": str(self.https_port),
            "NARU_DOMAIN": "",
        }
        self.with_stand_ins = with_stand_ins
        if with_stand_ins:
            # Debian's client lacks BuildKit. Builds use the host's network to reach its package mirror.
            self.environ |= {**stand_ins.IMAGES, "NARU_BUILD_NETWORK": "host", "DOCKER_BUILDKIT": "0"}

    @property
    def url(self) -> str:
        """The page's address."""
        return f"https://localhost:{self.https_port}"

    def naru(self, *words: str, seconds: float = 900, check: bool = True) -> str:
        """Run a `./naru` command with this Python and return its output."""
        launcher = str(ROOT / "deploy" / "cli" / "bootstrap.py")
        command = [sys.executable, "-I", launcher, *words]
        return self.engine.run(command, cwd=ROOT, environ=self.environ, seconds=seconds, check=check)

    def compose(self, *words: str, seconds: float = 900, check: bool = True, stdin: str | None = None) -> str:
        """Run a docker-compose command and return its output."""
        return self.engine.run(
            ["docker-compose", *words], cwd=ROOT, environ=self.environ, seconds=seconds, check=check, stdin=stdin
        )

    def containers(self, service: str) -> list[dict[str, Any]]:
        """Return the engine's description of each running container of the service."""
        ids = self.engine.docker("ps", "--quiet", *self._labels(service=service, oneoff="False")).split()
        return self.inspect(*ids)

    def inspect(self, *ids: str) -> list[dict[str, Any]]:
        """Return the engine's description of each of these containers that still exists."""
        found: list[dict[str, Any]] = []
        for each in ids:
            found += json.loads(self.engine.docker("inspect", each, check=False) or "[]")
        return found

    def await_healthy(self, service: str, number: int, *, seconds: float = UP_SECONDS) -> None:
        """Wait until the service has exactly `number` containers, all healthy."""
        limit = time.monotonic() + seconds
        while True:
            states = [each["State"].get("Health", {}).get("Status") for each in self.containers(service)]
            if states == ["healthy"] * number:
                return
            if time.monotonic() > limit:
                log = self.compose("logs", "--tail=40", service, check=False)
                raise AssertionError(f"{service}: {states} after {seconds:g} s\n{log}")
            time.sleep(0.5)

    def until(self, condition: Callable[[], bool], *, seconds: float, what: str) -> None:
        """Wait for a condition; raise AssertionError after `seconds`."""
        limit = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > limit:
                raise AssertionError(f"not within {seconds:g} s: {what}")
            time.sleep(0.3)

    def rows(self, query: str) -> list[str]:
        """Return the result of a query, a line per row."""
        container = self.containers("postgres")[0]["Id"]
        return self.engine.docker("exec", container, "psql", "-U", "naru", "-d", "naru", "-Atc", query).split("\n")[:-1]

    def run_python(self, service: str, script: str, *words: str, seconds: float) -> str:
        """Run a script with arguments in a new container of the service and return its output."""
        command = ("run", "--rm", "-T", "--no-deps", service, "python", "-", *words)
        return self.compose(*command, stdin=script, seconds=seconds)

    def leftovers(self) -> str:
        """Return the ids of the project's containers, networks and volumes that still exist."""
        labels = self._labels()
        kinds = (("ps", "--all", "--quiet"), ("network", "ls", "--quiet"), ("volume", "ls", "--quiet"))
        return " ".join(self.engine.docker(*kind, *labels).strip() for kind in kinds).strip()

    def _labels(self, **more: str) -> list[str]:
        pairs = {"project": self.project, **more}
        return [
            word for name, value in pairs.items() for word in ("--filter", f"label=com.docker.compose.{name}={value}")
        ]


@contextlib.contextmanager
def compose_project(engine: Engine, folder: Path, *, with_stand_ins: bool, keep: bool) -> Iterator[ComposeProject]:
    """Yield a compose project. Remove its containers, volumes and images at the end, unless `keep`."""
    made = ComposeProject(engine, folder, with_stand_ins=with_stand_ins)
    try:
        yield made
    finally:
        if not keep:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                made.compose("down", "--volumes", "--timeout", "5", seconds=300)
            images = engine.docker("image", "ls", "--quiet", "--filter", "reference=naru-*:test-*", check=False).split()
            engine.docker("image", "rm", "--force", *images, check=False) if images else None
