"""Tests of an attempt's ends: finish, fail, cancel and release are fenced and atomic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from shared import lifecycle
from shared.lifecycle import Answer, Claimed
from shared.postgres import notify
from shared.tables import Outcome, Status, conversation, message
from tests.patience import patient
from tests.shared.listening import Listener
from tests.shared.rig import MODEL, OWNER, RequestRig
from tests.shared.together import together

Verb = Callable[[Engine, Claimed], bool]

FINISH: Verb = lambda engine, claimed: lifecycle.finish(engine, claimed, Answer(text="late"))  # noqa: E731
FAIL: Verb = lambda engine, claimed: lifecycle.fail(engine, claimed, Answer(text="late"), code="auth_failed")  # noqa: E731
CANCEL: Verb = lambda engine, claimed: lifecycle.cancel(engine, claimed, Answer(text="late"))  # noqa: E731
RELEASE: Verb = lambda engine, claimed: lifecycle.release(engine, claimed, text="late", outcome=Outcome.RELEASED)  # noqa: E731
VERBS = {"finish": FINISH, "fail": FAIL, "cancel": CANCEL, "release": RELEASE}


def ask_to_stop(rig: RequestRig, claimed: Claimed) -> None:
    assert lifecycle.stop(rig.engine, claimed.request_id, owner=OWNER) is Status.RUNNING


def test_finish_stores_answer_usage_and_status_together(rig: RequestRig) -> None:
    claimed = rig.running()
    answer = Answer(
        text="Because of Rayleigh.\x00",
        finish="stop",
        input_tokens=11,
        output_tokens=7,
        cached_input_tokens=3,
        provider_request_id="req_1",
        left_out=12,
        first_token_ago_seconds=2.0,
    )
    assert lifecycle.finish(rig.engine, claimed, answer)
    row = rig.row(claimed.request_id)
    assert {name: row[name] for name in ("status", "finish", "error_code", "worker_id", "model", "attempt")} == {
        "status": "succeeded",
        "finish": "stop",
        "error_code": None,
        "worker_id": None,
        "model": MODEL,
        "attempt": 1,
    }
    assert (row["input_tokens"], row["output_tokens"], row["cached_input_tokens"]) == (11, 7, 3)
    assert row["left_out"] == 12
    assert (row["ended_at"] - row["first_token_at"]).total_seconds() == pytest.approx(2, abs=0.5)
    (stored,) = rig.rows(message, role="assistant")
    assert (stored["content"], stored["request_id"], stored["parent_id"]) == (
        "Because of Rayleigh.\ufffd",
        claimed.request_id,
        claimed.user_message_id,
    )
    (of,) = rig.rows(conversation)
    assert of["leaf_id"] == stored["id"], "the branch now ends in the answer"
    record = rig.attempt(claimed.request_id, 1)
    assert (record["outcome"], record["provider_request_id"], record["checkpoint"]) == ("succeeded", "req_1", "")
    assert record["ended_at"] is not None


def test_failed_answer_keeps_its_text_and_reason(rig: RequestRig) -> None:
    claimed = rig.running()
    assert lifecycle.fail(rig.engine, claimed, Answer(text="Bec"), code="content_filtered")
    row = rig.row(claimed.request_id)
    assert (row["status"], row["error_code"], rig.answer_of(claimed.request_id)) == (
        "failed",
        "content_filtered",
        "Bec",
    )
    assert rig.attempt(claimed.request_id, 1)["error_code"] == "content_filtered"


def test_only_a_stopped_request_is_cancelled(rig: RequestRig) -> None:
    claimed = rig.running()
    assert not lifecycle.cancel(rig.engine, claimed, Answer(text="Bec"))
    assert rig.row(claimed.request_id)["status"] == "running"
    ask_to_stop(rig, claimed)
    assert lifecycle.cancel(rig.engine, claimed, Answer(text="Bec"))
    row = rig.row(claimed.request_id)
    assert (row["status"], row["error_code"], rig.answer_of(claimed.request_id)) == ("cancelled", None, "Bec")


@pytest.mark.parametrize("verb", ["finish", "release"])
def test_stopped_request_ends_only_as_cancelled(rig: RequestRig, verb: str) -> None:
    claimed = rig.running()
    ask_to_stop(rig, claimed)
    before = rig.row(claimed.request_id)
    assert not VERBS[verb](rig.engine, claimed)
    assert rig.row(claimed.request_id) == before
    assert rig.answer_of(claimed.request_id) is None
    assert CANCEL(rig.engine, claimed)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("why", ["another worker", "older attempt", "newer attempt", "queued", "ended", "unknown"])
def test_outdated_attempt_writes_nothing(rig: RequestRig, verb: str, why: str) -> None:
    worker_id = rig.worker()
    mine = rig.running(worker_id=worker_id)
    if why in ("older attempt", "queued"):
        assert lifecycle.release(rig.engine, mine, text="", outcome=Outcome.HANDED_OVER)
    if why == "older attempt":
        rig.claim(mine.request_id, worker_id)
    if why == "ended":
        assert lifecycle.finish(rig.engine, mine, Answer(text="whole"))
    elif why != "queued":
        ask_to_stop(rig, mine)  # so that only the fence can refuse a cancel
    used = {
        "another worker": replace(mine, worker_id=uuid4()),
        "newer attempt": replace(mine, attempt=2),
        "unknown": replace(mine, request_id=uuid4()),
    }.get(why, mine)
    before = rig.row(mine.request_id), rig.rows(message), rig.attempt(mine.request_id, mine.attempt)
    assert not VERBS[verb](rig.engine, used)
    assert before == (rig.row(mine.request_id), rig.rows(message), rig.attempt(mine.request_id, mine.attempt))


@pytest.mark.parametrize("first", VERBS)
@pytest.mark.parametrize("second", VERBS)
def test_concurrent_ends_of_an_attempt_have_one_winner(rig: RequestRig, first: str, second: str) -> None:
    worker_id = rig.worker()
    for _ in range(3):
        mine = rig.running(worker_id=worker_id)
        if "cancel" in (first, second):
            ask_to_stop(rig, mine)
        both = together(
            lambda: VERBS[first](rig.engine, mine),  # noqa: B023
            lambda: VERBS[second](rig.engine, mine),  # noqa: B023
        )
        assert all(isinstance(each, bool) for each in both), both
        possible = {"cancel", "fail"} if "cancel" in (first, second) else set(VERBS)
        assert sum(each is True for each in both) == (1 if possible & {first, second} else 0)
        ended = rig.row(mine.request_id)["status"] in ("succeeded", "failed", "cancelled")
        assert (rig.answer_of(mine.request_id) is not None) == ended


@pytest.mark.parametrize(
    ("outcome", "code", "broken", "counted"),
    [
        (Outcome.RELEASED, "rate_limited", False, (1, 0)),
        (Outcome.RELEASED, "stream_broken", True, (0, 1)),
        (Outcome.HANDED_OVER, None, False, (0, 0)),
    ],
)
def test_release_requeues_with_its_wait(
    rig: RequestRig, outcome: Outcome, code: str | None, *, broken: bool, counted: tuple[int, int]
) -> None:
    claimed = rig.running()
    assert lifecycle.release(
        rig.engine, claimed, text="Bec\x00", outcome=outcome, wait_seconds=20, code=code, broken=broken
    )
    row = rig.row(claimed.request_id)
    assert (row["status"], row["worker_id"], row["attempt"], row["losses"]) == ("queued", None, 1, 0)
    assert (row["tries"], row["broken_streams"], row["wait_code"]) == (*counted, code)
    left = rig.scalar("SELECT extract(epoch FROM available_at - clock_timestamp()) FROM chat_request")
    assert 20 - patient(5) < left <= 20
    record = rig.attempt(claimed.request_id, 1)
    assert (record["outcome"], record["error_code"], record["checkpoint"]) == (outcome, code, "Bec\ufffd")
    assert rig.answer_of(claimed.request_id) is None


def test_stop_during_a_wait_keeps_the_text(rig: RequestRig) -> None:
    claimed = rig.running()
    lifecycle.release(rig.engine, claimed, text="Bec", outcome=Outcome.RELEASED, wait_seconds=9, code="overloaded")
    assert lifecycle.stop(rig.engine, claimed.request_id, owner=OWNER) is Status.CANCELLED
    row = rig.row(claimed.request_id)
    assert (row["wait_code"], row["error_code"], rig.answer_of(claimed.request_id)) == (None, None, "Bec")
    assert rig.attempt(claimed.request_id, 1)["outcome"] == Outcome.RELEASED, "the attempt keeps its outcome"


@pytest.mark.parametrize(
    ("verb", "status"), [("finish", Status.SUCCEEDED), ("fail", Status.FAILED), ("cancel", Status.CANCELLED)]
)
def test_is_mine_recognizes_a_lost_commit(rig: RequestRig, verb: str, status: Status) -> None:
    claimed = rig.running()
    if verb == "cancel":
        ask_to_stop(rig, claimed)
    mine = {each: lifecycle.is_mine(rig.engine, claimed, status=each) for each in Status}
    assert not any(mine.values()), "the attempt has not ended yet"
    assert VERBS[verb](rig.engine, claimed)
    mine = {each: lifecycle.is_mine(rig.engine, claimed, status=each) for each in Status}
    assert mine == {each: each is status for each in Status}
    for other in (replace(claimed, attempt=2), replace(claimed, worker_id=uuid4())):
        assert not lifecycle.is_mine(rig.engine, other, status=status), "another attempt's or worker's end is not mine"


def test_worker_cannot_end_a_request_that_web_ended(rig: RequestRig) -> None:
    claimed = rig.running()
    ask_to_stop(rig, claimed)
    rig.put(claimed.request_id, stop_requested_at=rig.ago(10))
    assert lifecycle.cancel_unanswered(rig.engine, claimed.request_id, attempt=1, patience_seconds=3, text="Be")
    assert not FINISH(rig.engine, claimed)
    assert not CANCEL(rig.engine, claimed)
    assert rig.answer_of(claimed.request_id) == "Be"


@pytest.mark.parametrize("verb", VERBS)
def test_end_notifies_listeners_once(rig: RequestRig, verb: str) -> None:
    claimed = rig.running()
    if verb == "cancel":
        ask_to_stop(rig, claimed)
    channel = notify.REQUEST if verb == "release" else notify.ENDED
    with Listener(rig.engine, channel, over=rig.listening) as listener:
        assert VERBS[verb](rig.engine, claimed)
        assert not VERBS[verb](rig.engine, claimed)
        assert listener.next() == notify.Notice(channel, claimed.request_id, claimed.conversation_id)
        assert listener.silent(), "a refused write sends no notice"


def test_give_back_counts_no_loss(rig: RequestRig) -> None:
    claimed = rig.running()
    lifecycle.give_back(rig.engine, claimed.request_id, attempt=1, worker_id=claimed.worker_id)
    row = rig.row(claimed.request_id)
    assert (row["status"], row["losses"], row["worker_id"]) == ("queued", 0, None)
    assert rig.attempt(claimed.request_id, 1)["outcome"] == "handed_over"


def test_give_back_respects_newer_attempts_and_stops(rig: RequestRig) -> None:
    claimed = rig.running()
    lifecycle.stop(rig.engine, claimed.request_id, owner=OWNER)
    lifecycle.give_back(rig.engine, claimed.request_id, attempt=2, worker_id=claimed.worker_id)
    assert rig.row(claimed.request_id)["status"] == "running"
    lifecycle.give_back(rig.engine, claimed.request_id, attempt=1, worker_id=claimed.worker_id)
    assert rig.row(claimed.request_id)["status"] == "cancelled"


def test_oversized_token_count_loses_no_answer(rig: RequestRig) -> None:
    claimed = rig.running()
    assert lifecycle.finish(rig.engine, claimed, lifecycle.Answer(text="x", output_tokens=2**31, input_tokens=-1))
    row = rig.row(claimed.request_id)
    assert (row["output_tokens"], row["input_tokens"]) == (2**31 - 1, 0)
