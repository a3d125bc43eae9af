"""Stop in each phase of a request."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from shared.tables import Status
from tests.crash.person import Person, full_text
from tests.stack import SHORT_LEASES, Stack, wait_until

LONG = "[[sim: tokens=300 pace=30 first=0.1]]"


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Return the module's stack with a simulator. Each test reuses the workers of the previous one."""
    module_stack.configure(**SHORT_LEASES)
    module_stack.start_simulator()
    return module_stack


def test_stop_of_a_queued_request_calls_no_provider(stack: Stack, engine: Engine) -> None:
    stack.workers(0)
    with Person(stack, engine) as alice:
        request = alice.ask(LONG)
        assert alice.stop(request) == Status.CANCELLED
        stack.workers(1)
        other = alice.ask("[[sim: tokens=5]]")
        alice.wait_end(other)
        assert alice.calls(request) == []
        assert alice.answers(request) == [""]


def test_stop_before_the_first_word_closes_the_connection(stack: Stack, engine: Engine) -> None:
    stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask("[[sim: tokens=5 first=30]]")
        wait_until(lambda: alice.calls(request), what="the provider is called")
        assert alice.stop(request) == Status.RUNNING
        assert alice.wait_end(request, seconds=2).status == Status.CANCELLED
        wait_until(lambda: alice.calls(request, "closed"), what="the connection is closed")


def test_stop_in_the_middle_keeps_the_text_so_far_as_the_answer(stack: Stack, engine: Engine) -> None:
    stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask(LONG)
        alice.wait_text(request)
        alice.stop(request)
        assert alice.wait_end(request, seconds=2).status == Status.CANCELLED
        (answer,) = alice.answers(request)
        assert answer
        assert full_text(LONG).startswith(answer)
        assert answer != full_text(LONG)


def test_stop_cancels_the_request_of_a_frozen_worker(stack: Stack, engine: Engine) -> None:
    frozen, other = stack.workers(2)
    with Person(stack, engine) as alice:
        request = alice.ask(LONG)
        alice.wait_text(request)
        if alice.worker_pid(request) == other.pid:
            frozen, other = other, frozen
        frozen.freeze()
        alice.stop(request)
        assert alice.wait_end(request, seconds=6).status == Status.CANCELLED
        frozen.thaw()
        wait_until(lambda: "marked lost" in frozen.log_text(), what="the thawed worker knows that it was lost")
        assert alice.status(request) == Status.CANCELLED
        assert len(alice.answers(request)) == 1
