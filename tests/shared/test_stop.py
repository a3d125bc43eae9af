"""Tests of stop: a stopped request stays stopped, whatever happens at the same moment."""

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
from tests.shared.rig import OWNER, STRANGER, RequestRig
from tests.shared.together import together
from tests.stack import wait_until


def test_stop_cancels_a_queued_request_at_once(rig: RequestRig) -> None:
    request_id = rig.ask().request_id
    assert lifecycle.stop(rig.engine, request_id, owner=OWNER) is Status.CANCELLED
    assert (rig.row(request_id)["status"], rig.answer_of(request_id)) == ("cancelled", "")
    assert rig.try_claim(request_id, rig.worker()) is None


def test_stop_of_a_running_request_notifies_its_worker(rig: RequestRig) -> None:
    claimed = rig.running()
    with Listener(rig.engine, notify.STOP, over=rig.listening) as listener:
        assert lifecycle.stop(rig.engine, claimed.request_id, owner=OWNER) is Status.RUNNING
        assert listener.next() == notify.Notice(notify.STOP, claimed.request_id, claimed.conversation_id)
    asked_at = rig.row(claimed.request_id)["stop_requested_at"]
    assert lifecycle.stop(rig.engine, claimed.request_id, owner=OWNER) is Status.RUNNING
    assert rig.row(claimed.request_id)["stop_requested_at"] == asked_at, "patience counts from the first stop"


def test_stop_leaves_ended_requests_unchanged(rig: RequestRig) -> None:
    request_id = rig.answered()
    before = rig.row(request_id)
    assert lifecycle.stop(rig.engine, request_id, owner=OWNER) is Status.SUCCEEDED
    assert rig.row(request_id) == before


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "unknown"])
def test_another_owners_request_is_not_found(rig: RequestRig, state: str) -> None:
    request_id = rig.answered() if state == "succeeded" else rig.ask().request_id
    if state == "running":
        rig.claim(request_id, rig.worker())
    before = rig.row(request_id)
    with pytest.raises(NotFound):
        lifecycle.stop(rig.engine, uuid4() if state == "unknown" else request_id, owner=STRANGER)
    assert rig.row(request_id) == before


def test_concurrent_stop_and_finish_have_one_winner(rig: RequestRig) -> None:
    worker_id = rig.worker()
    winners = []
    for _ in range(100):
        claimed = rig.running(worker_id=worker_id)
        finished, status = together(
            lambda: lifecycle.finish(rig.engine, claimed, Answer(text="whole")),  # noqa: B023
            lambda: lifecycle.stop(rig.engine, claimed.request_id, owner=OWNER),  # noqa: B023
        )
        row = rig.row(claimed.request_id)
        if finished is True:
            assert (status, row["status"], row["stop_requested_at"]) == (Status.SUCCEEDED, "succeeded", None)
        else:
            assert (finished, status, row["status"]) == (False, Status.RUNNING, "running")
            assert lifecycle.cancel(rig.engine, claimed, Answer(text="whol"))
            assert rig.answer_of(claimed.request_id) == "whol"
        winners.append(finished)
    assert len(winners) == 100


def test_stop_survives_a_requeue(rig: RequestRig) -> None:
    """A person stops a request while a tick takes it back from a dead worker."""
    claimed = rig.running()
    with ThreadPoolExecutor(1) as pool:
        with rig.begin() as repairing:
            row = chat_request.c.id == claimed.request_id
            repairing.execute(select(chat_request.c.id).where(row).with_for_update())
            stopped = pool.submit(lifecycle.stop, rig.engine, claimed.request_id, owner=OWNER)
            waits = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            wait_until(lambda: rig.scalar(waits), what="the stop waits for the row")
            repairing.execute(update(chat_request).where(row).values(status=Status.QUEUED, worker_id=None))
        assert stopped.result(timeout=patient(5)) is Status.CANCELLED
    assert rig.row(claimed.request_id)["status"] == "cancelled"


def test_concurrent_release_never_loses_a_stop(rig: RequestRig) -> None:
    worker_id = rig.worker()
    for _ in range(50):
        claimed = rig.running(worker_id=worker_id)
        released, status = together(
            lambda: lifecycle.release(rig.engine, claimed, text="x", outcome=Outcome.HANDED_OVER),  # noqa: B023
            lambda: lifecycle.stop(rig.engine, claimed.request_id, owner=OWNER),  # noqa: B023
        )
        row = rig.row(claimed.request_id)
        if released is True:
            assert (status, row["status"]) == (Status.CANCELLED, "cancelled")
        else:
            assert (status, row["status"]) == (Status.RUNNING, "running")
            assert row["stop_requested_at"] is not None


@pytest.mark.parametrize(("text", "kept"), [("Becau", "Becau"), (None, "Bec"), ("", "")])
def test_web_carries_out_a_stop_that_no_worker_answers(rig: RequestRig, text: str | None, kept: str) -> None:
    claimed = rig.running()
    with rig.begin() as connection:
        fleet.checkpoint(connection, claimed.worker_id, {(claimed.request_id, 1): "Bec"})

    def carry_out(attempt: int = 1) -> bool:
        return lifecycle.cancel_unanswered(
            rig.engine, claimed.request_id, attempt=attempt, patience_seconds=3, text=text
        )

    assert not carry_out(), "nobody asked for a stop"
    lifecycle.stop(rig.engine, claimed.request_id, owner=OWNER)
    assert not carry_out(), "its worker still has time to answer"
    rig.put(claimed.request_id, stop_requested_at=rig.ago(3.1))
    assert not carry_out(attempt=2), "the text belongs to another attempt"
    assert carry_out()
    assert not carry_out()
    assert (rig.row(claimed.request_id)["status"], rig.answer_of(claimed.request_id)) == ("cancelled", kept)
