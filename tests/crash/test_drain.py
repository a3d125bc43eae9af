"""Draining a worker with SIGTERM, as a deploy does."""

from __future__ import annotations

import time

from sqlalchemy import Engine

from shared import fleet, lifecycle
from shared.operating.workers import Being, workers_now
from shared.tables import Status
from tests.crash.person import Person, full_text
from tests.patience import patient, slowness
from tests.stack import Stack


def test_drain_finishes_or_hands_over_every_answer(stack: Stack, engine: Engine) -> None:
    stack.start_simulator()
    leaving = stack.start_worker(grace_seconds=2)
    with Person(stack, engine) as alice:
        short, long = "[[sim: tokens=30 pace=30 first=0.1]]", "[[sim: tokens=300 pace=25 first=0.1]]"
        quick, slow = alice.ask(short), alice.ask(long)
        for request in (quick, slow):
            alice.wait_text(request)
        stack.start_worker()
        leaving.terminate()
        assert leaving.wait(seconds=15) == 0
        assert (alice.wait_end(quick).attempt, alice.answers(quick)) == (1, [full_text(short)])
        row = alice.wait_end(slow, seconds=40)
        assert (row.status, row.attempt, row.losses, row.tries) == (Status.SUCCEEDED, 2, 0, 0)
        assert alice.answers(slow) == [full_text(long)]


def test_worker_that_is_asked_to_drain_ends(stack: Stack, engine: Engine) -> None:
    """An administrator asks it through its row; it ends as on SIGTERM."""
    stack.start_simulator()
    leaving = stack.start_worker(grace_seconds=2)
    with Person(stack, engine) as alice:
        slow = alice.ask("[[sim: tokens=300 pace=25 first=0.1]]")
        alice.wait_text(slow)
        (asked,) = workers_now(engine)
        stack.start_worker()
        assert fleet.request_drain(engine, asked.id)
        assert leaving.wait(seconds=15) == 0
        row = alice.wait_end(slow, seconds=40)
        assert (row.status, row.attempt, row.losses, row.tries) == (Status.SUCCEEDED, 2, 0, 0)
        assert {each.id: each.being for each in workers_now(engine)}[asked.id] is Being.LEFT


def test_request_taken_from_its_worker_is_answered_once(stack: Stack, engine: Engine) -> None:
    stack.start_simulator()
    stack.start_worker()
    with Person(stack, engine) as alice:
        slow = "[[sim: tokens=200 pace=25 first=0.1]]"
        taken = alice.ask(slow)
        alice.wait_text(taken)
        assert lifecycle.take_from_worker(engine, taken, attempt=1)
        row = alice.wait_end(taken, seconds=40)
        assert (row.status, row.attempt, row.losses) == (Status.SUCCEEDED, 2, 0)
        assert alice.answers(taken) == [full_text(slow)]


def test_draining_worker_takes_nothing_new(stack: Stack, engine: Engine) -> None:
    stack.start_simulator()
    # The drain outlasts `wedged_seconds`: a draining worker must not count as wedged.
    leaving = stack.start_worker(grace_seconds=patient(6), wedged_seconds=1.25 * slowness())
    with Person(stack, engine) as alice:
        held = alice.ask("[[sim: tokens=120 pace=30]]")
        alice.wait_text(held)
        leaving.terminate()
        time.sleep(0.5)
        new = alice.ask("[[sim: tokens=5]]")
        time.sleep(1)
        assert alice.status(new) == Status.QUEUED
        stack.start_worker()
        assert alice.wait_end(new, seconds=10).status == Status.SUCCEEDED
        assert alice.wait_end(held).attempt == 1
    assert leaving.wait(seconds=10) == 0
