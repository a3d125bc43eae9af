"""Claim: one worker gets a request, and only one that may have it."""

from __future__ import annotations

from uuid import uuid4

import pytest
from sqlalchemy import insert, update

from shared import fleet, lifecycle
from shared.lifecycle import Answer, Claimed
from shared.lifecycle.branch import MAX_MESSAGES
from shared.messages import Message, RequestEnd
from shared.tables import Outcome, Status, chat_request, worker
from tests.shared.together import together
from tests.shared.world import MODEL, OWNER, World


def test_a_claim_begins_an_attempt(world: World) -> None:
    submitted, worker_id = world.ask(deadline_seconds=100), world.worker()
    world.put(submitted.request_id, created_at=world.ago(40), wait_code="rate_limited")
    claimed = world.claim(submitted.request_id, worker_id)
    row = world.row(submitted.request_id)
    assert (claimed.attempt, claimed.worker_id, claimed.model) == (1, worker_id, MODEL), "its default model"
    assert (claimed.conversation_id, claimed.user_message_id) == (submitted.conversation_id, row["user_message_id"])
    assert (row["status"], row["attempt"], row["worker_id"], row["model"]) == ("running", 1, worker_id, MODEL)
    assert row["wait_code"] is None
    assert claimed.queue_seconds == pytest.approx(40, abs=2)
    assert claimed.age_seconds == pytest.approx(40, abs=2)
    assert claimed.left_seconds == pytest.approx(100, abs=2)
    record = world.attempt(submitted.request_id, 1)
    assert (record["worker_id"], record["outcome"], record["ended_at"], record["checkpoint"]) == (
        worker_id,
        None,
        None,
        "",
    )


def test_claim_returns_the_branch_with_each_answers_end(world: World) -> None:
    first = world.running("q1")
    lifecycle.fail(world.engine, first, Answer(text="half"), code="auth_failed")
    world.ask("q2", conversation_id=first.conversation_id)
    (row,) = world.rows(chat_request, status=Status.QUEUED)
    claimed = world.claim(row["id"], world.worker())
    assert claimed.branch == (
        Message.of_text("user", "q1"),
        Message.of_text("assistant", "half", end=RequestEnd(status=Status.FAILED)),
        Message.of_text("user", "q2"),
    )
    assert "q1" not in repr(claimed), "no text comes into a log by accident"


def test_claim_returns_newest_turns_of_a_long_branch(world: World) -> None:
    conversation_id = world.running("old").conversation_id
    world.put(world.rows(chat_request)[0]["id"], status=Status.CANCELLED, worker_id=None, ended_at=world.ago(0))
    world.lengthen(conversation_id, MAX_MESSAGES + 5)
    claimed = world.claim(world.ask("new", conversation_id=conversation_id).request_id, world.worker())
    assert len(claimed.branch) == MAX_MESSAGES
    assert [each.text for each in (claimed.branch[0], *claimed.branch[-2:])] == ["m7", f"m{MAX_MESSAGES + 5}", "new"]


def test_each_claim_raises_the_fence_and_keeps_the_first_wait(world: World) -> None:
    worker_id = world.worker()
    first = world.running(worker_id=worker_id)
    started_at = world.row(first.request_id)["started_at"]
    assert lifecycle.release(world.engine, first, text="", outcome=Outcome.HANDED_OVER)
    world.put(first.request_id, created_at=world.ago(100))
    second = world.claim(first.request_id, worker_id)
    assert second.attempt == 2
    assert world.row(first.request_id)["started_at"] == started_at
    assert second.age_seconds == pytest.approx(100, abs=2)


def test_concurrent_claims_have_one_winner(world: World) -> None:
    workers = [world.worker() for _ in range(4)]
    for _ in range(25):
        request_id = world.ask().request_id
        claims = together(*[lambda w=each: world.try_claim(request_id, w) for each in workers])  # noqa: B023
        (won,) = [each for each in claims if each is not None]
        assert isinstance(won, Claimed)
        assert world.row(request_id)["worker_id"] == won.worker_id
        assert world.row(request_id)["attempt"] == 1


@pytest.mark.parametrize("why", ["not yet", "too late", "stopped", "running", "succeeded", "unknown"])
def test_claim_skips_unavailable_requests(world: World, why: str) -> None:
    worker_id = world.worker()
    request_id = world.answered() if why == "succeeded" else world.ask().request_id
    if why == "not yet":
        world.put(request_id, available_at=world.ago(-0.5))
    if why == "too late":
        world.put(request_id, deadline_at=world.ago(0))
    if why == "stopped":
        world.put(request_id, stop_requested_at=world.ago(0))
    if why == "running":
        world.claim(request_id, world.worker())
    before = world.row(request_id)
    assert world.try_claim(uuid4() if why == "unknown" else request_id, worker_id) is None
    assert world.row(request_id) == before


def test_a_due_request_is_claimed_when_its_wait_is_over(world: World) -> None:
    request_id, worker_id = world.ask().request_id, world.worker()
    world.put(request_id, available_at=world.ago(-60))
    assert world.try_claim(request_id, worker_id) is None
    world.make_due(request_id)
    assert world.try_claim(request_id, worker_id) is not None


@pytest.mark.parametrize("why", ["lease over", "marked lost", "left", "never there"])
def test_worker_without_a_lease_claims_nothing(world: World, why: str) -> None:
    request_id, worker_id = world.ask().request_id, world.worker()
    if why == "lease over":
        world.expire_lease(worker_id)
    if why == "marked lost":
        with world.begin() as connection:
            connection.execute(update(worker).values(lost_at=world.ago(0)))
    if why == "left":
        fleet.leave(world.engine, worker_id)
    assert world.try_claim(request_id, uuid4() if why == "never there" else worker_id) is None
    assert world.row(request_id)["status"] == Status.QUEUED


def test_a_model_is_left_to_a_live_worker_that_serves_it(world: World) -> None:
    other, mine = world.worker("openai/gpt"), world.worker()
    request_id = world.ask(model="openai/gpt").request_id
    assert world.try_claim(request_id, mine) is None
    assert world.try_claim(request_id, other, models=["openai/gpt"]) is not None


@pytest.mark.parametrize("gone", ["lease over", "left", "draining"])
def test_any_worker_takes_an_abandoned_model(world: World, gone: str) -> None:
    other, mine = world.worker("openai/gpt"), world.worker()
    request_id = world.ask(model="openai/gpt").request_id
    if gone == "lease over":
        world.expire_lease(other)
    if gone == "left":
        fleet.leave(world.engine, other)
    if gone == "draining":
        with world.begin() as connection:
            fleet.start_draining(connection, other)
    claimed = world.try_claim(request_id, mine)
    assert claimed is not None
    assert claimed.model == "openai/gpt", "it is said that the model is not there; no other one stands in"


def test_worker_without_models_claims_requests_without_a_model(world: World) -> None:
    worker_id = uuid4()
    with world.begin() as connection:
        connection.execute(
            insert(worker).values(
                id=worker_id, host="x", pid=1, version="x", slots=1, models=[], lease_expires_at=world.ago(-60)
            )
        )
    claimed = world.try_claim(world.ask().request_id, worker_id, models=[])
    assert claimed is not None
    assert claimed.model == ""


@pytest.mark.parametrize(("losses", "suspect"), [(0, False), (1, False), (2, True)])
def test_only_suspect_claims_take_requests_with_losses(world: World, losses: int, *, suspect: bool) -> None:
    request_id, worker_id = world.ask().request_id, world.worker()
    world.put(request_id, losses=losses)
    assert world.try_claim(request_id, worker_id, as_suspect=not suspect) is None
    claimed = world.try_claim(request_id, worker_id, as_suspect=suspect)
    assert claimed is not None
    assert claimed.losses == losses


def test_concurrent_claim_and_stop_never_both_win(world: World) -> None:
    worker_id = world.worker()
    for _ in range(25):
        request_id = world.ask().request_id
        claimed, status = together(
            lambda: world.try_claim(request_id, worker_id),  # noqa: B023
            lambda: lifecycle.stop(world.engine, request_id, owner=OWNER),  # noqa: B023
        )
        row = world.row(request_id)
        if claimed is None:
            assert (status, row["status"], world.answer_of(request_id)) == (Status.CANCELLED, "cancelled", "")
        else:
            assert (status, row["status"]) == (Status.RUNNING, "running")
            assert row["stop_requested_at"] is not None, "the worker is asked"
