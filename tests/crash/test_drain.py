"""Draining a worker with SIGTERM, as a deploy does."""

from __future__ import annotations

import time

from sqlalchemy import Engine

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
