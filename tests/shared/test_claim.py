"""Tests of claim: exactly one worker gets a request, and only one that may serve it."""

from __future__ import annotations

from uuid import uuid4

import pytest
from sqlalchemy import update

from shared import fleet, lifecycle
from shared.lifecycle import Answer, Claimed
from shared.lifecycle.branch import MAX_MESSAGES
from shared.messages import Message, RequestEnd
from shared.tables import Outcome, Status, chat_request, worker
from tests.shared.rig import MODEL, OWNER, RequestRig
from tests.shared.together import together


def test_claim_begins_an_attempt(rig: RequestRig) -> None:
    submitted, worker_id = rig.ask(deadline_seconds=100), rig.worker()
    rig.put(submitted.request_id, created_at=rig.ago(40), wait_code="rate_limited")
    claimed = rig.claim(submitted.request_id, worker_id)
    row = rig.row(submitted.request_id)
    assert (claimed.attempt, claimed.worker_id, claimed.model) == (1, worker_id, MODEL), "its model"
    assert (claimed.conversation_id, claimed.user_message_id) == (submitted.conversation_id, row["user_message_id"])
    assert (row["status"], row["attempt"], row["worker_id"], row["model"]) == ("running", 1, worker_id, MODEL)
    assert row["wait_code"] is None
    assert claimed.queue_seconds == pytest.approx(40, abs=2)
    assert claimed.age_seconds == pytest.approx(40, abs=2)
    assert claimed.left_seconds == pytest.approx(100, abs=2)
    record = rig.attempt(submitted.request_id, 1)
    assert (record["worker_id"], record["outcome"], record["ended_at"], record["checkpoint"]) == (
        worker_id,
        None,
        None,
        "",
    )


def test_claim_returns_the_branch_with_each_answers_end(rig: RequestRig) -> None:
    first = rig.running("q1")
    lifecycle.fail(rig.engine, first, Answer(text="half"), code="auth_failed")
    rig.ask("q2", conversation_id=first.conversation_id)
    (row,) = rig.rows(chat_request, status=Status.QUEUED)
    claimed = rig.claim(row["id"], rig.worker())
    assert claimed.branch == (
        Message.of_text("user", "q1"),
        Message.of_text("assistant", "half", end=RequestEnd(status=Status.FAILED)),
        Message.of_text("user", "q2"),
    )
    assert "q1" not in repr(claimed), "its repr cannot leak text into a log"


def test_claim_returns_newest_turns_of_a_long_branch(rig: RequestRig) -> None:
    conversation_id = rig.running("old").conversation_id
    rig.put(rig.rows(chat_request)[0]["id"], status=Status.CANCELLED, worker_id=None, ended_at=rig.ago(0))
    rig.lengthen(conversation_id, MAX_MESSAGES + 5)
    claimed = rig.claim(rig.ask("new", conversation_id=conversation_id).request_id, rig.worker())
    assert len(claimed.branch) == MAX_MESSAGES
    assert [each.text for each in (claimed.branch[0], *claimed.branch[-2:])] == ["m7", f"m{MAX_MESSAGES + 5}", "new"]


def test_each_claim_raises_the_fence_and_keeps_the_first_wait(rig: RequestRig) -> None:
    worker_id = rig.worker()
    first = rig.running(worker_id=worker_id)
    started_at = rig.row(first.request_id)["started_at"]
    assert lifecycle.release(rig.engine, first, text="", outcome=Outcome.HANDED_OVER)
    rig.put(first.request_id, created_at=rig.ago(100))
    second = rig.claim(first.request_id, worker_id)
    assert second.attempt == 2
    assert rig.row(first.request_id)["started_at"] == started_at
    assert second.age_seconds == pytest.approx(100, abs=2)


def test_concurrent_claims_have_one_winner(rig: RequestRig) -> None:
    workers = [rig.worker() for _ in range(4)]
    for _ in range(25):
        request_id = rig.ask().request_id
        claims = together(*[lambda w=each: rig.claim_from("demo", w) for each in workers])
        (won,) = [each for each in claims if each is not None]
        assert isinstance(won, Claimed)
        assert rig.row(request_id)["worker_id"] == won.worker_id
        assert rig.row(request_id)["attempt"] == 1


@pytest.mark.parametrize("why", ["not yet", "too late", "stopped", "running", "succeeded", "unknown"])
def test_claim_skips_unavailable_requests(rig: RequestRig, why: str) -> None:
    worker_id = rig.worker()
    request_id = rig.answered() if why == "succeeded" else rig.ask().request_id
    if why == "not yet":
        rig.put(request_id, available_at=rig.ago(-0.5))
    if why == "too late":
        rig.put(request_id, deadline_at=rig.ago(0))
    if why == "stopped":
        rig.put(request_id, stop_requested_at=rig.ago(0))
    if why == "running":
        rig.claim(request_id, rig.worker())
    before = rig.row(request_id)
    assert rig.try_claim(uuid4() if why == "unknown" else request_id, worker_id) is None
    assert rig.row(request_id) == before


def test_worker_claims_a_request_when_its_wait_is_over(rig: RequestRig) -> None:
    request_id, worker_id = rig.ask().request_id, rig.worker()
    rig.put(request_id, available_at=rig.ago(-60))
    assert rig.try_claim(request_id, worker_id) is None
    rig.make_due(request_id)
    assert rig.try_claim(request_id, worker_id) is not None


@pytest.mark.parametrize("why", ["lease over", "marked lost", "left", "never there"])
def test_worker_without_a_lease_claims_nothing(rig: RequestRig, why: str) -> None:
    request_id, worker_id = rig.ask().request_id, rig.worker()
    if why == "lease over":
        rig.expire_lease(worker_id)
    if why == "marked lost":
        with rig.begin() as connection:
            connection.execute(update(worker).values(lost_at=rig.ago(0)))
    if why == "left":
        fleet.leave(rig.engine, worker_id)
    assert rig.try_claim(request_id, uuid4() if why == "never there" else worker_id) is None
    assert rig.row(request_id)["status"] == Status.QUEUED


def test_worker_leaves_a_model_to_one_that_serves_it(rig: RequestRig) -> None:
    other, mine = rig.worker("openai/gpt"), rig.worker()
    request_id = rig.ask(model="openai/gpt").request_id
    assert rig.try_claim(request_id, mine) is None
    assert rig.try_claim(request_id, other, models=["openai/gpt"]) is not None


@pytest.mark.parametrize("gone", ["lease over", "left", "draining"])
def test_model_waits_for_its_worker_to_return(rig: RequestRig, gone: str) -> None:
    other, mine = rig.worker("openai/gpt"), rig.worker("openai/other")
    request_id = rig.ask(model="openai/gpt").request_id
    if gone == "lease over":
        rig.expire_lease(other)
    if gone == "left":
        fleet.leave(rig.engine, other)
    if gone == "draining":
        with rig.begin() as connection:
            fleet.start_draining(connection, other)
    assert rig.claim_from("openai", mine, models=["openai/other"]) is None
    again = rig.claim_from("openai", rig.worker("openai/gpt"), models=["openai/gpt"])
    assert again is not None
    assert (again.request_id, again.model) == (request_id, "openai/gpt")


@pytest.mark.parametrize(("losses", "suspect"), [(0, False), (1, False), (2, True)])
def test_suspect_is_claimed_only_where_it_may_be(rig: RequestRig, losses: int, *, suspect: bool) -> None:
    request_id, worker_id = rig.ask().request_id, rig.worker()
    rig.put(request_id, losses=losses)
    if suspect:
        assert rig.try_claim(request_id, worker_id) is None
    claimed = rig.try_claim(request_id, worker_id, may_be_suspect=suspect)
    assert claimed is not None
    assert claimed.losses == losses


def test_concurrent_claim_and_stop_never_both_win(rig: RequestRig) -> None:
    worker_id = rig.worker()
    for _ in range(25):
        request_id = rig.ask().request_id
        claimed, status = together(
            lambda: rig.try_claim(request_id, worker_id),  # noqa: B023
            lambda: lifecycle.stop(rig.engine, request_id, owner=OWNER),  # noqa: B023
        )
        row = rig.row(request_id)
        if claimed is None:
            assert (status, row["status"], rig.answer_of(request_id)) == (Status.CANCELLED, "cancelled", "")
        else:
            assert (status, row["status"]) == (Status.RUNNING, "running")
            assert row["stop_requested_at"] is not None, "the worker is asked"


@pytest.mark.parametrize("name", ['a,"b"', "a\\b", "{a}", "NULL", "it's 100% 나루", "a b"])
def test_model_of_any_name_is_claimed(rig: RequestRig, name: str) -> None:
    model = f"demo/{name}"
    worker_id = rig.worker(model, "demo/other")
    asked = rig.ask(model=model).request_id
    assert rig.claim_from("demo", worker_id, models=["demo/other", "demo/a", "demo/NULL2"]) is None
    claimed = rig.claim_from("demo", worker_id, models=["demo/other", model])
    assert claimed is not None
    assert (claimed.request_id, claimed.model) == (asked, model)


def test_worker_without_models_claims_nothing(rig: RequestRig) -> None:
    rig.ask()
    assert rig.claim_from("demo", rig.worker(), models=[]) is None
