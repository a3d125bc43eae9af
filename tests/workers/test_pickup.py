"""The pickup: with Redis away a worker takes due requests from Postgres, into every slot that it has."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest

from deploy.cli.up import waiting_line
from shared import fleet, lifecycle
from tests.patience import patient, slowness
from tests.shared.world import World
from tests.stack import Stack, free_port, wait_until
from workers.process.health import readiness_of
from workers.worker import Process


class Answering:
    """Holds each request that it is given, in a slot, until told to go on; a provider has no part in it."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, process: Process, request_id: UUID) -> None:
        assert process.member is not None
        with process.running.slot(timeout_seconds=5) as free:
            claimed = free and lifecycle.claim(
                process.engine, request_id, worker_id=process.member.worker_id, models=["demo/echo"]
            )
            if not claimed:
                return
            with process.running.answering(claimed):
                self.go_on.wait(20)


@pytest.fixture
def answering() -> Answering:
    return Answering()


@pytest.fixture
def process(stack: Stack, answering: Answering) -> Iterator[Process]:
    """A worker process of which only the pickup runs; Redis is not there."""
    stack.redis_url = f"redis://127.0.0.1:{free_port()}/0"
    stack.configure(redis_url=stack.redis_url, concurrency=4, broker_silence_seconds=0.3)
    made = Process(stack.settings, answer=answering)
    made.member = made.new_member()
    fleet.register(made.engine, made.member, lease_seconds=60)
    made._pickup.start()
    yield made
    answering.go_on.set()
    made._pickup.close()
    made._dispatcher.close()
    made.engine.dispose()


def running(world: World) -> int:
    return int(world.scalar("SELECT count(*) FROM chat_request WHERE status = 'running'"))


def test_every_slot_is_used_while_redis_is_away(process: Process, answering: Answering) -> None:
    world = World(process.engine)
    for expected in (2, 4):
        world.ask()
        world.ask()
        wait_until(lambda: running(world) == expected, seconds=6, what=f"{expected} run")  # noqa: B023
    fifth = world.ask().request_id
    time.sleep(0.7)
    assert world.row(fifth)["status"] == "queued", "there are four slots"
    answering.go_on.set()
    wait_until(lambda: world.row(fifth)["status"] == "running", seconds=6)


def test_who_stops_naru_is_told_what_is_waited_for(process: Process, stack: Stack) -> None:
    assert waiting_line(stack.environ()) == ""
    World(process.engine).ask()
    wait_until(lambda: waiting_line(stack.environ()), seconds=6)
    assert waiting_line(stack.environ(grace_seconds=20)) == (
        "  waiting up to 20 s for 1 answer to finish; Ctrl-C again ends at once"
    )


def test_a_draining_worker_takes_nothing(process: Process, answering: Answering) -> None:
    process.draining.set()
    world = World(process.engine)
    request_id = world.ask().request_id
    time.sleep(1.0)
    assert world.row(request_id)["status"] == "queued"


def test_a_redis_that_hangs_is_named_before_who_asks_has_gone(process: Process) -> None:
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        url = f"redis://127.0.0.1:{hanging.getsockname()[1]}/0"
        process.settings = replace(process.settings, redis_url=url, redis_timeout_seconds=0.2 * slowness())
        began = time.monotonic()
        assert readiness_of(process) == {"postgres": True, "redis": False}
        assert time.monotonic() - began < slowness(), "redis-py tries ten times more unless it is told not to"


def test_closing_does_not_wait_for_redis(process: Process) -> None:
    wait_until(process.broker_is_away, seconds=3)
    began = time.monotonic()
    process._pickup.close()
    assert time.monotonic() - began < patient(2)
