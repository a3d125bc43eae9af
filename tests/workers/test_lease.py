"""The lease thread's ear: a notice is handed on at once, whenever it comes."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, select, text

from shared import lifecycle
from shared.lifecycle import Question
from shared.postgres import notify
from shared.postgres.database import transaction
from shared.tables import Status, chat_request
from tests.patience import patient
from tests.stack import Stack, wait_until
from workers.answering.answer import answer
from workers.worker import Process


@pytest.fixture
def process(stack: Stack) -> Iterator[Process]:
    """A process whose loop runs and whose lease thread does not."""
    made = Process(stack.settings, answer=lambda *_: None)
    made.loop.start()
    made.publisher = made.loop.submit(made._make_publisher()).result(timeout=patient(5))
    yield made
    made.loop.submit(made._close_streams()).result(timeout=patient(5))
    made.loop.close()
    made._dispatcher.close()
    made.engine.dispose()


@contextmanager
def standing_still(process: Process) -> Iterator[None]:
    """The process's loop does nothing else meanwhile."""
    go_on = threading.Event()
    process.loop.call(go_on.wait)
    try:
        yield
    finally:
        go_on.set()


def test_the_lease_counts_from_the_loops_last_sign_of_life(process: Process) -> None:
    left = text("SELECT extract(epoch FROM lease_expires_at - clock_timestamp()) FROM worker WHERE id = :id")
    lease_seconds = process.settings.lease_seconds
    with process._lease._engine.connect() as connection:
        process._lease._round(connection)
        assert process.member is not None
        worker = {"id": process.member.worker_id}
        assert float(connection.execute(left, worker).scalar_one()) > lease_seconds - patient(0.5)
        with standing_still(process):
            time.sleep(1.5)
            process._lease._round(connection)
            assert 0 < float(connection.execute(left, worker).scalar_one()) < lease_seconds - 0.8


def test_a_hint_that_comes_while_the_loop_stands_still_is_given_back(process: Process) -> None:
    process.settings = dataclasses.replace(process.settings, stall_seconds=0.3)
    question = Question(owner_id="o", conversation_id=uuid4(), text="?", idempotency_key="k")
    asked = lifecycle.submit(process.engine, question, deadline_seconds=60, max_characters=100)
    with process._lease._engine.connect() as connection:
        process._lease._round(connection)
        with standing_still(process):
            wait_until(lambda: process.loop.stalled_seconds() > process.settings.stall_seconds)
            answer(process, asked.request_id)
        row = connection.execute(select(chat_request).where(chat_request.c.id == asked.request_id)).one()
    assert (row.status, row.dispatched_at) == (Status.QUEUED, None), "the next tick sends it to another worker"


def test_without_a_model_a_worker_claims_nothing_and_the_question_waits(process: Process) -> None:
    question = Question(owner_id="o", conversation_id=uuid4(), text="?", idempotency_key="k")
    asked = lifecycle.submit(process.engine, question, deadline_seconds=60, max_characters=100)
    with process._lease._engine.connect() as connection:
        process._lease._round(connection)
        assert process.member is not None
        assert not process.member.models
        answer(process, asked.request_id)
        row = connection.execute(select(chat_request).where(chat_request.c.id == asked.request_id)).one()
    assert (row.status, row.attempt) == (Status.QUEUED, 0)


def test_a_stop_that_comes_with_a_rounds_own_reply_is_not_left_lying(process: Process) -> None:
    heard: list[UUID] = []
    process.running.stop = heard.append  # type: ignore[method-assign, assignment]
    request_id = uuid4()
    with process._lease._engine.connect() as connection:
        connection.execute(text(f"LISTEN {notify.STOP}"))
        with transaction(process.engine) as other:
            notify.send(other, notify.STOP, request_id, uuid4())
        time.sleep(0.1)
        connection.execute(text("SELECT 1"))
        until = time.monotonic() + patient(30)
        ear = threading.Thread(target=process._lease._listen, args=(connection,), kwargs={"until": until})
        ear.start()
        wait_until(lambda: heard == [request_id], what="it is heard before the round is over")
        process._lease.wake()
        ear.join()


def test_new_requests_are_heard_only_while_hints_do_not_come(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr(process, "heard_of_request", lambda: heard.append("a request"))

    def sent(connection: Connection) -> list[str]:
        """What is heard of one that is sent behind a round."""
        heard.clear()
        process._lease._round(connection)
        with transaction(process.engine) as other:
            notify.send(other, notify.REQUEST, uuid4(), uuid4())
        process._lease._listen(connection, until=time.monotonic() + patient(0.15))
        return list(heard)

    with process._lease._engine.connect() as connection:
        assert not sent(connection)
        monkeypatch.setattr(process, "broker_is_away", lambda: True)
        assert sent(connection) == ["a request"]
        monkeypatch.setattr(process, "broker_is_away", lambda: False)
        assert not sent(connection)
