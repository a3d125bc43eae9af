"""Tests of taking back: a lost worker's requests run again, and only one that takes workers down fails."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import update

from shared import fleet, lifecycle
from shared.errors import WORKER_LOST
from shared.lifecycle import MAX_LOSSES, Answer, Claimed
from shared.postgres import notify
from shared.tables import Outcome, worker
from tests.shared.listening import Listener
from tests.shared.rig import LEASE_SECONDS, OWNER, RequestRig


def losses(rig: RequestRig, *claims: Claimed) -> list[int]:
    return [rig.row(each.request_id)["losses"] for each in claims]


def running_with(rig: RequestRig, worker_id: UUID, count: int) -> Claimed:
    claimed = rig.running(worker_id=worker_id)
    rig.put(claimed.request_id, losses=count)
    return claimed


def test_request_of_a_lost_worker_is_queued_again(rig: RequestRig) -> None:
    claimed = rig.running()
    with rig.begin() as connection:
        fleet.checkpoint(connection, claimed.worker_id, {(claimed.request_id, 1): "Bec"})
    with Listener(rig.engine, notify.REQUEST, over=rig.listening) as listener:
        repairs = rig.lose(claimed.worker_id)
        assert listener.next() == notify.Notice(notify.REQUEST, claimed.request_id, claimed.conversation_id)
    assert (repairs.lost_workers, repairs.taken_back) == (1, 1)
    row = rig.row(claimed.request_id)
    assert (row["status"], row["worker_id"], row["attempt"], row["losses"]) == ("queued", None, 1, 1)
    assert row["wait_code"] == WORKER_LOST
    record = rig.attempt(claimed.request_id, 1)
    assert (record["outcome"], record["error_code"], record["checkpoint"]) == (Outcome.LOST, WORKER_LOST, "Bec")
    assert record["ended_at"] is not None
    assert not lifecycle.finish(rig.engine, claimed, Answer(text="late"))
    assert rig.answer_of(claimed.request_id) is None


@pytest.mark.parametrize("number", [1, 20])
def test_tick_sends_hints_for_what_it_takes_back(rig: RequestRig, number: int) -> None:
    lost = rig.worker()
    claims = [rig.running(worker_id=lost) for _ in range(number)]
    server = rig.serve("demo", room=50)
    repairs = rig.lose(lost)
    assert (repairs.taken_back, repairs.hints) == (number, {"demo": number}), "without waiting for the next tick"
    assert rig.claim(claims[0].request_id, server).attempt == 2, "it is due"


def test_requeued_requests_are_spread_over_a_second(rig: RequestRig) -> None:
    worker_id = rig.worker()
    claims = [rig.running(worker_id=worker_id) for _ in range(120)]
    before = rig.scalar("SELECT extract(epoch FROM clock_timestamp())")
    assert rig.lose(worker_id).taken_back == 120
    after = rig.scalar("SELECT extract(epoch FROM clock_timestamp())")
    due = sorted(rig.row(each.request_id)["available_at"].timestamp() for each in claims)
    assert float(before) <= due[0]
    assert due[-1] <= float(after) + 1
    assert due[-1] - due[0] > 0.3, "120 at random in one second"


def test_tick_leaves_requests_of_live_workers_alone(rig: RequestRig) -> None:
    dead, alive = rig.worker(), rig.worker()
    lost, kept = rig.running(worker_id=dead), rig.running(worker_id=alive)
    before = rig.row(kept.request_id)
    assert rig.lose(dead).taken_back == 1
    assert rig.row(kept.request_id) == before
    assert losses(rig, lost) == [1]


def test_loss_charges_only_the_worst_requests_of_a_worker(rig: RequestRig) -> None:
    one, other = rig.worker(), rig.worker()
    first = [running_with(rig, one, count) for count in (0, 1, 1)]
    second = [running_with(rig, other, count) for count in (0, 0)]
    rig.lose(one)
    rig.lose(other)
    assert losses(rig, *first) == [0, 2, 2], "two of the first worker's requests remain suspects"
    assert losses(rig, *second) == [1, 1], "each worker is judged by itself: both of these had no loss before"


def test_loss_of_many_workers_charges_nobody(rig: RequestRig) -> None:
    one, other, _living = rig.worker(), rig.worker(), rig.worker()
    claims = [running_with(rig, one, 1), running_with(rig, other, MAX_LOSSES - 1)]
    assert rig.lose(one, other).taken_back == 2
    assert losses(rig, *claims) == [1, MAX_LOSSES - 1]
    assert all(rig.row(each.request_id)["status"] == "queued" for each in claims)


def test_loss_of_many_workers_is_forgiven_twice(rig: RequestRig) -> None:
    """Two poisonous requests kill two workers at a time, again and again."""
    rig.worker()  # lives on
    poisons = [rig.ask().request_id, rig.ask().request_id]
    seen = []
    for _ in range(2 + MAX_LOSSES):
        workers = [rig.worker() for _ in poisons]
        for request_id, worker_id in zip(poisons, workers, strict=True):
            rig.make_due(request_id)
            rig.claim(request_id, worker_id, may_be_suspect=True)
        rig.lose(*workers)
        seen.append([rig.row(each)["losses"] for each in poisons])
    assert seen == [[0, 0], [0, 0], [1, 1], [2, 2], [2, 2]]
    assert {rig.row(each)["status"] for each in poisons} == {"failed"}


@pytest.mark.parametrize(("apart_seconds", "charged"), [(LEASE_SECONDS / 3, 0), (2 * LEASE_SECONDS / 3, 1)])
def test_losses_count_as_one_within_half_a_lease(rig: RequestRig, apart_seconds: float, charged: int) -> None:
    """Workers that fall silent together are marked up to a renewal apart; a poisoned one dies later than that."""
    earlier, claimed = rig.worker(), rig.running()
    rig.expire_lease(claimed.worker_id)
    rig.let_workers_renew()
    with rig.begin() as connection:
        connection.execute(update(worker).where(worker.c.id == earlier).values(lost_at=rig.ago(apart_seconds)))
    rig.ticked()
    rig.tick_as_is()
    assert losses(rig, claimed) == [charged]


def test_loss_beside_a_silent_worker_charges_nobody(rig: RequestRig) -> None:
    silent, claimed, _living = rig.worker(), rig.running(), rig.worker()
    rig.expire_lease(claimed.worker_id)
    rig.let_workers_renew()
    with rig.begin() as connection:
        late = update(worker).where(worker.c.id == silent).values(renewed_at=rig.ago(LEASE_SECONDS - 1))
        connection.execute(late)
    rig.ticked()
    rig.tick_as_is()
    assert losses(rig, claimed) == [0]


def test_third_loss_fails_the_common_request(rig: RequestRig) -> None:
    guilty, innocent = rig.ask("guilty").request_id, rig.ask("innocent").request_id
    for death in range(1, MAX_LOSSES + 1):
        worker_id = rig.worker()
        rig.claim(guilty, worker_id, may_be_suspect=death == MAX_LOSSES)
        beside = rig.claim(innocent, worker_id)
        if death == 2:  # lucky once
            lifecycle.release(rig.engine, beside, text="", outcome=Outcome.HANDED_OVER)
        rig.lose(worker_id)
        rig.make_due(*[each for each in (innocent, guilty) if rig.row(each)["status"] == "queued"])
    row = rig.row(guilty)
    assert (row["status"], row["error_code"], row["attempt"]) == ("failed", WORKER_LOST, MAX_LOSSES)
    assert rig.answer_of(guilty) == ""
    assert (rig.row(innocent)["status"], rig.row(innocent)["losses"]) == ("queued", 1)


def test_poisonous_request_keeps_its_text(rig: RequestRig) -> None:
    claimed = running_with(rig, rig.worker(), MAX_LOSSES - 1)
    with rig.begin() as connection:
        fleet.checkpoint(connection, claimed.worker_id, {(claimed.request_id, 1): "Bec"})
    rig.lose(claimed.worker_id)
    assert (rig.row(claimed.request_id)["status"], rig.answer_of(claimed.request_id)) == ("failed", "Bec")
    assert rig.attempt(claimed.request_id, 1)["outcome"] == Outcome.LOST


def test_poisonous_request_charges_no_neighbours(rig: RequestRig) -> None:
    worker_id = rig.worker()
    guilty = running_with(rig, worker_id, MAX_LOSSES - 1)
    others = [running_with(rig, worker_id, count) for count in (0, 1, 0)]
    rig.lose(worker_id)
    assert rig.row(guilty.request_id)["status"] == "failed"
    assert losses(rig, *others) == [0, 1, 0]
    assert all(rig.row(each.request_id)["status"] == "queued" for each in others)


def test_stopped_request_of_a_lost_worker_is_not_charged(rig: RequestRig) -> None:
    worker_id = rig.worker()
    stopped, suspect = rig.running(worker_id=worker_id), running_with(rig, worker_id, MAX_LOSSES - 1)
    for claimed in (stopped, suspect):
        lifecycle.stop(rig.engine, claimed.request_id, owner=OWNER)
    with rig.begin() as connection:
        fleet.checkpoint(connection, worker_id, {(stopped.request_id, 1): "Bec"})
    rig.lose(worker_id)
    assert rig.row(stopped.request_id)["status"] == "cancelled"
    assert rig.row(suspect.request_id)["status"] == "cancelled", "a stop outranks the third loss"
    assert rig.answer_of(stopped.request_id) == "Bec"
    assert losses(rig, stopped, suspect) == [0, MAX_LOSSES - 1]
    assert rig.attempt(stopped.request_id, 1)["outcome"] == Outcome.LOST


def test_claim_made_during_the_marking_is_taken_back(rig: RequestRig) -> None:
    claimed = rig.running()
    fleet.leave(rig.engine, claimed.worker_id)  # the worker is marked, but not by the next tick
    assert rig.tick().taken_back == 1
    assert rig.row(claimed.request_id)["status"] == "queued"


@pytest.mark.parametrize("after", ["released", "handed over"])
def test_orderly_give_back_counts_no_loss(rig: RequestRig, after: str) -> None:
    claimed = rig.running()
    outcome, code = (Outcome.RELEASED, "overloaded") if after == "released" else (Outcome.HANDED_OVER, None)
    assert lifecycle.release(rig.engine, claimed, text="", outcome=outcome, code=code)
    assert rig.lose(claimed.worker_id).taken_back == 0
    assert losses(rig, claimed) == [0]


def test_loss_requeues_hundreds_and_charges_only_the_suspect(rig: RequestRig) -> None:
    """One worker's requests fill more than one batch; later batches are charged by the same rule as the first."""
    worker_id = rig.worker()
    guilty = running_with(rig, worker_id, 1)
    rig.fill_with_running(worker_id, 520)
    assert rig.lose(worker_id).taken_back == 521
    assert losses(rig, guilty) == [2]
    assert rig.scalar("SELECT sum(losses) FROM chat_request") == 2, "no other request was charged"
