"""Hints that are lost although Redis is healthy."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Engine

from shared.tables import Status
from tests.crash.person import Person
from tests.stack import SHORT_LEASES, Stack


def _at_once(rows: list[Any]) -> list[int]:
    """Return how many requests were running at the start of each."""
    return [sum(other.started_at <= row.started_at < other.ended_at for other in rows) for row in rows]


SHORT = "[[sim: tokens=10 pace=100]]"


def test_request_without_a_hint_is_found(stack: Stack, engine: Engine) -> None:
    stack.start_simulator()
    stack.start_worker(broker_silence_seconds=1)
    with Person(stack, engine) as alice:
        assert alice.wait_end(alice.ask(SHORT, hint=False), seconds=6).status == Status.SUCCEEDED


def test_hints_taken_by_a_dead_worker_are_replaced(stack: Stack, engine: Engine) -> None:
    """The worker dies after BRPOP has removed the message and before it handles the hint."""
    stack.configure(**SHORT_LEASES, broker_silence_seconds=1)
    stack.start_simulator()
    dying = stack.start_worker()
    with Person(stack, engine) as alice:
        for _ in range(3):
            dying.freeze()
            request = alice.ask(SHORT)
            time.sleep(0.3)
            dying.kill()
            dying = stack.start_worker()
            assert alice.wait_end(request, seconds=10).status == Status.SUCCEEDED
            assert len(alice.calls(request)) == 1


def test_questions_beyond_the_slots_wait_in_redis(stack: Stack, engine: Engine) -> None:
    stack.start_simulator()
    stack.start_worker(concurrency=3)
    with Person(stack, engine) as alice:
        requests = [alice.ask("[[sim: tokens=10 pace=20 first=0.1]]") for _ in range(30)]
        rows = [alice.wait_end(request) for request in requests]
        assert {row.status for row in rows} == {Status.SUCCEEDED}
        assert {len(alice.calls(request)) for request in requests} == {1}
        assert max(_at_once(rows)) <= 3
