"""Take back: what a lost worker leaves behind runs again, and only the one that takes workers down fails."""

from __future__ import annotations

from uuid import UUID

import pytest

from shared import fleet, lifecycle
from shared.errors import WORKER_LOST
from shared.lifecycle import MAX_LOSSES, Answer, Claimed
from shared.postgres import notify
from shared.tables import Outcome
from tests.shared.listening import Listener
from tests.shared.world import OWNER, World


def losses(world: World, *claims: Claimed) -> list[int]:
    return [world.row(each.request_id)["losses"] for each in claims]


def running_with(world: World, worker_id: UUID, count: int) -> Claimed:
    claimed = world.running(worker_id=worker_id)
    world.put(claimed.request_id, losses=count)
    return claimed


def test_a_lost_workers_request_is_queued_again(world: World) -> None:
    claimed = world.running()
    with world.begin() as connection:
        fleet.checkpoint(connection, claimed.worker_id, {(claimed.request_id, 1): "Bec"})
    with Listener(world.engine, notify.REQUEST) as listener:
        repairs = world.lose(claimed.worker_id)
        assert listener.next() == notify.Notice(notify.REQUEST, claimed.request_id, claimed.conversation_id)
    assert (repairs.lost_workers, repairs.taken_back) == (1, 1)
    row = world.row(claimed.request_id)
    assert (row["status"], row["worker_id"], row["attempt"], row["losses"]) == ("queued", None, 1, 1)
    assert (row["wait_code"], row["dispatched_at"], row["dispatches"]) == (WORKER_LOST, None, 0)
    record = world.attempt(claimed.request_id, 1)
    assert (record["outcome"], record["error_code"], record["checkpoint"]) == (Outcome.LOST, WORKER_LOST, "Bec")
    assert record["ended_at"] is not None
    assert not lifecycle.finish(world.engine, claimed, Answer(text="late"))
    assert world.answer_of(claimed.request_id) is None


def test_requeued_requests_are_spread_over_a_second(world: World) -> None:
    worker_id = world.worker()
    claims = [world.running(worker_id=worker_id) for _ in range(30)]
    before = world.scalar("SELECT extract(epoch FROM clock_timestamp())")
    assert world.lose(worker_id).taken_back == 30
    after = world.scalar("SELECT extract(epoch FROM clock_timestamp())")
    due = sorted(world.row(each.request_id)["available_at"].timestamp() for each in claims)
    assert float(before) <= due[0]
    assert due[-1] <= float(after) + 1
    assert due[-1] - due[0] > 0.3, "30 at random in one second"


def test_tick_leaves_requests_of_live_workers_alone(world: World) -> None:
    dead, alive = world.worker(), world.worker()
    lost, kept = world.running(worker_id=dead), world.running(worker_id=alive)
    before = world.row(kept.request_id)
    assert world.lose(dead).taken_back == 1
    assert world.row(kept.request_id) == before
    assert losses(world, lost) == [1]


def test_loss_charges_only_the_worst_requests_of_a_worker(world: World) -> None:
    one, other = world.worker(), world.worker()
    first = [running_with(world, one, count) for count in (0, 1, 1)]
    second = [running_with(world, other, count) for count in (0, 0)]
    world.lose(one, other)
    assert losses(world, *first) == [0, 2, 2], "of the first worker two are under suspicion, and stay so"
    assert losses(world, *second) == [1, 1], "each worker by itself: here both were there at the first death"


def test_third_loss_fails_the_common_request(world: World) -> None:
    guilty, innocent = world.ask("guilty").request_id, world.ask("innocent").request_id
    for death in range(1, MAX_LOSSES + 1):
        worker_id = world.worker()
        world.claim(guilty, worker_id, as_suspect=death == MAX_LOSSES)
        beside = world.claim(innocent, worker_id)
        if death == 2:  # lucky once
            lifecycle.release(world.engine, beside, text="", outcome=Outcome.HANDED_OVER)
        world.lose(worker_id)
        world.make_due(*[each for each in (innocent, guilty) if world.row(each)["status"] == "queued"])
    row = world.row(guilty)
    assert (row["status"], row["error_code"], row["attempt"]) == ("failed", WORKER_LOST, MAX_LOSSES)
    assert world.answer_of(guilty) == ""
    assert (world.row(innocent)["status"], world.row(innocent)["losses"]) == ("queued", 1)


def test_poisonous_request_keeps_its_text(world: World) -> None:
    claimed = running_with(world, world.worker(), MAX_LOSSES - 1)
    with world.begin() as connection:
        fleet.checkpoint(connection, claimed.worker_id, {(claimed.request_id, 1): "Bec"})
    world.lose(claimed.worker_id)
    assert (world.row(claimed.request_id)["status"], world.answer_of(claimed.request_id)) == ("failed", "Bec")
    assert world.attempt(claimed.request_id, 1)["outcome"] == Outcome.LOST


def test_poisonous_request_charges_no_neighbours(world: World) -> None:
    worker_id = world.worker()
    guilty = running_with(world, worker_id, MAX_LOSSES - 1)
    others = [running_with(world, worker_id, count) for count in (0, 1, 0)]
    world.lose(worker_id)
    assert world.row(guilty.request_id)["status"] == "failed"
    assert losses(world, *others) == [0, 1, 0]
    assert all(world.row(each.request_id)["status"] == "queued" for each in others)


def test_stopped_request_of_a_lost_worker_is_not_charged(world: World) -> None:
    worker_id = world.worker()
    stopped, suspect = world.running(worker_id=worker_id), running_with(world, worker_id, MAX_LOSSES - 1)
    for claimed in (stopped, suspect):
        lifecycle.stop(world.engine, claimed.request_id, owner=OWNER)
    with world.begin() as connection:
        fleet.checkpoint(connection, worker_id, {(stopped.request_id, 1): "Bec"})
    world.lose(worker_id)
    assert world.row(stopped.request_id)["status"] == "cancelled"
    assert world.row(suspect.request_id)["status"] == "cancelled", "a stop outranks the third loss"
    assert world.answer_of(stopped.request_id) == "Bec"
    assert losses(world, stopped, suspect) == [0, MAX_LOSSES - 1]
    assert world.attempt(stopped.request_id, 1)["outcome"] == Outcome.LOST


def test_claim_made_during_the_marking_is_taken_back(world: World) -> None:
    claimed = world.running()
    fleet.leave(world.engine, claimed.worker_id)  # marked, but not by the tick that then looks
    assert world.tick().taken_back == 1
    assert world.row(claimed.request_id)["status"] == "queued"


@pytest.mark.parametrize("after", ["released", "handed over"])
def test_orderly_give_back_counts_no_loss(world: World, after: str) -> None:
    claimed = world.running()
    outcome, code = (Outcome.RELEASED, "overloaded") if after == "released" else (Outcome.HANDED_OVER, None)
    assert lifecycle.release(world.engine, claimed, text="", outcome=outcome, code=code)
    assert world.lose(claimed.worker_id).taken_back == 0
    assert losses(world, claimed) == [0]


def test_loss_requeues_hundreds_and_charges_only_the_suspect(world: World) -> None:
    """More than one batch of one worker: those behind the first batch are no more guilty than those in it."""
    worker_id = world.worker()
    guilty = running_with(world, worker_id, 1)
    world.fill_with_running(worker_id, 520)
    assert world.lose(worker_id).taken_back == 521
    assert losses(world, guilty) == [2]
    assert world.scalar("SELECT sum(losses) FROM chat_request") == 2, "nobody else was charged"
