"""Tests of the ids of calls that go on at their provider: stored, passed on, kept until cancelled, and cleared."""

from __future__ import annotations

import pytest

from shared import lifecycle
from shared.lifecycle import Answer, Claimed, Detour, OrphanedCall, lanes
from shared.lifecycle.calling import MAX_ORPHANS
from shared.settings import Settings
from shared.spending.values import Reservation, Spent
from shared.tables import Outcome, Status
from tests.shared.rig import MODEL, OWNER, RequestRig

CALL = "resp_1"


def with_call(rig: RequestRig) -> Claimed:
    """Return a running request whose call is stored."""
    claimed = rig.running()
    assert lifecycle.note_call(rig.engine, claimed, CALL)
    return claimed


def left(rig: RequestRig, claimed: Claimed) -> bool:
    """Whether the call is among those to cancel."""
    return OrphanedCall(claimed.request_id, MODEL, CALL) in lifecycle.orphaned_calls(rig.engine, ["demo"])


def test_next_claim_has_the_call_of_a_lost_worker(rig: RequestRig) -> None:
    claimed = with_call(rig)
    assert claimed.call_id is None
    rig.lose(claimed.worker_id)
    assert rig.claim(claimed.request_id, rig.worker()).call_id == CALL


def test_call_is_noted_by_its_worker_only(rig: RequestRig) -> None:
    claimed = rig.running()
    rig.lose(claimed.worker_id)
    assert not lifecycle.note_call(rig.engine, claimed, CALL)
    again = rig.claim(claimed.request_id, rig.worker())
    assert not lifecycle.note_call(rig.engine, claimed, CALL)
    assert rig.row(claimed.request_id)["call_id"] is None
    assert lifecycle.finish(rig.engine, again, Answer(text="Because."))
    assert not lifecycle.note_call(rig.engine, again, CALL)


@pytest.mark.parametrize("kept", [CALL, None])
def test_release_keeps_the_call_that_goes_on(rig: RequestRig, kept: str | None) -> None:
    claimed = with_call(rig)
    assert lifecycle.release(rig.engine, claimed, text="", outcome=Outcome.RELEASED, call_id=kept)
    assert rig.claim(claimed.request_id, rig.worker()).call_id == kept


def test_finish_clears_the_call(rig: RequestRig) -> None:
    claimed = with_call(rig)
    assert lifecycle.finish(rig.engine, claimed, Answer(text="Because."))
    assert rig.row(claimed.request_id)["call_id"] is None
    assert not left(rig, claimed)


def test_failed_request_keeps_its_call_until_that_is_cancelled(rig: RequestRig) -> None:
    claimed = with_call(rig)
    assert not left(rig, claimed), "the request still runs"
    assert lifecycle.fail(rig.engine, claimed, Answer(text="", call_id=CALL), code="total_timeout")
    assert left(rig, claimed)
    lifecycle.forget_call(rig.engine, claimed.request_id, "resp_of_another")
    assert left(rig, claimed)
    lifecycle.forget_call(rig.engine, claimed.request_id, CALL)
    assert not left(rig, claimed)


def test_end_stores_a_call_that_was_not_noted(rig: RequestRig) -> None:
    """Postgres may have been away since the call began."""
    claimed = rig.running()
    assert lifecycle.fail(rig.engine, claimed, Answer(text="", call_id=CALL), code="total_timeout")
    assert left(rig, claimed)


def test_fallback_leaves_the_call_until_that_is_cancelled(rig: RequestRig) -> None:
    claimed = with_call(rig)
    lanes.register(rig.engine, ["spare"], {})
    spare = rig.worker("spare/echo")
    detour = Detour(models=("spare/echo",))
    assert lifecycle.fall_back(rig.engine, claimed, detour, Settings(), code="overloaded", call_id=CALL) == "spare"
    assert rig.row(claimed.request_id)["call_id"] is None, "the other model cannot take it up"
    assert left(rig, claimed)
    again = rig.claim_from("spare", spare, models=("spare/echo",))
    assert again is not None
    assert lifecycle.finish(rig.engine, again, Answer(text="Because."))
    assert left(rig, claimed)
    lifecycle.forget_call(rig.engine, claimed.request_id, CALL)
    assert not left(rig, claimed)


def test_stop_without_a_worker_leaves_the_call_to_cancel(rig: RequestRig) -> None:
    claimed = with_call(rig)
    rig.lose(claimed.worker_id)
    assert lifecycle.stop(rig.engine, claimed.request_id, owner=OWNER) is Status.CANCELLED
    assert left(rig, claimed)


def test_worker_gets_the_calls_of_its_providers(rig: RequestRig) -> None:
    claimed = with_call(rig)
    assert lifecycle.fail(rig.engine, claimed, Answer(text="", call_id=CALL), code="total_timeout")
    assert not lifecycle.orphaned_calls(rig.engine, ["openai", "demo2"])
    assert lifecycle.orphaned_calls(rig.engine, ["openai", "demo"])


def test_calls_that_stay_do_not_hide_others(rig: RequestRig) -> None:
    worker_id, number = rig.worker(slots=100), MAX_ORPHANS + 5
    for _ in range(number):
        claimed = rig.running(worker_id=worker_id)
        assert lifecycle.fail(rig.engine, claimed, Answer(text="", call_id=CALL), code="total_timeout")
    looks = [lifecycle.orphaned_calls(rig.engine, ["demo"]) for _ in range(12)]
    assert {len(each) for each in looks} == {MAX_ORPHANS}
    assert len({left.request_id for each in looks for left in each}) == number


def test_old_call_is_given_up(rig: RequestRig) -> None:
    claimed = with_call(rig)
    assert lifecycle.fail(rig.engine, claimed, Answer(text="", call_id=CALL), code="total_timeout")
    rig.put(claimed.request_id, ended_at=rig.ago(3601))
    assert not left(rig, claimed)


@pytest.mark.parametrize("has_call", [True, False])
def test_lost_attempt_used_nothing_if_its_call_goes_on(rig: RequestRig, *, has_call: bool) -> None:
    claimed = with_call(rig) if has_call else rig.running()
    reservation = Reservation(prompt_tokens=300, tokens=400)
    assert lifecycle.reserve(rig.engine, claimed, reservation, Settings()) is None
    rig.lose(claimed.worker_id)
    assert rig.attempt(claimed.request_id, 1)["input_tokens"] == (0 if has_call else 300)


def test_attempt_that_takes_up_a_call_is_not_refused(rig: RequestRig) -> None:
    """The limit is used up, but the answer is paid for already."""
    claimed = with_call(rig)
    limited, reservation = Settings(tokens_per_day=100), Reservation(prompt_tokens=60, tokens=90)
    assert lifecycle.reserve(rig.engine, claimed, reservation, limited) is None
    used = rig.running()
    assert lifecycle.finish(rig.engine, used, Answer(text="So.", spent=Spent(input_tokens=100, output_tokens=50)))
    rig.lose(claimed.worker_id)
    again = rig.claim(claimed.request_id, rig.worker())
    assert lifecycle.reserve(rig.engine, again, reservation, limited, is_paid=True) is None
    assert rig.attempt(claimed.request_id, 2)["reserved_tokens"] == 90
    assert lifecycle.reserve(rig.engine, rig.running(), reservation, limited) == "tokens_of_day_used"
