"""Stop: what a person stopped is stopped, whatever else happens at that moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from shared import fleet, lifecycle
from shared.errors import NotFound
from shared.lifecycle import Answer
from shared.postgres import notify
from shared.tables import Outcome, Status, chat_request
from tests.patience import patient
from tests.shared.listening import Listener
from tests.shared.together import together
from tests.shared.world import OWNER, STRANGER, World
from tests.stack import wait_until


def test_a_queued_request_is_cancelled_at_once(world: World) -> None:
    request_id = world.ask().request_id
    assert lifecycle.stop(world.engine, request_id, owner=OWNER) is Status.CANCELLED
    assert (world.row(request_id)["status"], world.answer_of(request_id)) == ("cancelled", "")
    assert world.try_claim(request_id, world.worker()) is None


def test_stop_of_a_running_request_notifies_its_worker(world: World) -> None:
    claimed = world.running()
    with Listener(world.engine, notify.STOP) as listener:
        assert lifecycle.stop(world.engine, claimed.request_id, owner=OWNER) is Status.RUNNING
        assert listener.next() == notify.Notice(notify.STOP, claimed.request_id, claimed.conversation_id)
    asked_at = world.row(claimed.request_id)["stop_requested_at"]
    assert lifecycle.stop(world.engine, claimed.request_id, owner=OWNER) is Status.RUNNING
    assert world.row(claimed.request_id)["stop_requested_at"] == asked_at, "patience runs from the first time"


def test_stop_leaves_ended_requests_unchanged(world: World) -> None:
    request_id = world.answered()
    before = world.row(request_id)
    assert lifecycle.stop(world.engine, request_id, owner=OWNER) is Status.SUCCEEDED
    assert world.row(request_id) == before


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "unknown"])
def test_another_owners_request_is_not_found(world: World, state: str) -> None:
    request_id = world.answered() if state == "succeeded" else world.ask().request_id
    if state == "running":
        world.claim(request_id, world.worker())
    before = world.row(request_id)
    with pytest.raises(NotFound):
        lifecycle.stop(world.engine, uuid4() if state == "unknown" else request_id, owner=STRANGER)
    assert world.row(request_id) == before


def test_a_stop_and_a_finish_at_once_have_one_winner(world: World) -> None:
    worker_id = world.worker()
    winners = []
    for _ in range(100):
        claimed = world.running(worker_id=worker_id)
        finished, status = together(
            lambda: lifecycle.finish(world.engine, claimed, Answer(text="whole")),  # noqa: B023
            lambda: lifecycle.stop(world.engine, claimed.request_id, owner=OWNER),  # noqa: B023
        )
        row = world.row(claimed.request_id)
        if finished is True:
            assert (status, row["status"], row["stop_requested_at"]) == (Status.SUCCEEDED, "succeeded", None)
        else:
            assert (finished, status, row["status"]) == (False, Status.RUNNING, "running")
            assert lifecycle.cancel(world.engine, claimed, Answer(text="whol"))
            assert world.answer_of(claimed.request_id) == "whol"
        winners.append(finished)
    assert len(winners) == 100


def test_stop_survives_a_requeue(world: World) -> None:
    """As when a tick takes back the requests of a dead worker, and the person has had enough of waiting."""
    claimed = world.running()
    with ThreadPoolExecutor(1) as pool:
        with world.begin() as repairing:
            row = chat_request.c.id == claimed.request_id
            repairing.execute(select(chat_request.c.id).where(row).with_for_update())
            stopped = pool.submit(lifecycle.stop, world.engine, claimed.request_id, owner=OWNER)
            waits = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            wait_until(lambda: world.scalar(waits), what="the stop waits for the row")
            repairing.execute(update(chat_request).where(row).values(status=Status.QUEUED, worker_id=None))
        assert stopped.result(timeout=patient(5)) is Status.CANCELLED
    assert world.row(claimed.request_id)["status"] == "cancelled"


def test_concurrent_release_never_loses_a_stop(world: World) -> None:
    worker_id = world.worker()
    for _ in range(50):
        claimed = world.running(worker_id=worker_id)
        released, status = together(
            lambda: lifecycle.release(world.engine, claimed, text="x", outcome=Outcome.HANDED_OVER),  # noqa: B023
            lambda: lifecycle.stop(world.engine, claimed.request_id, owner=OWNER),  # noqa: B023
        )
        row = world.row(claimed.request_id)
        if released is True:
            assert (status, row["status"]) == (Status.CANCELLED, "cancelled")
        else:
            assert (status, row["status"]) == (Status.RUNNING, "running")
            assert row["stop_requested_at"] is not None


@pytest.mark.parametrize(("text", "kept"), [("Becau", "Becau"), (None, "Bec"), ("", "")])
def test_web_carries_out_a_stop_that_no_worker_answers(world: World, text: str | None, kept: str) -> None:
    claimed = world.running()
    with world.begin() as connection:
        fleet.checkpoint(connection, claimed.worker_id, {(claimed.request_id, 1): "Bec"})

    def carry_out(attempt: int = 1) -> bool:
        return lifecycle.cancel_unanswered(
            world.engine, claimed.request_id, attempt=attempt, patience_seconds=3, text=text
        )

    assert not carry_out(), "nobody asked for a stop"
    lifecycle.stop(world.engine, claimed.request_id, owner=OWNER)
    assert not carry_out(), "its worker still has time to answer"
    world.put(claimed.request_id, stop_requested_at=world.ago(3.1))
    assert not carry_out(attempt=2), "the text would be another attempt's"
    assert carry_out()
    assert not carry_out()
    assert (world.row(claimed.request_id)["status"], world.answer_of(claimed.request_id)) == ("cancelled", kept)
