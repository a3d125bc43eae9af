"""`./naru compose roll`: replaces the containers of web and worker with a new version, with no failed request.

compose itself replaces all containers of a service at once. Here the new ones start beside the old ones. nginx resolves
their names every second and skips a container that does not answer. The old workers finish their answers before they
end.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from deploy.embedded.processes import ROOT

#: The services in order, with the minimum time that an old container has to end. A new worker understands the
#: requests of an old page, so workers come first.
SERVICES = {"worker": 930, "web": 20}
#: Time for nginx to resolve the names again.
NAMES_SECONDS = 3.0
BUILD_SECONDS = 3600


class RollProblem(Exception):
    """The roll failed; the message says at which step, and what to do."""


def roll(services: Sequence[str], *, build: bool, patience_seconds: float) -> int:
    """Build, migrate, and exchange the containers of each service. Returns the exit code; raises RollProblem."""
    compose = compose_command()
    if build:
        say("building the images")
        run([*compose, "build", "worker", "web"], "the images could not be built: see above; nothing was changed")
    say("migrating")
    run(
        [*compose, "run", "--rm", "-T", "--no-deps", "migrate"],
        "the migration failed: see above; the old version goes on",
    )
    for service in [name for name in SERVICES if name in services]:
        exchange(compose, service, patience_seconds=patience_seconds)
    return 0


def exchange(compose: Sequence[str], service: str, *, patience_seconds: float) -> None:
    """Start the same number of new containers, wait until they are healthy, and remove the old ones."""
    old = containers(compose, service)
    if not old:
        raise RollProblem(f"no container of {service} is running: docker compose up -d starts it.")
    say(f"{service}: {len(old)} running, starting the same number of the new version")
    try:
        scale(compose, service, 2 * len(old))
        new = [each for each in containers(compose, service) if each not in old]
        await_health(new, patience_seconds=patience_seconds)
    except RollProblem:
        if failed := [each for each in containers(compose, service) if each not in old]:
            remove(failed, grace_seconds=10)
        raise
    time.sleep(NAMES_SECONDS)
    grace_seconds = max(SERVICES[service], *(stop_seconds(each) for each in old))
    say(f"{service}: the new ones are healthy; the old ones finish (up to {grace_seconds} s)")
    remove(old, grace_seconds=grace_seconds)
    say(f"{service}: {len(new)} of the new version")


def scale(compose: Sequence[str], service: str, number: int) -> None:
    """Start containers until the service has `number`; leave the running ones alone."""
    run(
        [*compose, "up", "-d", "--no-deps", "--no-recreate", "--no-build", "--scale", f"{service}={number}", service],
        f"the new containers of {service} could not be started: see above; the old ones go on",
    )


def await_health(new: Sequence[str], *, patience_seconds: float) -> None:
    """Wait until all are healthy. Raises RollProblem after `patience_seconds`."""
    limit = time.monotonic() + patience_seconds
    while True:
        states = {each: health(each) for each in new}
        if new and all(state == "healthy" for state in states.values()):
            return
        bad = [each[:12] for each, state in states.items() if state != "healthy"]
        if time.monotonic() > limit:
            raise RollProblem(
                f"{', '.join(bad) or 'no new container'} did not become healthy within {patience_seconds:g} s and was"
                f" removed; the old version goes on. See: docker compose logs --tail 50"
            )
        time.sleep(0.5)


def health(container: str) -> str:
    """Return healthy, starting or unhealthy; for a container that does not run, its status."""
    state = inspect(container).get("State", {})
    if state.get("Status") != "running":
        return str(state.get("Status", "gone"))
    return str(state.get("Health", {}).get("Status", "healthy"))


def stop_seconds(container: str) -> int:
    """Return the container's stop_grace_period in seconds; 0 where compose set none."""
    return int(inspect(container).get("Config", {}).get("StopTimeout") or 0)


def containers(compose: Sequence[str], service: str) -> list[str]:
    """Return the ids of the service's containers, without those of a `compose run`, which older versions list too."""
    listed = run([*compose, "ps", "-q", service], "compose cannot list its containers", quiet=True)
    return [each for each in listed.split() if is_serving(inspect(each))]


def is_serving(container: dict[str, Any]) -> bool:
    """Return whether the container runs the service, as opposed to a single command."""
    labels = container.get("Config", {}).get("Labels") or {}
    one_off = labels.get("com.docker.compose.oneoff", "False").lower() == "true"
    return container.get("State", {}).get("Status") in {"running", "restarting"} and not one_off


def inspect(container: str) -> dict[str, Any]:
    """Return the engine's description of a container; empty for one that is gone."""
    done = subprocess.run(["docker", "inspect", container], capture_output=True, timeout=60)
    found: list[dict[str, Any]] = json.loads(done.stdout or b"[]")
    return found[0] if found else {}


def remove(old: Sequence[str], *, grace_seconds: int) -> None:
    """Stop the containers with time to finish, then remove them."""
    run(
        ["docker", "stop", "-t", str(grace_seconds), *old],
        "old containers could not be stopped",
        quiet=True,
        seconds=grace_seconds + 60,
    )
    run(["docker", "rm", *old], "old containers could not be removed", quiet=True)


def compose_command() -> list[str]:
    """Return the command of compose: Docker's plugin, or the older program. Raises RollProblem without either."""
    if shutil.which("docker") is None:
        raise RollProblem("docker is not installed: install Docker Engine, then try again.")
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=60)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise RollProblem("compose is not installed: install Docker's compose plugin or docker-compose, then try again.")


def run(command: Sequence[str], problem: str, *, quiet: bool = False, seconds: float = BUILD_SECONDS) -> str:
    """Run a command in the project's folder; return its stdout if `quiet`. Raises RollProblem when it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if quiet else None,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise RollProblem(f"{problem} (still running after {seconds:g} s).") from None
    if done.returncode != 0:
        raise RollProblem(f"{problem}.")
    return done.stdout or ""


def say(line: str) -> None:
    """Print a line of progress."""
    print(f"roll: {line}", flush=True)
