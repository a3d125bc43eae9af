"""Postgres stopped and restarted while answers run."""

from __future__ import annotations

import time

import pytest

from shared.errors import Unavailable
from shared.postgres.connections import PATIENCE_SECONDS
from shared.postgres.database import make_engine
from shared.tables import Status
from tests.crash.person import Person, full_text
from tests.patience import patient
from tests.stack import Stack

LONG = "[[sim: tokens=90 pace=30 first=0.1]]"


def test_running_answers_wait_for_postgres_and_are_stored_once(own_stack: Stack) -> None:
    own_stack.start_simulator()
    own_stack.start_worker(lease_seconds=3, renew_seconds=0.75, stall_seconds=2)
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as alice:
        requests = [alice.ask(LONG) for _ in range(10)]
        for request in requests:
            alice.wait_text(request)
        own_stack.servers.stop_postgres()
        time.sleep(4)  # longer than the lease, and than the answers themselves
        own_stack.servers.start_postgres()
        for request in requests:
            row = alice.wait_end(request)
            assert (row.status, row.attempt, row.losses) == (Status.SUCCEEDED, 1, 0)
            assert alice.answers(request) == [full_text(LONG)]
            assert len(alice.calls(request)) == 1
        assert alice.wait_end(alice.ask(LONG)).status == Status.SUCCEEDED
    engine.dispose()


def test_wait_for_a_frozen_postgres_is_bounded(own_stack: Stack) -> None:
    own_stack.start_simulator()
    own_stack.start_worker()
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as alice:
        running = alice.ask(LONG)
        alice.wait_text(running)
        own_stack.servers.postgres.freeze()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            alice.ask(LONG)
        assert time.monotonic() - began < patient(3 * PATIENCE_SECONDS)
        own_stack.servers.postgres.thaw()
        row = alice.wait_end(running)
        assert (row.status, row.attempt) == (Status.SUCCEEDED, 1)
        assert alice.wait_end(alice.ask(LONG)).status == Status.SUCCEEDED
    engine.dispose()
