"""Redis stopped, frozen or flushed: requests get slower, but none is lost."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from shared.postgres.database import make_engine
from shared.tables import Status
from tests.crash.person import Person, full_text
from tests.patience import slowness
from tests.stack import Stack, wait_until

LONG = "[[sim: tokens=150 pace=30 first=0.1]]"
SHORT = "[[sim: tokens=10 pace=100]]"


@pytest.fixture(scope="module")
def own_stack(module_own_stack: Stack) -> Stack:
    """Return the module's stack with a simulator. Each test leaves a healthy Redis."""
    module_own_stack.configure(redis_timeout_seconds=slowness())
    module_own_stack.start_simulator()
    return module_own_stack


def _away(own_stack: Stack, *, how: str) -> list[tuple[int, int]]:
    """Ask while Redis is stopped or frozen; return the calls and the stored answers of each finished request."""
    (worker,) = own_stack.workers(1, broker_silence_seconds=1, concurrency=4)
    said = len(worker.log_text())
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as alice:
        running = alice.ask(LONG)
        alice.wait_text(running)
        if how == "stopped":
            own_stack.servers.stop_redis()
        else:
            own_stack.servers.redis.freeze()
        began = time.monotonic()
        asked = [alice.ask(SHORT) for _ in range(8)]
        assert time.monotonic() - began < 8 * own_stack.settings.redis_timeout_seconds, "ask() must not wait for Redis"
        stopped = alice.ask(LONG)
        for request in asked:
            assert alice.wait_end(request).status == Status.SUCCEEDED
        alice.wait_running(stopped)
        alice.stop(stopped)
        assert alice.wait_end(stopped, seconds=2).status == Status.CANCELLED
        assert alice.wait_end(running).attempt == 1
        assert alice.answers(running) == [full_text(LONG)]
        # On a slow machine the worker's ping may outlast all of the above.
        wait_until(lambda: "Redis is away" in worker.log_text()[said:], what="the worker notices the outage")
        if how == "stopped":
            own_stack.servers.start_redis()
        else:
            own_stack.servers.redis.thaw()
        after = alice.ask(SHORT)
        assert alice.wait_end(after, seconds=5).status == Status.SUCCEEDED
        wait_until(lambda: "Redis is back" in worker.log_text()[said:], what="the worker takes hints again")
        assert worker.running
        counts = [(len(alice.calls(each)), len(alice.answers(each))) for each in (*asked, after, running)]
    engine.dispose()
    return counts


def test_stopped_redis_loses_nothing(own_stack: Stack) -> None:
    assert _away(own_stack, how="stopped") == [(1, 1)] * 10


def test_frozen_redis_loses_nothing(own_stack: Stack) -> None:
    assert _away(own_stack, how="frozen") == [(1, 1)] * 10


def test_worker_starts_answers_and_stops_without_redis(own_stack: Stack) -> None:
    own_stack.workers(0)
    own_stack.servers.stop_redis()
    worker = own_stack.start_worker(consuming=False, broker_silence_seconds=0.5)
    engine = create_engine(make_engine(own_stack.settings, name="t").url, poolclass=NullPool)
    with Person(own_stack, engine) as alice:
        assert alice.wait_end(alice.ask(SHORT), seconds=10).status == Status.SUCCEEDED
    worker.terminate()
    worker.wait(seconds=15)
    own_stack.servers.start_redis()


def test_hints_that_redis_forgot_are_sent_again(stack: Stack, engine: Engine) -> None:
    stack.start_simulator()
    stack.start_worker(concurrency=2)
    with Person(stack, engine) as alice:
        busy = [alice.ask("[[sim: tokens=60 pace=30]]") for _ in range(2)]
        for request in busy:
            alice.wait_text(request)
        waiting = [alice.ask(SHORT) for _ in range(6)]
        with stack.redis_client() as redis:
            redis.flushdb()
        for request in (*busy, *waiting):
            assert alice.wait_end(request).status == Status.SUCCEEDED


def test_hundred_hints_of_one_request_make_one_call(stack: Stack, engine: Engine) -> None:
    stack.start_simulator()
    for _ in range(2):
        stack.start_worker()
    with Person(stack, engine) as alice:
        request = alice.ask(LONG)
        for _ in range(100):
            alice.dispatcher.send("demo")
        assert alice.wait_end(request).attempt == 1
        assert len(alice.calls(request)) == 1
