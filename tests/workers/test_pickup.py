"""Tests of the pickup: without Redis a worker takes due requests from Postgres, into all its slots."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest

from deploy.cli.up import waiting_line
from shared import fleet, lifecycle
from shared.lifecycle import Claimant
from tests.patience import patient, slowness
from tests.shared.rig import RequestRig
from tests.stack import Stack, free_port, wait_until
from workers.process.context import Context, make_context
from workers.process.health import readiness_of
from workers.process.membership import new_member
from workers.process.pickup import Pickup


class Answering:
    """Answers without a provider: holds each request in a slot until `go_on` is set."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def answer(self, context: Context, lane: str, on_claim: Callable[[], None]) -> None:
        """Claim a request of the lane and hold its slot."""
        assert context.member is not None
        with context.running.slot(lane, timeout_seconds=5) as free:
            claimant = Claimant(worker_id=context.member.worker_id, models=["demo/echo"])
            claimed = free and lifecycle.claim(context.engine, lane, claimant)
            if not claimed:
                return
            on_claim()
            with context.running.register(claimed):
                self.go_on.wait(20)


@pytest.fixture
def answering() -> Answering:
    return Answering()


@pytest.fixture
def context(stack: Stack) -> Iterator[Context]:
    """Yield the context of a worker process without Redis, in which nothing runs."""
    stack.redis_url = f"redis://127.0.0.1:{free_port()}/0"
    stack.configure(redis_url=stack.redis_url, concurrency=4, broker_silence_seconds=0.3)
    made = make_context(stack.settings)
    made.member = replace(new_member(made), models=[fleet.Model(name="demo/echo", demo=True)])
    made.running.lanes = frozenset({"demo"})
    fleet.register(made.engine, made.member, lease_seconds=60)
    yield made
    made.engine.dispose()


@pytest.fixture
def pickup(context: Context, answering: Answering) -> Iterator[Pickup]:
    """Yield the process's pickup, started."""
    made = Pickup(context, answer=partial(answering.answer, context))
    made.start()
    yield made
    answering.go_on.set()
    made.close()


def running(rig: RequestRig) -> int:
    return int(rig.scalar("SELECT count(*) FROM chat_request WHERE status = 'running'"))


def test_every_slot_is_used_while_redis_is_away(context: Context, pickup: Pickup, answering: Answering) -> None:
    rig = RequestRig(context.engine)
    for expected in (2, 4):
        rig.ask()
        rig.ask()
        wait_until(lambda: running(rig) == expected, seconds=6, what=f"{expected} run")  # noqa: B023
    fifth = rig.ask().request_id
    time.sleep(0.7)
    assert rig.row(fifth)["status"] == "queued", "there are four slots"
    answering.go_on.set()
    wait_until(lambda: rig.row(fifth)["status"] == "running", seconds=6)


def test_waiting_line_counts_unfinished_answers(context: Context, pickup: Pickup, stack: Stack) -> None:
    assert waiting_line(stack.environ()) == ""
    RequestRig(context.engine).ask()
    wait_until(lambda: waiting_line(stack.environ()), seconds=6)
    assert waiting_line(stack.environ(grace_seconds=20)) == (
        "  waiting up to 20 s for 1 answer to finish; Ctrl-C again ends at once"
    )


def test_draining_worker_takes_nothing(context: Context, pickup: Pickup, answering: Answering) -> None:
    context.draining.set()
    rig = RequestRig(context.engine)
    request_id = rig.ask().request_id
    time.sleep(1.0)
    assert rig.row(request_id)["status"] == "queued"


def test_probe_names_a_hung_redis_in_time(context: Context) -> None:
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        url = f"redis://127.0.0.1:{hanging.getsockname()[1]}/0"
        context.settings = replace(context.settings, redis_url=url, redis_timeout_seconds=0.2 * slowness())
        began = time.monotonic()
        assert readiness_of(context) == {"postgres": True, "redis": False}
        assert time.monotonic() - began < slowness(), "redis-py retries ten times unless retries are off"


def test_close_does_not_wait_for_redis(context: Context, pickup: Pickup) -> None:
    wait_until(context.is_redis_away, seconds=3)
    began = time.monotonic()
    pickup.close()
    assert time.monotonic() - began < patient(2)
