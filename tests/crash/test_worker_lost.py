"""A worker that is killed or frozen in the middle of an answer."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from shared.tables import Status
from tests.crash.person import Person, full_text
from tests.stack import SHORT_LEASES, Stack, wait_until

LONG = "[[sim: tokens=120 pace=40 first=0.1]]"


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Return the module's stack with a simulator. Each test reuses the workers of the previous one."""
    module_stack.configure(**SHORT_LEASES)
    module_stack.start_simulator()
    return module_stack


def test_another_worker_answers_for_a_killed_one(stack: Stack, engine: Engine) -> None:
    first, second = stack.workers(2)
    with Person(stack, engine) as alice:
        request = alice.ask(LONG)
        alice.wait_text(request)
        victim = first if alice.worker_pid(request) == first.pid else second
        victim.kill()
        row = alice.wait_end(request)
        assert (row.status, row.attempt, row.losses) == (Status.SUCCEEDED, 2, 1)
        assert alice.answers(request) == [full_text(LONG)]


def test_new_worker_answers_for_a_killed_one(stack: Stack, engine: Engine) -> None:
    (worker,) = stack.workers(1)
    with Person(stack, engine) as alice:
        requests = [alice.ask(LONG) for _ in range(5)]
        for request in requests:
            alice.wait_text(request)
        worker.kill()
        stack.start_worker()
        for request in requests:
            assert alice.wait_end(request).attempt == 2
            assert alice.answers(request) == [full_text(LONG)]


def test_thawed_worker_writes_nothing(stack: Stack, engine: Engine) -> None:
    first, second = stack.workers(2)
    with Person(stack, engine) as alice:
        request = alice.ask(LONG)
        alice.wait_text(request)
        frozen = first if alice.worker_pid(request) == first.pid else second
        frozen.freeze()
        alice.wait_running(request, attempt=2)
        frozen.thaw()
        row = alice.wait_end(request)
        assert (row.status, row.attempt) == (Status.SUCCEEDED, 2)
        assert alice.answers(request) == [full_text(LONG)]
        wait_until(lambda: "marked lost" in frozen.log_text(), what="the thawed worker knows that it was lost")
        # The thawed worker has registered again and takes requests.
        (second if frozen is first else first).kill()
        again = alice.ask("[[sim: tokens=5]]")
        assert alice.wait_end(again).status == Status.SUCCEEDED


def living(engine: Engine) -> int:
    """Return how many workers are not lost."""
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM worker WHERE lost_at IS NULL")).scalar_one())


def test_poison_request_fails_and_its_neighbours_are_answered(stack: Stack, engine: Engine) -> None:
    workers = stack.workers(1)
    wait_until(lambda: living(engine) == 1, what="workers of earlier tests are lost, and not together with this one's")
    with Person(stack, engine) as alice:
        poison = alice.ask("[[sim: tokens=2000 pace=20]]")
        others = [alice.ask("[[sim: tokens=60 pace=20]]") for _ in range(15)]
        for attempt in (1, 2, 3):
            alice.wait_running(poison, attempt=attempt, seconds=60)
            pid = alice.worker_pid(poison)
            next(worker for worker in workers if worker.pid == pid).kill()
            workers.append(stack.start_worker())
        row = alice.wait_end(poison)
        assert (row.status, row.error_code, row.losses) == (Status.FAILED, "worker_lost", 2)
        for request in others:
            assert alice.wait_end(request, seconds=90).status == Status.SUCCEEDED
            assert alice.answers(request) == [full_text("[[sim: tokens=60 pace=20]]")]
