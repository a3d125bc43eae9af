"""Tests of the lease thread: leases follow the loop's heartbeat, and notices are passed on at once."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, select, text

from shared import fleet, lifecycle
from shared.lifecycle import Question
from shared.live.publisher import Publisher
from shared.people import Owner
from shared.postgres import notify
from shared.postgres.database import transaction
from shared.settings import Settings
from shared.tables import Status, chat_request
from tests.patience import patient
from tests.shared.rig import MODEL
from tests.stack import Stack, wait_until
from workers.answering.answer import answer
from workers.process.context import Context, make_context
from workers.process.lease import LeaseThread
from workers.process.running import Interruption


@pytest.fixture
def context(stack: Stack) -> Iterator[Context]:
    """Yield the context of a process in which only the loop and the publisher run."""
    made = make_context(stack.settings)
    made.loop.start()
    made.publisher = made.loop.submit(new_publisher(stack.settings)).result(timeout=patient(5))
    yield made
    made.loop.submit(made.publisher.aclose()).result(timeout=patient(5))
    made.loop.close()
    made.engine.dispose()


async def new_publisher(settings: Settings) -> Publisher:
    return Publisher(settings)


@pytest.fixture
def requests() -> list[str]:
    """Return a list that gets one entry for each request notice of the lease thread."""
    return []


@pytest.fixture
def lease(context: Context, requests: list[str]) -> LeaseThread:
    """Return a lease thread that is not started; the test calls its methods."""
    return LeaseThread(context, on_request=lambda: requests.append("a request"))


@contextmanager
def standing_still(context: Context) -> Iterator[None]:
    """Block the process's event loop."""
    go_on = threading.Event()
    context.loop.call(go_on.wait)
    try:
        yield
    finally:
        go_on.set()


def test_lease_counts_from_the_last_loop_heartbeat(context: Context, lease: LeaseThread) -> None:
    left = text("SELECT extract(epoch FROM lease_expires_at - clock_timestamp()) FROM worker WHERE id = :id")
    lease_seconds = context.settings.lease_seconds
    with lease.connect() as connection:
        lease.renew(connection)
        assert context.member is not None
        worker = {"id": context.member.worker_id}
        assert float(connection.execute(left, worker).scalar_one()) > lease_seconds - patient(0.5)
        with standing_still(context):
            time.sleep(1.5)
            lease.renew(connection)
            assert 0 < float(connection.execute(left, worker).scalar_one()) < lease_seconds - 0.8


def test_stalled_worker_leaves_a_request_to_others(context: Context, lease: LeaseThread) -> None:
    context.settings = dataclasses.replace(context.settings, stall_seconds=0.3)
    question = Question(owner=Owner("o"), conversation_id=uuid4(), text="?", idempotency_key="k", model="demo/echo")
    asked = lifecycle.submit(context.engine, question, deadline_seconds=60, max_characters=100)
    with lease.connect() as connection:
        lease.renew(connection)
        with standing_still(context):
            wait_until(lambda: context.loop.stalled_seconds() > context.settings.stall_seconds)
            answer(context, "demo")
        row = connection.execute(select(chat_request).where(chat_request.c.id == asked.request_id)).one()
    assert (row.status, row.attempt) == (Status.QUEUED, 0), "a tick wakes another worker"


def test_worker_without_a_model_claims_nothing(context: Context, lease: LeaseThread) -> None:
    question = Question(owner=Owner("o"), conversation_id=uuid4(), text="?", idempotency_key="k", model="demo/echo")
    asked = lifecycle.submit(context.engine, question, deadline_seconds=60, max_characters=100)
    with lease.connect() as connection:
        lease.renew(connection)
        assert context.member is not None
        assert not context.member.models
        answer(context, "demo")
        row = connection.execute(select(chat_request).where(chat_request.c.id == asked.request_id)).one()
    assert (row.status, row.attempt) == (Status.QUEUED, 0)


def test_lease_thread_passes_on_a_stop_read_with_a_reply(context: Context, lease: LeaseThread) -> None:
    heard: list[UUID] = []
    context.running.stop = heard.append  # type: ignore[method-assign, assignment]
    request_id = uuid4()
    with lease.connect() as connection:
        connection.execute(text(f"LISTEN {notify.STOP}"))
        with transaction(context.engine) as other:
            notify.after_commit(other, notify.STOP, request_id, uuid4())
        wait_until(lambda: _has_arrived(connection), what="the stop arrives with a reply")
        until = time.monotonic() + patient(30)
        ear = threading.Thread(target=lease.listen, args=(connection,), kwargs={"until": until})
        ear.start()
        wait_until(lambda: heard, what="the stop arrives before the round ends")
        lease.wake()
        ear.join()
        assert heard == [request_id]


def _has_arrived(connection: Connection) -> bool:
    connection.execute(text("SELECT 1"))
    raw: Any = connection.connection.driver_connection
    return bool(raw.notifies)


def test_lease_thread_hears_requests_only_without_hints(
    context: Context, lease: LeaseThread, requests: list[str]
) -> None:
    def sent(connection: Connection) -> list[str]:
        """Return the request notices heard when one is sent after a renewal."""
        requests.clear()
        lease.renew(connection)
        with transaction(context.engine) as other:
            notify.after_commit(other, notify.REQUEST, uuid4(), uuid4())
        lease.listen(connection, until=time.monotonic() + patient(0.3))
        return list(requests)

    with lease.connect() as connection:
        assert not sent(connection)
        context.vitals.redis_answered_at -= context.settings.broker_silence_seconds
        assert sent(connection) == ["a request"]
        context.vitals.redis_answered_at = time.monotonic()
        assert not sent(connection)


def test_fresh_claim_survives_two_quick_rounds(context: Context, lease: LeaseThread) -> None:
    """A drain wakes the thread, so two rounds may come at once, just after a claim has committed."""
    question = Question(owner=Owner("o"), conversation_id=uuid4(), text="?", idempotency_key="k", model=MODEL)
    asked = lifecycle.submit(context.engine, question, deadline_seconds=60, max_characters=100)
    context.settings = dataclasses.replace(context.settings, renew_seconds=patient(0.5))

    def status_after_a_round() -> str:
        lease.renew(connection)
        row = connection.execute(select(chat_request).where(chat_request.c.id == asked.request_id)).one()
        return str(row.status)

    with lease.connect() as connection:
        lease.renew(connection)
        assert context.member is not None
        claimant = lifecycle.Claimant(worker_id=context.member.worker_id, models=[MODEL])
        assert lifecycle.claim(context.engine, asked.lane, claimant) is not None
        assert [status_after_a_round(), status_after_a_round()] == ["running", "running"]
        time.sleep(context.settings.renew_seconds)
        assert status_after_a_round() == "queued"


def test_taken_answer_ends_here(context: Context, lease: LeaseThread) -> None:
    """An administrator took its request from this worker: nobody reads what it streams any more."""
    question = Question(owner=Owner("o"), conversation_id=uuid4(), text="?", idempotency_key="k", model=MODEL)
    asked = lifecycle.submit(context.engine, question, deadline_seconds=60, max_characters=100)
    context.settings = dataclasses.replace(context.settings, renew_seconds=patient(0.5))
    with lease.connect() as connection:
        lease.renew(connection)
        assert context.member is not None
        claimant = lifecycle.Claimant(worker_id=context.member.worker_id, models=[MODEL])
        claimed = lifecycle.claim(context.engine, asked.lane, claimant)
        assert claimed is not None
        with context.running.register(claimed) as running:
            lease.renew(connection)
            assert not running.interruption
            assert lifecycle.take_from_worker(context.engine, claimed.request_id, attempt=claimed.attempt)
            lease.renew(connection)
            now = running.interruption
            assert now is None, "one round may come between the end of a request and that of its entry"
            time.sleep(context.settings.renew_seconds)
            lease.renew(connection)
            now = running.interruption
            assert now is Interruption.LOST


def test_drain_is_passed_on_once(context: Context) -> None:
    asked: list[str] = []

    def drain() -> None:
        asked.append("drain")
        context.draining.set()

    lease = LeaseThread(context, on_request=lambda: None, on_drain=drain)
    with lease.connect() as connection:
        lease.renew(connection)
        assert context.member is not None
        assert not asked
        assert fleet.request_drain(context.engine, context.member.worker_id)
        lease.renew(connection)
        lease.renew(connection)
        assert asked == ["drain"]
        assert not fleet.fleet(context.engine).live_workers
