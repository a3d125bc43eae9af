"""`./naru compose roll`: a new version, container by container, with no failed request.

compose itself replaces all containers of a service at once. Here the new ones start beside the old; nginx looks their
names up anew every second and passes over who does not answer; the old workers finish their answers before they go.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from deploy.embedded.processes import ROOT

#: In this order: a new worker understands what an old page asks; and how long an old container has to end, at least.
SERVICES = {"worker": 930, "web": 20}
#: Until nginx has looked the names up anew.
NAMES_SECONDS = 3.0
BUILD_SECONDS = 3600


class RollProblem(Exception):
    """The new version is not in; the message says how far it came and what to do."""


def roll(services: Sequence[str], *, build: bool, patience_seconds: float) -> int:
    """Build, migrate, and exchange the containers of each service."""
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
    """New containers beside the old ones, then the old ones away."""
    old = containers(compose, service)
    if not old:
        raise RollProblem(f"no container of {service} is running: docker compose up -d starts it.")
    say(f"{service}: {len(old)} running, starting as many of the new version")
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
    """So many containers; those that run are left as they are."""
    run(
        [*compose, "up", "-d", "--no-deps", "--no-recreate", "--no-build", "--scale", f"{service}={number}", service],
        f"the new containers of {service} could not be started: see above; the old ones go on",
    )


def await_health(new: Sequence[str], *, patience_seconds: float) -> None:
    """Return when all are healthy."""
    limit = time.monotonic() + patience_seconds
    while True:
        states = {each: health(each) for each in new}
        if new and all(state == "healthy" for state in states.values()):
            return
        bad = [each[:12] for each, state in states.items() if state != "healthy"]
        if time.monotonic() > limit:
            raise RollProblem(
                f"{', '.join(bad) or 'no new container'} did not get healthy within {patience_seconds:g} s and was"
                f" removed; the old version goes on. Look: docker compose logs --tail 50"
            )
        time.sleep(0.5)


def health(container: str) -> str:
    """healthy, starting, unhealthy; or, of one that does not run, how it ended."""
    state = inspect(container).get("State", {})
    if state.get("Status") != "running":
        return str(state.get("Status", "gone"))
    return str(state.get("Health", {}).get("Status", "healthy"))


def stop_seconds(container: str) -> int:
    """How long it was told that it may take to end (stop_grace_period); 0 where compose did not tell it."""
    return int(inspect(container).get("Config", {}).get("StopTimeout") or 0)


def containers(compose: Sequence[str], service: str) -> list[str]:
    """The ids of those that serve. Not those of a `compose run`, which older versions list with them."""
    listed = run([*compose, "ps", "-q", service], "compose does not say what runs", quiet=True)
    return [each for each in listed.split() if is_serving(inspect(each))]


def is_serving(container: dict[str, Any]) -> bool:
    """Whether it runs for the service and not for one command."""
    labels = container.get("Config", {}).get("Labels") or {}
    one_off = labels.get("com.docker.compose.oneoff", "False").lower() == "true"
    return container.get("State", {}).get("Status") in {"running", "restarting"} and not one_off


def inspect(container: str) -> dict[str, Any]:
    """What the engine knows of it; nothing of one that is gone."""
    done = subprocess.run(["docker", "inspect", container], capture_output=True, timeout=60)
    found: list[dict[str, Any]] = json.loads(done.stdout or b"[]")
    return found[0] if found else {}


def remove(old: Sequence[str], *, grace_seconds: int) -> None:
    """End them in order and take them away."""
    run(
        ["docker", "stop", "-t", str(grace_seconds), *old],
        "old containers could not be stopped",
        quiet=True,
        seconds=grace_seconds + 60,
    )
    run(["docker", "rm", *old], "old containers could not be removed", quiet=True)


def compose_command() -> list[str]:
    """`docker compose`, or the older program of its own."""
    if shutil.which("docker") is None:
        raise RollProblem("there is no docker here: install Docker Engine, then try again.")
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=60)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise RollProblem("docker has no compose here: install its compose plugin (or docker-compose), then try again.")


def run(command: Sequence[str], problem: str, *, quiet: bool = False, seconds: float = BUILD_SECONDS) -> str:
    """One command in the project's folder; what it wrote on stdout."""
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
        raise RollProblem(f"{problem} (no end after {seconds:g} s).") from None
    if done.returncode != 0:
        raise RollProblem(f"{problem}.")
    return done.stdout or ""


def say(line: str) -> None:
    """Progress."""
    print(f"roll: {line}", flush=True)
